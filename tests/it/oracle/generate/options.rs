//! The options of a case.

use super::{Random, Theme};

/// The percentage of cases with options that multi-sync has to understand.
pub(super) const SPECIAL_PERCENT: u64 = 65;

pub(super) fn words(text: &str) -> Vec<String> {
    shell_words::split(text).expect("the tables are quoted well")
}

/// Options that affect each entry separately.
#[rustfmt::skip] // A table.
const MORE: &[&str] = &[
    "--inplace", "-u", "-c", "--size-only", "-I", "--existing", "--ignore-existing", "--no-p", "--chmod=D2755,F640",
    "--chmod=go-w", "--chmod=Fa+x,Dg+s", "-O", "-J", "-K", "--safe-links", "-b", "-b --suffix=.bak",
    "-b --backup-dir=../bak", "-b --backup-dir=../bak/deep", "--link-dest=../ref", "--compare-dest=../ref",
    "--copy-dest=../ref", "--link-dest=../ref --link-dest=../ref2", "-y", "--max-size=1000", "--min-size=100",
    "--numeric-ids", "--fake-super", "-E", "--append", "--append-verify", "--no-D", "--no-o --no-g", "--no-t",
    "--no-l", "-W", "--no-W", "-S", "-U", "--preallocate", "--partial", "-T ../tmpd", "-@1", "-@-1", "--munge-links",
    "--no-specials", "--no-devices", "-B 700", "--chown=1000:1000", "--usermap=0:1000", "--groupmap='*:1000'",
    "--no-super", "--super", "-z", "--mkpath", "-A", "-X", "--existing --ignore-existing", "-u -c",
    "--checksum-seed=7", "--fsync", "--no-perms -E", "-d", "--no-inc-recursive", "--force", "-yy", "--inplace -S",
    "--no-implied-dirs", "--copy-devices", "--drop-D",
];

/// Whether a group is one of these options.
pub fn is_native(group: &[String]) -> bool {
    MORE.iter().any(|text| words(text) == group)
}

/// Single letters, and options that affect each entry separately.
pub(super) fn base(random: &mut Random, nobody: bool) -> Vec<Vec<String>> {
    const LETTERS: &[&str] =
        &["-rlt", "-r", "-rp", "-rtp", "-rl", "-rlptgoD", "-rltD", "-aA", "-aX", "-aAX", "-aS", "-rlptE", "-rE"];
    const NOT_RECURSIVE: &[&str] = &["-lt", "-z", "-ptgo", "-d", "-lptgoD"];
    let letters = match random.below(100) {
        0..64 => "-a",
        64 => random.pick(NOT_RECURSIVE),
        _ => random.pick(LETTERS),
    };
    let mut options = vec![vec![letters.to_owned()]];
    let count = [0, 1, 1, 1, 2, 2, 3][random.index(7)];
    for _ in 0..count {
        let group = words(random.pick(MORE));
        let needs_root = ["--chown", "--usermap", "--groupmap"].iter().any(|prefix| group[0].starts_with(prefix));
        // Without -o and -g rsync stores owners that were never set.
        let undefined = group[0] == "--fake-super" && !letters.contains('a') && !letters.contains('o');
        let undefined = undefined || group[0] == "--no-o" && options.iter().any(|other| other[0] == "--fake-super");
        let in_vain = needs_root && nobody && !random.percent(10);
        if !options.contains(&group) && !undefined && !in_vain {
            options.push(group);
        }
    }
    options
}

/// Options that multi-sync has to understand.
pub(super) fn add_special(random: &mut Random, options: &mut Vec<Vec<String>>) {
    #[rustfmt::skip] // A table.
    const DELETES: &[&str] = &[
        "--delete", "--del", "--delete-before", "--delete-during", "--delete-delay", "--delete-after",
        "--delete-excluded", "--delete --force", "--delete --ignore-errors", "--delete --delete-excluded",
        "--delete --existing --ignore-existing",
    ];
    #[rustfmt::skip] // A table.
    const RARE_DELETES: &[&str] = &[
        "--delete --max-delete=0", "--delete --max-delete=1", "--delete --max-delete=3", "--delete --max-delete=1000",
        "--delete-missing-args",
    ];
    #[rustfmt::skip] // A table.
    const FILTERS: &[&str] = &[
        "--exclude='*.o'", "--exclude=cache", "--exclude=cache/", "--exclude=/a", "--exclude=/a/b", "--exclude=/sub/",
        "--exclude='**/tmp/**'", "--include='*/' --include='*.c' --exclude='*'", "--include='a/***' --exclude='*'",
        "--include=/b/ --include='/b/**' --exclude='*'", "--exclude='sub/**'", "-f 'P *.o'", "-f 'P keep'",
        "-f 'H tmp'", "-f 'R *.o'", "-f 'S *.c' -f 'H *'", "-f 'H *.c'", "--exclude='*'", "--exclude='/*'",
        "--exclude='.*'", "--exclude='?'", "--exclude='[a-c]'", "-f '-! */'", "-f '-s *.o'", "-f '-r *.o'",
        "-f '-p x.o'", "-f 'merge rules'", "--exclude-from=rules", "--include-from=rules --exclude='*'",
        "--include=keep --exclude-from=rules", "-f 'P tmp/' --exclude='*.c'", "--include=cache --exclude='c*'",
        "--exclude=d/f1", "--exclude='*/d/*'", "-f '+ f1' -f '- f*'", "--exclude=with\\ space",
        "--exclude='new?line'", "--exclude='[*]'", "-f 'risk x.o' -f 'protect *.o'", "--include='*/' --exclude='f*'",
    ];
    #[rustfmt::skip] // A table.
    const RARE_FILTERS: &[&str] = &[
        "-C", "-F", "-FF", "-f ': .rules'", "-f ':- .rules'", "-f ':C'", "-f 'dir-merge,n .rules'", "-f '-C'",
        "--exclude=a -f '!' --exclude=b", "--exclude='!'", "-f ':w- .rules'", "--exclude-from=-", "-f 'merge -'",
        "--exclude-from=/dev/stdin", "--include-from=- --exclude='*'", "-f 'merge /dev/fd/0'",
    ];
    #[rustfmt::skip] // A table.
    const OTHER: &[&str] = &[
        "-H", "-H", "-H", "-L", "-k", "--copy-unsafe-links", "-m", "-x", "-xx", "--partial-dir=.pd",
        "--delay-updates", "--remove-source-files", "-R", "-R", "-R", "-R --no-implied-dirs", "-i", "-n", "-n -i",
        "--out-format='%i %n%L'", "--ignore-missing-args", "--bwlimit=100000", "--delete -H", "-HAX",
        "-m --exclude='*.o'", "-i --delete", "--files-from=list", "--files-from=list -r", "--list-only", "--files-from=- -r",
        "--remove-source-files -H", "--delay-updates --partial-dir=.pd", "--stop-after=10", "--iconv=utf-8,latin1",
        "-b --backup-dir=../d/bk --delete", "-b --backup-dir=bk",
        "--no-r -d", "--no-r", "--log-file=/dev/null", "-v", "--info=name", "--stats", "-q", "--progress",
    ];
    let mut more: Vec<&str> = Vec::new();
    let shape = random.below(100);
    if shape < 45 {
        more.push(if random.percent(88) { random.pick(DELETES) } else { random.pick(RARE_DELETES) });
    }
    if (30..75).contains(&shape) {
        more.push(if random.percent(80) { random.pick(FILTERS) } else { random.pick(RARE_FILTERS) });
        if random.percent(30) {
            more.push(random.pick(FILTERS));
        }
    }
    if shape >= 65 || random.percent(15) {
        more.push(random.pick(OTHER));
        if random.percent(20) {
            more.push(random.pick(OTHER));
        }
    }
    add(options, &more);
}

fn add(options: &mut Vec<Vec<String>>, groups: &[&str]) {
    for group in groups {
        let group = words(group);
        if !options.contains(&group) {
            options.push(group);
        }
    }
}

/// Adds options for a theme.
pub(super) fn add_theme(random: &mut Random, options: &mut Vec<Vec<String>>, theme: Theme) {
    const DELETES: &[&str] = &["--delete", "--delete-before", "--delete-after", "--delete-delay", "--delete-excluded"];
    let mut more: Vec<&str> = Vec::new();
    let delete = |random: &mut Random, percent| random.percent(percent).then(|| random.pick(DELETES));
    match theme {
        Theme::Chain => {
            more.push(random.pick(&["-R", "-R", "-R", "-R --no-implied-dirs"]));
            more.extend(delete(random, 30));
        }
        Theme::Words => {
            more.extend(delete(random, 70));
            more.push(random.pick(&["--exclude=zzz", "-f 'P zzz'", "-i", "-v", "--partial-dir=.p", "-b", "-H"]));
        }
        Theme::Obstructed => {
            more.extend(delete(random, 50));
            more.push(random.pick(&["-f 'P zzz'", "-i", "-b", "-v", "--delay-updates", "-y", "-u"]));
        }
        Theme::Links => {
            more.push(random.pick(&[
                "-L",
                "-k",
                "-k",
                "--copy-unsafe-links",
                "--copy-unsafe-links",
                "-K",
                "--safe-links",
            ]));
            more.push(random.pick(&[
                "--include='*/' --include=a --exclude='*'",
                "--exclude='*/'",
                "--exclude=cache/",
                "-f '-! */'",
                "--include='*/' --include='x*' --exclude='*'",
            ]));
            more.extend(delete(random, 40));
        }
        Theme::Rules => {
            more.push(random.pick(&[
                "--exclude-from=-",
                "--exclude-from=rules",
                "--include-from=rules --exclude='*'",
                "-f 'merge rules'",
                "--exclude-from=/dev/stdin",
                "-f 'merge /dev/fd/0'",
                "-f ': .rules'",
                "-FF",
                "-C",
            ]));
            more.extend(delete(random, 40));
        }
        Theme::Sources => {
            more.push(random.pick(&["-H", "-H", "-k", "--exclude=/a", "-b", "-i", "--remove-source-files"]));
            more.extend(delete(random, 50));
        }
    }
    add(options, &more);
}
