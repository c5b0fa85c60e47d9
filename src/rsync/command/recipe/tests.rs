use super::*;

fn recipe() -> Recipe {
    Recipe {
        program: "rsync".into(),
        options: words(&["-a", "-S"]),
        options_keeping: words(&["-a", "-S", "--force"]),
        repair_options: Vec::new(),
        spine_options: words(&["-a", "-S"]),
        attribute_options: words(&["-a", "-S"]),
        rule_options: Some(words(&["--exclude=x"])),
        base: "/src".into(),
        handles: Handles::default(),
        far: None,
        cwd: "/".into(),
        destination: "/dst/".into(),
        progress: false,
        marks_changes: false,
        lists: true,
        old_receiver: false,
        line_lists: false,
        tells_end: false,
        removal: Removal::None,
        dry_run: false,
        implied_dirs: true,
        unlock: false,
    }
}

#[test]
fn a_command_prints_as_a_shell_reads_it() {
    let units = vec!["./a b".into(), "./it's".into(), OsString::from_vec(b"./\xff".to_vec())];
    let shown = recipe().buckets(units, Copying::default(), 1 << 20).to_string();
    assert_eq!(shown, r"rsync -a -S -R --no-implied-dirs --stats --no-h -- './a b' './it'\''s' './\xff' /dst/");
}

#[test]
fn another_remote_shell_is_the_last_option() {
    let launch = recipe().buckets(vec!["./a".into()], Copying::default(), 1 << 20).through("ssh -v".into());
    assert!(launch.to_string().ends_with("--no-h -e 'ssh -v' -- ./a /dst/"), "{launch}");
}

#[test]
fn a_spine_of_the_root_alone_is_a_name_that_is_missing() {
    let shown = recipe().create(Some(b"./"), vec![], false).to_string();
    assert!(shown.ends_with("--stats --no-h --ignore-missing-args -- ./.multi-sync-none /dst/"), "{shown}");
    let shown = recipe().attributes(None, vec!["./a".into()], false, false).to_string();
    assert_eq!(shown, "rsync -a -S --no-r -d -R --no-m --implied-dirs -q -- ./a /dst/");
    let listed = recipe().attributes(None, vec!["./a".into()], false, true);
    let figures = "'--info=nonreg0' --stats --no-h '--files-from=-' --from0 -- . /dst/";
    assert_eq!(listed.to_string(), format!("rsync -a -S --no-r -d -R --no-m --implied-dirs {figures}"));
}

#[test]
fn names_in_exposed_places_are_a_list() {
    let exposed = Copying { exposed: true, ..Copying::default() };
    let launch = recipe().buckets(vec!["./a/u".into(), "./a/v".into()], exposed, 1 << 20);
    let figures = "--stats --no-h '--files-from=-' --from0 -- . /dst/";
    assert_eq!(launch.to_string(), format!("rsync -a -S -R -r --no-implied-dirs {figures}"));
    assert_eq!(launch.input, b"./a/u\0./a/v\0");
    let launch = recipe().buckets(vec!["./a/u".into(), "././b/u".into(), "/t/./c/u".into()], exposed, 1 << 20);
    assert!(launch.to_string().ends_with("-- / /dst/"));
    assert_eq!(launch.input, b"/src/././a/u\0/src/./b/u\0/t/./c/u\0");
}

#[test]
fn no_name_in_a_list_brings_the_root_directory_unless_it_is_the_source() {
    let exposed = Copying { exposed: true, ..Copying::default() };
    let list = |base: &str, names: &[&str]| {
        let recipe = Recipe { base: base.into(), ..recipe() };
        let launch = recipe.buckets(names.iter().map(OsString::from).collect(), exposed, 1 << 20);
        String::from_utf8(launch.input).unwrap()
    };
    assert_eq!(list("/s", &["/./a/u", "/t/./b"]), "/a/u\0/t/./b\0");
    assert_eq!(list("/", &["././a/u", "/t/./b"]), "/a/u\0/t/./b\0");
    assert_eq!(list("/", &["./a/u", "/t/./b"]), "/./a/u\0/t/./b\0");
    assert_eq!(list("/s", &["./a/u", "/./t"]), "/s/././a/u\0/t\0");
}

#[test]
fn names_that_no_process_can_take_are_a_list() {
    let launch = |recipe: &Recipe, names: &[&str]| {
        recipe.buckets(names.iter().map(OsString::from).collect(), Copying::default(), 60)
    };
    assert!(launch(&recipe(), &["./a"]).input.is_empty());
    assert_eq!(launch(&recipe(), &["./a", "./b", "./c\n"]).input, b"./a\0./b\0./c\n\0");
    let by_line = Recipe { line_lists: true, ..recipe() };
    let listed = launch(&by_line, &["./a", "./b", "./c"]);
    assert_eq!(listed.input, b"./a\n./b\n./c\n");
    assert!(!listed.to_string().contains("--from0"));
    assert!(by_line.can_hand_over(&["./\n".into()], 60));
    assert!(!by_line.can_hand_over(&["./a".into(), "./b".into(), "./c\n".into()], 60));
}

#[test]
fn single_names_are_removed_last() {
    let recipe = Recipe { removal: Removal::SinglesLast, ..recipe() };
    let removes = |how| recipe.buckets(vec!["./a".into()], how, 1 << 20).to_string().contains("--remove-source");
    assert!(removes(Copying::default()));
    assert!(!removes(Copying { singles: true, ..Copying::default() }));
    let last = recipe.remove(vec!["./a".into()], false, 1 << 20).to_string();
    assert_eq!(last, "rsync -a -S -R --no-implied-dirs --no-H --remove-source-files -q --stats --no-h -- ./a /dst/");
}

#[test]
fn an_old_receiver_gets_the_directories_above_exposed_names() {
    let recipe = Recipe { old_receiver: true, ..recipe() };
    for (exposed, brings) in [(true, true), (false, false)] {
        let launch = recipe.buckets(vec!["./a/u".into()], Copying { exposed, ..Copying::default() }, 1 << 20);
        assert_eq!(!launch.arguments.contains(&"--no-implied-dirs".into()), brings);
    }
}

#[test]
fn spine_is_created_of_directories_only() {
    let shown = recipe().create(None, vec!["./a".into()], false).to_string();
    assert!(shown.contains(" --no-l --no-D '--info=nonreg' "), "{shown}");
}

#[test]
fn deletion_looks_into_the_spine_and_not_below() {
    let shown =
        recipe().delete(true, vec!["./a".into()], vec!["/x/./b".into()], &BTreeSet::new(), false, 1 << 20).to_string();
    let listed = "--no-r -d -R --no-m --implied-dirs --existing --ignore-existing";
    assert_eq!(shown, format!("rsync -a -S {listed} --stats --no-h -- ./ ./a/ /x/./b /dst/"));
    let launch = recipe().delete(true, vec!["./a".into()], vec!["/x/./b".into()], &BTreeSet::new(), false, 20);
    assert_eq!(launch.input, b"/src/././\0/src/././a/\0/x/./b\0");
}

#[test]
fn arguments_up_to_the_limit_can_be_started() {
    let room = recipe().argument_room();
    assert!(room > 64 * 1024, "{room}");
    assert!(room < 6 * 1024 * 1024, "{room}");
}
