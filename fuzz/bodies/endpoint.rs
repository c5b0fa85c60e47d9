//! Words that are read as endpoints keep their meaning in the spelling that is handed to rsync, and no spelling can be an option.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use multi_sync::Error;
use multi_sync::harness::endpoint::{Destination, Form, Source, Target};

/// Takes the input as a source and as a destination.
pub fn check(data: &[u8]) {
    let word = OsStr::from_bytes(data);
    let (destination, source) = (Destination::parse(word), Source::parse(word));
    let local = destination.as_ref().is_ok_and(Destination::is_local);
    let (from, to) = (source.as_ref().map(Source::target), destination.as_ref().map(Destination::target));
    assert_eq!(from.ok(), to.ok(), "{word:?}: one rule for both ends");
    // The manual's rule: a colon before the first slash means another machine. Brackets only ever make a word local.
    let first = |wanted: u8| data.iter().position(|&byte| byte == wanted).unwrap_or(data.len());
    let machine_colon = first(b':') < first(b'/');
    assert!(!(local && machine_colon) || data.contains(&b'['), "{word:?}");
    assert!(local || machine_colon || data.is_empty() || data.contains(&0), "{word:?}");
    match destination {
        Ok(destination) => check_destination(&destination, word),
        Err(error) => explains_itself(&error),
    }
    match source {
        Ok(source) if !source.is_local() => assert_eq!(source.original(), word),
        Ok(source) => check_source(&source, word),
        Err(error) => explains_itself(&error),
    }
}

fn check_destination(destination: &Destination, word: &OsStr) {
    let cwd = Path::new("/cwd:x");
    assert_eq!(destination.original(), word);
    let (directory, typed) = (destination.as_directory(cwd), destination.as_typed(cwd));
    assert!(directory.as_bytes().ends_with(b"/"), "{directory:?}");
    assert!(directory.as_bytes().starts_with(typed.as_bytes()), "{directory:?} from {typed:?}");
    for spelled in [&directory, &typed] {
        assert!(!spelled.as_bytes().starts_with(b"-"), "{spelled:?}");
        let again = Destination::parse(spelled).unwrap_or_else(|error| panic!("{word:?} became {spelled:?}: {error}"));
        assert_eq!(again.as_directory(Path::new("/elsewhere")), directory, "{word:?} is settled once spelled");
        let ((there, path), (meant, original)) = (split(&again), split(destination));
        assert_eq!(there, meant, "{word:?} became {spelled:?}");
        assert!(matches!(path.strip_prefix(&original[..]), Some(b"" | b"/" | b"./")), "{word:?} became {spelled:?}");
        // `host:` is the home directory and `host:/` the root of the other machine.
        let is_shell = matches!(meant, Target::Ssh { .. });
        assert!(!is_shell || path.starts_with(b"/") == original.starts_with(b"/"), "{word:?} became {spelled:?}");
    }
    if destination.is_local() {
        assert!(Path::new(&typed).is_absolute(), "{typed:?}");
        assert_eq!(Path::new(&typed), cwd.join(word));
    } else {
        assert_eq!(typed, word);
        assert!(destination.host().is_some_and(is_plain), "{destination:?}");
    }
    if let Target::Ssh { user: Some(user), .. } | Target::Daemon { user: Some(user), .. } = destination.target() {
        assert!(is_plain(&user.replace(['\\', '@'], "_")), "{destination:?}");
    }
}

/// What must survive a new spelling as it is, and the path, which may gain an end.
fn split(destination: &Destination) -> (Target, Vec<u8>) {
    let mut target = destination.target().clone();
    let path = match &mut target {
        Target::Local => OsString::new(),
        Target::Ssh { path, .. } | Target::Daemon { path, .. } => std::mem::take(path),
    };
    (target, path.into_vec())
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && name.chars().all(|c| {
            c.is_alphanumeric() || !(c.is_control() || c.is_whitespace() || "'\"`$\\;&|<>(){}[]@/".contains(c))
        })
}

fn check_source(source: &Source, word: &OsStr) {
    let cwd = Path::new("/cwd:x");
    assert_eq!(source.original(), word);
    let base = source.base(cwd);
    let raw = base.as_os_str().as_bytes();
    assert!(base.is_absolute());
    assert!(raw == b"/" || !raw.ends_with(b"/"), "{base:?}");
    assert!(!raw.windows(2).any(|pair| pair == b"//") && !raw.windows(3).any(|three| three == b"/./"), "{base:?}");
    let whole = match source.name() {
        None => base,
        Some(name) => {
            assert!(!name.is_empty() && !name.as_bytes().contains(&b'/') && name != "." && name != "..", "{name:?}");
            base.join(name)
        }
    };
    // The standard library drops repeated slashes and `.` as well, and keeps `..`.
    assert!(whole.components().eq(cwd.join(word).components()), "{word:?} became {whole:?}");
    let contents = [".", "..", "/"].iter().any(|end| word == *end)
        || ["/", "/.", "/.."].iter().any(|end| word.as_bytes().ends_with(end.as_bytes()));
    assert_eq!(source.form() == Form::Contents, contents, "{word:?}");
}

fn explains_itself(error: &Error) {
    assert_eq!(error.exit_code(), 1);
    assert!(!error.to_string().contains(char::is_control), "{error}");
    assert!(error.advice().is_some_and(|advice| !advice.contains(char::is_control)), "{error}");
}
