//! What the user's filter rules mean for dividing a tree; matching is left to rsync.
//!
//! A directory that contains a per-directory rule file must stay whole, because rsync passes its rules down to the directories below (rsync(1), PER-DIRECTORY
//! RULES AND DELETE). Rules that clear the list, also inside a file, would clear the rules that a launch adds. Such a run is left to one rsync, and so is a
//! run with a rule file whose lines cannot be determined with certainty.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::options::rule::Rule;
use super::options::{Opt, Options};
use super::prune::Prune;

/// Why it is uncertain which rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unclear {
    /// A rule clears the list.
    Clears,
    /// A rule file contains rules other than patterns.
    MoreThanPatterns,
    /// A per-directory rule file is given as a path rather than a name.
    NamedByPath,
    /// A rule file cannot be read. rsync's own message about it is better.
    Unreadable,
}

/// Filter rules, as far as a plan needs them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    /// Names of per-directory rule files: a directory that contains one stays whole.
    pub merge_files: Vec<OsString>,
    /// The options with rules, for asking rsync about a directory.
    pub options: Vec<OsString>,
    /// Whether rules are read from files with one rule per line: `--from0`, which a list of names needs, would misread them.
    pub in_files: bool,
    /// Directories that need not be read.
    pub prune: Prune,
}

impl Filters {
    /// The rules among `options`; file names are relative to `cwd`.
    ///
    /// # Errors
    /// It is uncertain which rules apply.
    pub fn of(options: &Options, cwd: &Path) -> Result<Filters, Unclear> {
        let mut filters = Filters::default();
        let mut from0 = false;
        for setting in options.settings() {
            let opt = setting.spec.id;
            let value = setting.value.as_deref().unwrap_or_default();
            let rule = Rule::of(setting);
            filters.in_files |= [Opt::ExcludeFrom, Opt::IncludeFrom, Opt::F, Opt::CvsExclude].contains(&opt)
                || matches!(rule, Some(Rule::Merge { .. } | Rule::DirMerge { .. }));
            let prune = &mut filters.prune;
            match (opt, rule) {
                (_, Some(Rule::Clear)) => return Err(Unclear::Clears),
                (_, Some(Rule::DirMerge { name })) => {
                    prune.end();
                    filters.merge_file(name)?;
                }
                (_, Some(Rule::Merge { head, file })) => {
                    // With modifiers, the lines may have another meaning.
                    let text = read(&cwd.join(OsStr::from_bytes(file)))?;
                    let plain = matches!(head, b". " | b"._" | b"merge " | b"merge_") && ends_are_certain(&text, from0);
                    lines(&text, |line| {
                        if plain {
                            prune.filter(line)
                        } else {
                            prune.end()
                        }
                        match Rule::parse(line) {
                            Rule::Pattern => Ok(()),
                            _ => Err(Unclear::MoreThanPatterns),
                        }
                    })?;
                }
                (Opt::ExcludeFrom | Opt::IncludeFrom, _) => {
                    let text = read(&cwd.join(value))?;
                    if !ends_are_certain(&text, from0) {
                        prune.end();
                    }
                    lines(&text, |line| {
                        prune.pattern(opt == Opt::ExcludeFrom, line);
                        if line == b"!" { Err(Unclear::Clears) } else { Ok(()) }
                    })?;
                }
                (Opt::F, _) => {
                    prune.end();
                    filters.merge_file(b".rsync-filter")?;
                }
                (Opt::CvsExclude, _) => {
                    prune.end();
                    filters.merge_file(b".cvsignore")?;
                }
                (Opt::Exclude | Opt::Include, Some(Rule::Pattern)) => {
                    prune.pattern(opt == Opt::Exclude, value.as_bytes())
                }
                (_, Some(Rule::Pattern)) => prune.filter(value.as_bytes()),
                (Opt::From0, _) => from0 = !setting.negated,
                (Opt::PartialDir, _) => {}
                _ => continue,
            }
            filters.options.extend(setting.argv());
        }
        if options.meaning().relative {
            filters.prune.keep_names();
        }
        Ok(filters)
    }

    fn merge_file(&mut self, name: &[u8]) -> Result<(), Unclear> {
        // With a leading slash, rsync also looks above the transfer; the rest is the name.
        let name = name.strip_prefix(b"/").unwrap_or(name);
        if name.is_empty() || name.contains(&b'/') {
            return Err(Unclear::NamedByPath);
        }
        self.merge_files.push(OsStr::from_bytes(name).to_owned());
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Unclear> {
    std::fs::read(path).map_err(|_| Unclear::Unreadable)
}

/// Passes on each line of a rule file. A newline, carriage return or NUL ends a line, so that the result is safe for either form of file.
fn lines(text: &[u8], each: impl FnMut(&[u8]) -> Result<(), Unclear>) -> Result<(), Unclear> {
    text.split(|byte| matches!(byte, b'\n' | b'\r' | 0))
        .filter(|line| !line.is_empty() && !matches!(line[0], b'#' | b';'))
        .try_for_each(each)
}

/// Whether rsync sees the same lines: with `--from0` a newline is part of a rule; without it, rsync ignores the rest of a line after a NUL.
fn ends_are_certain(text: &[u8], from0: bool) -> bool {
    !text.iter().any(|byte| if from0 { matches!(byte, b'\n' | b'\r') } else { *byte == 0 })
}

/// Options that hide exactly this name of a transfer, and keep it at the destination. In a pattern without wildcards, a backslash is an ordinary character
/// (rsync(1), "PATTERN MATCHING RULES").
pub fn leave_alone(name: &[u8]) -> [OsString; 2] {
    let is_wild = |byte: &u8| matches!(byte, b'*' | b'?' | b'[');
    let wild = name.iter().any(is_wild);
    let mut pattern = b"/".to_vec();
    for byte in name {
        if wild && (is_wild(byte) || *byte == b'\\') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    [b"--filter=H ", b"--filter=P "].map(|rule| OsString::from_vec([&rule[..], &pattern].concat()))
}

/// The name in a line of `--out-format=%n`: `\#ooo` stands for the byte with this octal number, and a directory ends with a slash.
pub fn unescape(line: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(line.len());
    let mut rest = line.strip_suffix(b"/").unwrap_or(line);
    while let Some((first, after)) = rest.split_first() {
        let octal = rest
            .get(2..5)
            .filter(|digits| rest.starts_with(b"\\#") && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match octal {
            Some(digits) => {
                let value = digits.iter().fold(0u32, |sum, digit| sum * 8 + u32::from(digit - b'0'));
                name.push(value as u8);
                rest = &rest[5..];
            }
            None => {
                name.push(*first);
                rest = after;
            }
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, cwd: &Path) -> Result<Filters, Unclear> {
        Filters::of(&Options::parse_str(OsStr::new(text)).unwrap(), cwd)
    }

    #[test]
    fn rules_are_kept_and_other_options_are_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("rules"), "# comment\n- *.o\n+ x\n").unwrap();
        let text =
            "-a --exclude=a -f 'P b' --include='*/' --exclude-from=rules -F --delete --partial-dir=.p -f '. rules' -C";
        let filters = of(text, dir.path()).unwrap();
        assert_eq!(filters.merge_files, [".rsync-filter", ".cvsignore"]);
        let options: Vec<_> = filters.options.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(
            options.join(" "),
            "--exclude=a -f P b --include=*/ --exclude-from=rules -F --partial-dir=.p -f . rules -C"
        );
        assert_eq!(of("-aH --delete", dir.path()), Ok(Filters::default()));
    }

    #[test]
    fn rules_in_files_are_told_from_rules_on_the_command_line() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("rules"), "- *.o\n").unwrap();
        for (text, expected) in [
            ("--exclude=a --include=b -f '- c' -f 'P d'", false),
            ("--exclude-from=rules", true),
            ("--include-from=rules", true),
            ("-f '. rules'", true),
            ("-f ': .rules'", true),
            ("-F", true),
            ("-C", true),
        ] {
            assert_eq!(of(text, dir.path()).unwrap().in_files, expected, "{text}");
        }
    }

    #[test]
    fn excluded_directories_are_known_from_options_and_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("names"), "# no\n.snapshot\n+ tmp\n").unwrap();
        std::fs::write(dir.path().join("rules"), "- /.snap*\n").unwrap();
        for (text, expected) in [
            ("--exclude=.snapshot", true),
            ("--exclude='/.snap*'", true),
            ("--exclude-from=names", true),
            ("--include-from=names", false),
            ("-f '- .snapshot'", true),
            ("-f '. rules'", true),
            ("-f '.- rules'", false),
            ("--exclude='*.o' --exclude=.snapshot", true),
            ("--include='*/' --exclude=.snapshot", false),
            ("-F --exclude=.snapshot", false),
            ("-C --exclude=.snapshot", false),
            ("-R --exclude=.snapshot", true),
            ("-R --exclude='/.snap*'", false),
        ] {
            let prune = of(text, dir.path()).unwrap().prune;
            assert_eq!(prune.excludes(b".snapshot", || b".snapshot".to_vec()), expected, "{text}");
        }
    }

    #[test]
    fn rules_that_are_not_certain_are_left_to_one_rsync() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("clears"), "a\n!\n").unwrap();
        std::fs::write(dir.path().join("merges"), "- a\n: .f\n").unwrap();
        for text in [
            "-f '!'",
            "--exclude=!",
            "--exclude-from=clears",
            "-f '. merges'",
            "-f '. none'",
            "-f ': a/b'",
            "--include-from=none",
        ] {
            assert!(of(text, dir.path()).is_err(), "{text}");
        }
        assert_eq!(of("-f ':n- .f'", dir.path()).unwrap().merge_files, [".f"]);
    }

    #[test]
    fn lines_that_rsync_may_not_see_are_not_certain() {
        let dir = tempfile::tempdir().unwrap();
        let text = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        text("lines", "a\nb\r");
        text("nuls", "a\0b\0");
        text("rules", "- a\n- b\n");
        for (options, certain) in [
            ("--exclude-from=lines", true),
            ("--exclude-from=nuls", false),
            ("-0 --exclude-from=lines", false),
            ("-0 --exclude-from=nuls", true),
            ("-0 --no-from0 --exclude-from=lines", true),
            ("--exclude-from=lines -0", true),
            ("-f '. rules'", true),
            ("-0 -f '. rules'", false),
            ("--include-from=nuls --exclude=b", false),
        ] {
            assert_eq!(of(options, dir.path()).unwrap().prune.excludes(b"b", || b"b".to_vec()), certain, "{options}");
        }
    }

    #[test]
    fn only_wildcards_are_escaped_and_then_backslashes_too() {
        assert_eq!(leave_alone(b"a\\b"), ["--filter=H /a\\b", "--filter=P /a\\b"]);
        assert_eq!(leave_alone(b"a\\b*[c]?")[0], "--filter=H /a\\\\b\\*\\[c]\\?");
    }

    #[test]
    fn names_come_back_from_their_escapes() {
        assert_eq!(unescape(b"n\\#012l\\#377/"), b"n\nl\xff");
        assert_eq!(unescape(b"a\\#134#x\\#9"), b"a\\#x\\#9");
    }
}
