use super::super::Options;
use super::*;

fn meaning(text: &str) -> Meaning {
    Options::parse_str(OsStr::new(text)).unwrap().meaning()
}

fn with_env(text: &str, name: &'static str, value: &'static str) -> Meaning {
    let options = Options::parse_str(OsStr::new(text)).unwrap();
    options.meaning_with(|asked| (asked == name).then(|| OsString::from(value)))
}

#[test]
fn archive_is_rlptgod_and_the_last_word_counts() {
    let archive = meaning("-a");
    assert_eq!(archive, Meaning { recursive_by_name: false, ..meaning("-rlptgoD") });
    assert_eq!(meaning("-a --no-p -p"), archive);
    assert_eq!(meaning("-a --no-p"), Meaning { perms: false, ..archive.clone() });
    assert_eq!(meaning("--no-p -a"), archive);
    assert_eq!(meaning("-a --no-D"), Meaning { devices: false, specials: false, ..archive.clone() });
    assert_eq!(meaning("-a --no-devices --no-specials"), meaning("-a --no-D"));
    assert!(!meaning("-aA --no-p").perms);
    assert!(meaning("-r --no-p -A").perms);
    assert!(meaning("-A --no-A").perms);
}

#[test]
fn recursion_and_directories() {
    for (text, recursive, dirs, by_name) in [
        ("", false, false, false),
        ("-a", true, true, false),
        ("-ar", true, true, true),
        ("-ra", true, true, true),
        ("-a --no-r", false, false, false),
        ("--no-r -a", true, true, false),
        ("-d", false, true, false),
        ("-rd", true, true, true),
        ("-r --no-d", true, true, true),
        ("-d --no-dirs", false, false, false),
        ("-r --old-dirs", false, true, true),
        ("--old-d --no-d -r", true, true, true),
        ("-a --files-from=x", false, true, false),
        ("-r --files-from=x", true, true, true),
        ("--files-from=x --no-d", false, false, false),
        ("--list-only", false, true, false),
    ] {
        let m = meaning(text);
        assert_eq!((m.recursive, m.dirs, m.recursive_by_name), (recursive, dirs, by_name), "{text}");
    }
    assert!(meaning("--files-from=x").relative);
    assert!(!meaning("--files-from=x --no-R").relative);
    assert!(!meaning("-R --no-relative").relative);
    assert!(!meaning("-R --no-i-d").implied_dirs && meaning("--no-i-d --i-d").implied_dirs);
}

#[test]
fn deletion() {
    for (text, delete) in [
        ("-r", None),
        ("--delete", Some(Delete::Auto)),
        ("--delete-excluded", Some(Delete::Auto)),
        ("--delete --delete-before", Some(Delete::Before)),
        ("--del", Some(Delete::During)),
        ("--del --delete-delay", Some(Delete::Delay)),
        ("--delete-delay --delete-during", Some(Delete::During)),
        ("--delete-after --delete", Some(Delete::After)),
        ("--delete-missing-args --max-delete=3", None),
    ] {
        assert_eq!(meaning(text).delete, delete, "{text}");
    }
    for (text, limit) in
        [("", None), ("--max-delete=7", Some(7)), ("--max-delete=0x10", Some(16)), ("--max-delete=-1", Some(0))]
    {
        assert_eq!(meaning(text).max_delete, limit, "{text}");
    }
}

#[test]
fn the_environment_names_a_partial_directory_only_if_partial_files_are_kept() {
    for (text, dir) in [
        ("-r", None),
        ("-r --partial", Some("env")),
        ("-rP", Some("env")),
        ("-rP --no-partial", None),
        ("--partial --partial-dir=own", Some("own")),
        ("--partial --partial-dir=", None),
        ("--partial-dir=own --partial-dir=.", None),
        ("--partial-dir=own --no-partial", Some("own")),
        ("--partial --inplace", None),
        ("--partial --append", None),
        ("--partial --write-devices", None),
        ("--partial --delay-updates", None),
        ("--partial --delay-updates --no-delay-updates", Some("env")),
    ] {
        let m = with_env(text, "RSYNC_PARTIAL_DIR", "env");
        assert_eq!(m.partial_dir.as_deref(), dir.map(OsStr::new), "{text}");
        assert_eq!(with_env(text, "RSYNC_PARTIAL_DIR", "").partial_dir, meaning(text).partial_dir, "{text}");
    }
    assert!(meaning("--partial-dir=x").partial && meaning("--delay-updates").partial);
}

#[test]
fn other_variables_of_the_environment_yield_to_options() {
    assert_eq!(with_env("-r", "RSYNC_RSH", "rsh").rsh.unwrap(), "rsh");
    assert_eq!(with_env("-e ssh", "RSYNC_RSH", "rsh").rsh.unwrap(), "ssh");
    assert_eq!(with_env("-r", "RSYNC_ICONV", "a,b").iconv.unwrap(), "a,b");
    assert_eq!(with_env("--no-iconv", "RSYNC_ICONV", "a,b").iconv, None);
    assert_eq!(with_env("--iconv=-", "RSYNC_ICONV", "a,b").iconv, None);
}

#[test]
fn every_other_field_has_an_option_that_sets_it_and_only_it() {
    let nothing = meaning("");
    let os = |text: &str| Some(OsString::from(text));
    type Case<'a> = (&'a str, &'a str, &'a dyn Fn(&mut Meaning));
    let cases: &[Case] = &[
        ("-0", "-0 --no-from0", &|m| m.from0 = true),
        ("-xx", "-xx --no-x", &|m| m.one_file_system = 2),
        ("-m", "-m --no-m", &|m| m.prune_empty_dirs = true),
        ("-l", "-l --no-links", &|m| m.links = true),
        ("-L", "", &|m| m.copy_links = true),
        ("-k", "", &|m| m.copy_dirlinks = true),
        ("--copy-unsafe-links", "", &|m| m.copy_unsafe_links = true),
        ("--safe-links", "", &|m| m.safe_links = true),
        ("-K", "", &|m| m.keep_dirlinks = true),
        ("-H", "-H --no-H", &|m| m.hard_links = true),
        ("-p", "-p --no-perms", &|m| m.perms = true),
        ("-E", "", &|m| m.executability = true),
        ("--chmod=a+r", "", &|m| m.chmod = true),
        ("-X", "-X --no-X", &|m| m.xattrs = true),
        ("-t", "-t --no-times", &|m| m.times = true),
        ("-O", "-O --no-O", &|m| m.omit_dir_times = true),
        ("-o", "-o --no-o", &|m| m.owner = true),
        ("-g", "-g --no-group", &|m| m.group = true),
        ("--devices", "-D --no-D", &|m| m.devices = true),
        ("--specials", "--specials --no-specials", &|m| m.specials = true),
        ("--super", "", &|m| m.superuser = Superuser::Yes),
        ("--fake-super --no-super", "", &|m| m.superuser = Superuser::No),
        ("--super --fake-super", "", &|m| m.superuser = Superuser::Fake),
        ("--force", "--force --no-force", &|m| m.force = true),
        ("--ignore-errors", "--ignore-errors --no-ignore-errors", &|m| m.ignore_errors = true),
        ("--ignore-missing-args", "", &|m| m.ignore_missing_args = true),
        ("--delete-missing-args", "", &|m| m.delete_missing_args = true),
        ("--remove-sent-files", "", &|m| m.remove_source_files = true),
        ("--exclude=x", "", &|m| m.has_filter_rules = true),
        ("--include=x", "", &|m| m.has_filter_rules = true),
        ("-f '. x'", "", &|m| m.has_filter_rules = true),
        ("--exclude-from=x", "", &|m| m.has_filter_rules = true),
        ("--include-from=x", "", &|m| m.has_filter_rules = true),
        ("--include=!", "", &|m| (m.has_filter_rules, m.clears_filter_rules) = (true, true)),
        ("-F", "", &|m| (m.has_filter_rules, m.per_dir_merge) = (true, true)),
        ("-f ': x'", "", &|m| (m.has_filter_rules, m.per_dir_merge) = (true, true)),
        ("-C", "", &|m| (m.has_filter_rules, m.per_dir_merge, m.cvs_exclude) = (true, true, true)),
        ("-b", "-b --no-backup", &|m| m.backup = true),
        ("--backup-dir=x --no-backup", "", &|m| (m.backup, m.backup_dir) = (true, os("x"))),
        ("--inplace", "--inplace --no-inplace", &|m| m.inplace = true),
        ("--write-devices", "--write-devices --no-write-devices", &|m| m.inplace = true),
        ("--append --no-inplace", "--append --no-append", &|m| (m.append, m.inplace) = (true, true)),
        ("--append-verify", "", &|m| (m.append, m.inplace) = (true, true)),
        ("-S", "-S --no-S", &|m| m.sparse = true),
        ("--existing", "", &|m| m.existing = true),
        ("--ignore-existing", "", &|m| m.ignore_existing = true),
        ("--mkpath", "--mkpath --no-mkpath", &|m| m.mkpath = true),
        ("-n", "", &|m| m.dry_run = true),
        ("-v --verbose", "-vv --no-v", &|m| m.verbose = 2),
        ("-q", "", &|m| m.quiet = true),
        ("-ii", "-ii --no-i", &|m| m.itemize = 2),
        ("--log-format=%n", "", &|m| m.out_format = os("%n")),
        ("--stats", "--info=stats2,stats0", &|m| m.stats = true),
        ("--info=name0,STATS2", "", &|m| m.stats = true),
        ("--info=progress2 --no-progress", "--progress --no-progress", &|m| m.progress = true),
        ("-P", "", &|m| (m.progress, m.partial) = (true, true)),
        ("-hh", "", &|m| m.human_readable = 3),
        ("-h --no-h", "", &|m| m.human_readable = 0),
        ("--log-file=x", "", &|m| m.log_file = os("x")),
        ("--bwlimit=1m", "--bwlimit=1m --no-bwlimit", &|m| m.bwlimit = os("1m")),
        ("--bwlimit=0 --bwlimit=7", "--bwlimit=7 --bwlimit=0", &|m| m.bwlimit = os("7")),
        ("--stop-at=x --time-limit=5", "", &|m| m.stop = Some(Stop::After("5".into()))),
        ("--stop-after=5 --stop-at=x", "", &|m| m.stop = Some(Stop::At("x".into()))),
        ("--timeout=9", "--timeout=9 --no-timeout", &|m| m.timeout = 9),
        ("--protocol=30", "", &|m| m.protocol = Some(30)),
    ];
    for (text, off, change) in cases {
        let mut wanted = nothing.clone();
        change(&mut wanted);
        assert_eq!(meaning(text), wanted, "{text}");
        assert_eq!(meaning(off), nothing, "{off}");
    }
}

#[test]
fn backups_beside_the_files_leave_the_times_of_directories() {
    for (text, expected) in [
        ("-a", true),
        ("-r", false),
        ("-aO", false),
        ("-ab", false),
        ("-ab --suffix=.old", false),
        ("-ab --backup-dir=old", true),
        ("-ab --no-backup", true),
    ] {
        assert_eq!(meaning(text).sets_dir_times(), expected, "{text}");
    }
}
