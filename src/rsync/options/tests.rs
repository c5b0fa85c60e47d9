use std::cell::Cell;

use proptest::prelude::*;

use super::*;

fn parse(words: &[&str]) -> Options {
    Options::parse(words).unwrap()
}

fn failure(words: &[&str]) -> String {
    Options::parse(words).unwrap_err().to_string()
}

fn argv(words: &[&str]) -> Vec<String> {
    parse(words).argv().into_iter().map(|word| word.into_string().unwrap()).collect()
}

#[test]
fn letters_come_in_clusters_and_values_in_many_places() {
    assert_eq!(argv(&["-avzH", "--no-p"]), ["-a", "-v", "-z", "-H", "--no-perms"]);
    for words in [&["-aessh"][..], &["-ae", "ssh"], &["-a", "-e=ssh"], &["-a", "--rsh=ssh"], &["-a", "--rsh", "ssh"]] {
        assert_eq!(argv(words), ["-a", "-e", "ssh"], "{words:?}");
    }
    assert_eq!(argv(&["--exclude", "--delete", "-aT", "--"]), ["--exclude=--delete", "-a", "-T", "--"]);
    assert_eq!(
        argv(&["-M--log-file=x", "--exclude=", "--bwlimit", ""]),
        ["-M", "--log-file=x", "--exclude=", "--bwlimit="]
    );
    assert_eq!(
        argv(&["-@-1", "--zc=lz4", "--i-d", "--no-i-d"]),
        ["--modify-window=-1", "--compress-choice=lz4", "--implied-dirs", "--no-implied-dirs"]
    );
    assert_eq!(argv(&["--",]), [""; 0]);
    assert_eq!(parse(&["-s"]), parse(&["--protect-args"]));
    assert_eq!(parse(&["--no-s"]), parse(&["--no-secluded-args"]));
}

#[test]
fn values_are_bytes() {
    let bytes = |text: &[u8]| OsString::from_vec(text.to_vec());
    let options = Options::parse(&[bytes(b"-T\xff/x"), bytes(b"--exclude=\xfe")]).unwrap();
    assert_eq!(options.argv(), [bytes(b"-T"), bytes(b"\xff/x"), bytes(b"--exclude=\xfe")]);
    assert_eq!(Options::parse_str(&bytes(b"'-T\xff/x' --exclude=\xfe")).unwrap(), options);
    assert_eq!(Options::parse(&[bytes(b"--\xff=\n")]).unwrap_err().to_string(), "unknown rsync option: --\\xff");
}

#[test]
fn what_cannot_be_read_is_named() {
    for (words, message) in [
        (&["--foo"][..], "unknown rsync option: --foo"),
        (&["--foo=x"], "unknown rsync option: --foo"),
        (&["--perm"], "unknown rsync option: --perm"),
        (&["---archive"], "unknown rsync option: ---archive"),
        (&["-j"], "unknown rsync option: -j"),
        (&["-ajx"], "unknown rsync option: -j (in -ajx)"),
        (&["-aj"], "unknown rsync option: -j (in -aj)"),
        (&["-a", "--exclude"], "rsync option --exclude needs a value"),
        (&["-ae"], "rsync option --rsh (-e) needs a value"),
        (&["--archive=1"], "rsync option --archive takes no value"),
        (&["--no-v=1"], "rsync option --no-v takes no value"),
        (&["--max-delete=x"], "rsync option --max-delete: not a number: x"),
        (&["-@", "99999999999"], "rsync option --modify-window (-@): not a number: 99999999999"),
        (&["-a", "src/"], "not an rsync option: src/"),
        (&["-a", "--", "-r"], "not an rsync option: -r"),
        (&["-"], "not an rsync option: -"),
        (&[""], "not an rsync option: "),
    ] {
        assert_eq!(failure(words), message);
    }
    let advice = |word: &str| Options::parse(&[word]).unwrap_err().advice().unwrap().to_owned();
    assert!(advice("--perm").contains("--perms"));
    assert!(advice("src").contains("multi-sync itself"));
}

#[test]
fn numbers_are_those_of_c() {
    for (text, number) in [
        ("", Some(0)),
        ("0", Some(0)),
        (" 7", Some(7)),
        ("+7", Some(7)),
        ("-7", Some(-7)),
        ("0x1F", Some(31)),
        ("035", Some(29)),
        ("-2147483648", Some(i32::MIN)),
        ("2147483648", None),
        ("7 ", None),
        ("08", None),
        ("0x", None),
        ("+", None),
        (" ", None),
        ("\u{e9}", None),
        ("--7", None),
        ("+-7", None),
        ("10k", None),
    ] {
        assert_eq!(c_int(text.as_bytes()), number, "{text:?}");
    }
}

#[test]
fn without_drops_settings_and_keeps_the_rest_in_order() {
    let options = parse(&["-aH", "--delete", "--exclude=x", "-H"]);
    assert_eq!(options.without(|setting| setting.spec.id == Opt::HardLinks), parse(&["-a", "--delete", "--exclude=x"]));
}

#[test]
fn options_of_the_connection_lead_to_another_machine_and_copy_nothing() {
    let words = ["-aH", "-e", "ssh -p 22", "--delete", "--port=1", "-4", "-M--x", "--exclude=a", "-s", "--timeout=9"];
    let left = ["-e", "ssh -p 22", "--port=1", "-4", "-M", "--x", "-s", "--timeout=9"];
    let left: Vec<OsString> = left.map(OsString::from).into();
    assert_eq!(parse(&words).connection_options().argv(), left);
}

#[test]
fn no_name_is_in_the_table_twice() {
    let mut names: Vec<&str> = table::long_names().collect();
    let mut letters: Vec<u8> = specs().iter().filter_map(|spec| spec.short).collect();
    let (all_names, all_letters) = (names.len(), letters.len());
    names.sort_unstable();
    names.dedup();
    letters.sort_unstable();
    letters.dedup();
    assert_eq!((names.len(), letters.len()), (all_names, all_letters));
    for spec in specs() {
        assert!(spec.long.is_some() || matches!(spec.short, Some(b'D' | b'F' | b'P')), "{spec:?}");
        assert_eq!(spec.why.is_empty(), spec.class == Class::Native, "{spec:?}");
        assert!(spec.negations.iter().all(|name| name.starts_with("no-")), "{spec:?}");
    }
}

#[test]
fn an_option_that_counts_once_means_the_same_when_it_is_typed_again() {
    let once = specs().iter().filter(|spec| spec.repeats == Repeats::Once && spec.class != Class::Refused);
    for spec in once.filter(|spec| !matches!(spec.takes, Takes::Rule | Takes::Pattern)) {
        let setting = Setting { spec, negated: false, value: spec.takes_value().then(|| sample(spec).into()) };
        let [one, two] = [1, 2].map(|times| Options { settings: vec![setting.clone(); times] }.meaning());
        assert_eq!(one, two, "{spec:?}");
    }
    let counted = |text: &str| parse(&[text]).meaning() != parse(&[text, text]).meaning();
    assert!(["-v", "-h", "-i", "-x"].into_iter().all(counted));
}

/// A value that rsync accepts during parsing, and that leaves no file behind.
fn sample(spec: &Spec) -> &'static str {
    match (spec.takes, spec.id) {
        (Takes::Input | Takes::Output, _) => "/dev/null",
        (Takes::Rule, _) => "- x",
        (_, Opt::BlockSize | Opt::MaxSize | Opt::MinSize | Opt::Bwlimit) => "1000",
        (_, Opt::Stderr) => "errors",
        (_, Opt::StopAt) => "2099-01-01T00:00",
        (_, Opt::Chmod) => "a+r",
        (_, Opt::Info | Opt::Debug) => "none",
        (_, Opt::RemoteOption) => "--fsync",
        _ => "1",
    }
}

/// Empty if rsync accepts these words, otherwise its message. rsync reads all options before it prints its version.
fn complaint(words: &[&str]) -> String {
    #[expect(clippy::disallowed_methods, reason = "the test asks the real rsync")]
    let output = std::process::Command::new("rsync").args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { String::new() } else { said.lines().next().unwrap_or("?").to_owned() }
}

fn rsync_is_3_5() -> bool {
    #[expect(clippy::disallowed_methods, reason = "the test asks the real rsync")]
    let output = std::process::Command::new("rsync").arg("--version").output();
    output.is_ok_and(|output| output.stdout.starts_with(b"rsync  version 3.5"))
}

#[test]
fn the_installed_rsync_knows_every_name_with_this_arity() {
    if !rsync_is_3_5() {
        println!("SKIP: rsync 3.5 is not installed");
        return;
    }
    // These change how rsync reads the words after them.
    let modes = [Opt::Daemon, Opt::Config, Opt::Dparam, Opt::Detach, Opt::Server, Opt::Sender, Opt::Help, Opt::Version];
    for spec in specs().iter().filter(|spec| !modes.contains(&spec.id)) {
        let long = spec.long.iter().chain(spec.aliases).map(|name| format!("--{name}"));
        let letter = spec.short.map(|letter| format!("-{}", char::from(letter)));
        let off = spec.negations.iter().map(|name| format!("--{name}"));
        let mut words: Vec<String> = off.clone().collect();
        for name in long.clone() {
            words.push(if spec.takes_value() { format!("{name}={}", sample(spec)) } else { name });
        }
        words.extend(letter.map(|name| if spec.takes_value() { name + sample(spec) } else { name }));
        words.push("--version".into());
        let answer = complaint(&words.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(answer.is_empty() || answer.contains("does not support"), "{words:?}: {answer}");
        for name in off.chain(long.clone().filter(|_| !spec.takes_value())) {
            let answer = complaint(&[&format!("{name}=1"), "--version"]);
            assert!(answer.contains("does not take an argument"), "{name}=1: {answer}");
        }
        for name in long.filter(|_| spec.takes == Takes::Number) {
            let answer = complaint(&[&format!("{name}=1x"), "--version"]);
            assert!(answer.contains("invalid numeric value"), "{name}=1x: {answer}");
        }
    }
}

#[test]
fn rsync_help_names_nothing_that_the_table_lacks() {
    if !rsync_is_3_5() {
        println!("SKIP: rsync 3.5 is not installed");
        return;
    }
    #[expect(clippy::disallowed_methods, reason = "the test asks the real rsync")]
    let output = std::process::Command::new("rsync").arg("--help").output().unwrap();
    for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.starts_with('-')) {
        let names = line.split("  ").next().unwrap_or_default();
        for name in names.split([',', ' ', '=']).filter(|name| name.starts_with('-') && *name != "--no-OPTION") {
            let known = match name.strip_prefix("--") {
                Some(long) => table::by_name(long.as_bytes()).is_some(),
                None => table::by_letter(name.as_bytes()[1]).is_some(),
            };
            assert!(known, "{line}");
        }
    }
}

fn any_setting() -> impl Strategy<Value = Setting> {
    let value = prop::collection::vec(1u8.., 0..6);
    (0..specs().len(), any::<bool>(), value, any::<i32>()).prop_map(|(row, off, text, number)| {
        let spec = &specs()[row];
        let negated = off && !spec.negations.is_empty();
        let value = match spec.takes {
            Takes::Nothing => None,
            _ if negated => None,
            Takes::Number => Some(number.to_string().into()),
            _ => Some(OsString::from_vec(text)),
        };
        Setting { spec, negated, value }
    })
}

proptest! {
    #[test]
    fn argv_is_read_back_as_the_same(settings in prop::collection::vec(any_setting(), 0..8)) {
        let options = Options { settings };
        prop_assert_eq!(Options::parse(&options.argv()).unwrap(), options);
    }
}

#[test]
fn what_was_read_is_written_and_read_the_same() {
    let read = Cell::new(0);
    proptest!(|(words in prop::collection::vec("-{0,2}[a-zA-Z@0=]{0,4}|-[aHSvnuWx]{1,4}|--no-[a-z]", 1..4))| {
        if let Ok(options) = Options::parse(&words) {
            read.set(read.get() + usize::from(!options.settings.is_empty()));
            prop_assert_eq!(Options::parse(&options.argv()).unwrap(), options);
        }
    });
    assert!(read.get() > 40, "only {} of these words were options", read.get());
}
