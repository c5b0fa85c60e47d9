//! What is read as rsync's options is read by rsync itself in the same way: the same words are options, the same are values.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Output;
use std::sync::OnceLock;

use multi_sync::harness::rsync::options::Options;

use crate::rsync;

/// The newest rsync whose options are in the table. Others lack some, or print their version before they have read everything.
const COMPARED: &str = "3.5.";
/// What rsync says where it and the table disagree about a name or about what follows it.
const MISREAD: [&str; 4] =
    ["unknown option", "missing argument", "option does not take an argument", "invalid numeric value"];
/// Words that start something else than a transfer, after which the rest is not read, or whose values are files that never end.
const LEFT_OUT: [&str; 9] = ["daemon", "server", "sender", "config", "dparam", "detach", "help", "/dev/", "/proc/"];

/// Takes the input as words, one a line; rsync gets them and the words made of them.
pub fn check(data: &[u8]) {
    let has = |text: &str| data.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()));
    // rsync writes its log also if it refuses the options; it must stay in an empty folder.
    let writes = has("log-file") && has("/");
    if !is_compared() || writes || data.contains(&0) || LEFT_OUT.iter().any(|text| has(text)) {
        return;
    }
    let words: Vec<&OsStr> =
        data.strip_suffix(b"\n").unwrap_or(data).split(|&byte| byte == b'\n').map(OsStr::from_bytes).collect();
    match Options::parse(&words) {
        Ok(options) => {
            let typed = read(&words);
            let said = String::from_utf8_lossy(&typed.stderr);
            assert!(!MISREAD.iter().any(|text| said.contains(text)), "{words:?}: {said}");
            let argv = options.argv();
            if argv != words {
                let again = read(&argv);
                assert_eq!((again.status, &again.stdout), (typed.status, &typed.stdout), "{words:?} became {argv:?}");
            }
        }
        Err(error) => {
            // Only rsync itself takes sources and destination among its options.
            if !error.to_string().starts_with("not an rsync option") {
                let typed = read(&words);
                assert!(!typed.status.success(), "{words:?} are options of rsync: {error}");
            }
        }
    }
}

fn is_compared() -> bool {
    static COMPARABLE: OnceLock<bool> = OnceLock::new();
    *COMPARABLE.get_or_init(|| {
        let Some(version) = rsync::version() else { return false };
        let comparable = version.starts_with(COMPARED);
        if !comparable {
            rsync::skip(&format!("rsync is {version}, not {COMPARED}x"));
        }
        comparable
    })
}

/// rsync reads all words before it prints its version.
fn read<S: AsRef<OsStr>>(words: &[S]) -> Output {
    let empty = rsync::folder();
    rsync::run(rsync::rsync(empty.path()).arg("--version").args(words)).unwrap()
}
