//! Directories that the user's filter rules certainly exclude: the scan need not enter them.
//!
//! rsync decides what is copied; this module only saves reading. Therefore a pattern counts only if its meaning is beyond doubt: names and paths, with `*`
//! and `?` inside a name. The first rule that matches decides (rsync(1), FILTER RULES). After a rule that may include something unknown, nothing is certain;
//! a rule that may exclude something unknown does no harm.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use bstr::ByteSlice;

/// The rules in order, as far as they are certain.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Prune {
    rules: Vec<(Does, Pattern)>,
    /// Whether no further rule is certain.
    ended: bool,
}

/// The effect of a rule on names that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Does {
    Include,
    Exclude,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Pattern {
    /// Whether it has to match the whole path in the transfer, rather than its end.
    anchored: bool,
    parts: Vec<Vec<u8>>,
}

impl Prune {
    /// Whether the rules exclude a directory of this name. `path` returns its path in the transfer including the name, and is only called if it matters.
    pub fn excludes(&self, name: &[u8], path: impl FnOnce() -> Vec<u8>) -> bool {
        let mut path = Some(path);
        let mut known = Vec::new();
        let mut matches = |pattern: &Pattern| {
            let last = pattern.parts.last().is_some_and(|part| is_like(part, name));
            if !last || pattern.is_name() {
                return last;
            }
            if let Some(path) = path.take() {
                known = path();
            }
            pattern.is_path(&known)
        };
        self.rules.iter().find(|(_, pattern)| matches(pattern)).is_some_and(|(does, _)| *does == Does::Exclude)
    }

    /// rsync's options that exclude the contents of the directories that these rules exclude, but not the directories themselves.
    pub fn contents_options(&self) -> Vec<OsString> {
        let option = |(does, pattern): &(Does, Pattern)| {
            let rule = if *does == Does::Include { "+ " } else { "- " };
            let slash = if pattern.anchored { "/" } else { "" };
            OsString::from_vec(
                [b"--filter=", rule.as_bytes(), slash.as_bytes(), &pattern.parts.join(&b'/'), b"/*"].concat(),
            )
        };
        self.rules.iter().map(option).collect()
    }

    /// The rules that only concern names, up to the first other rule that may include something: for each, whether it excludes, and its pattern.
    pub fn names(&self) -> Vec<(bool, Vec<u8>)> {
        let mut names = self.clone();
        names.keep_names();
        let rule = |(does, pattern): (Does, Pattern)| (does == Does::Exclude, pattern.parts.concat());
        names.rules.into_iter().map(rule).collect()
    }

    /// Takes the value of `--exclude` or `--include`, or a line of a file that `--exclude-from` or `--include-from` names.
    pub(super) fn pattern(&mut self, excludes: bool, value: &[u8]) {
        let (does, pattern) = match (value.strip_prefix(b"- "), value.strip_prefix(b"+ ")) {
            (Some(rest), _) => (Does::Exclude, rest),
            (_, Some(rest)) => (Does::Include, rest),
            _ if excludes => (Does::Exclude, value),
            _ => (Does::Include, value),
        };
        self.rule(does, Pattern::parse(pattern));
    }

    /// Takes the value of `--filter`, or a line of a file that it merges.
    pub(super) fn filter(&mut self, rule: &[u8]) {
        const EXCLUDES: [&[u8]; 4] = [b"-", b"H", b"exclude", b"hide"];
        const INCLUDES: [&[u8]; 4] = [b"+", b"S", b"include", b"show"];
        // These concern only deletion.
        const NEITHER: [&[u8]; 4] = [b"P", b"R", b"protect", b"risk"];
        let rest = |word: &&[u8]| {
            let rest = rule.strip_prefix(*word)?;
            matches!(rest.first(), Some(b' ' | b'_')).then(|| &rest[1..])
        };
        if let Some(pattern) = EXCLUDES.iter().find_map(rest) {
            self.rule(Does::Exclude, Pattern::parse(pattern));
        } else if let Some(pattern) = INCLUDES.iter().find_map(rest) {
            self.rule(Does::Include, Pattern::parse(pattern));
        } else if EXCLUDES.iter().chain(&NEITHER).any(|word| rule.starts_with(word)) {
            self.rule(Does::Exclude, None);
        } else {
            self.end();
        }
    }

    /// Ends the list: nothing is known about the rules that follow.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Removes patterns that concern more than a name, because paths in the transfer differ from those of the scan.
    pub(super) fn keep_names(&mut self) {
        let paths = self.rules.iter().position(|(does, pattern)| *does == Does::Include && !pattern.is_name());
        self.rules.truncate(paths.unwrap_or(self.rules.len()));
        self.rules.retain(|(_, pattern)| pattern.is_name());
    }

    fn rule(&mut self, does: Does, pattern: Option<Pattern>) {
        match (does, pattern) {
            _ if self.ended => {}
            (does, Some(pattern)) => self.rules.push((does, pattern)),
            (Does::Exclude, None) => {}
            (Does::Include, None) => self.end(),
        }
    }
}

impl Pattern {
    fn parse(pattern: &[u8]) -> Option<Pattern> {
        // A trailing slash restricts a pattern to directories, and only directories are checked here.
        let pattern = pattern.strip_suffix(b"/").unwrap_or(pattern);
        let (anchored, pattern) = match pattern.strip_prefix(b"/") {
            Some(rest) => (true, rest),
            None => (false, pattern),
        };
        let special = pattern.iter().any(|byte| matches!(byte, b'[' | b'\\')) || pattern.contains_str(b"**");
        let parts: Vec<Vec<u8>> = pattern.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect();
        (!special && parts.iter().all(|part| !part.is_empty())).then_some(Pattern { anchored, parts })
    }

    fn is_name(&self) -> bool {
        !self.anchored && self.parts.len() == 1
    }

    fn is_path(&self, path: &[u8]) -> bool {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let above = names.len().checked_sub(self.parts.len());
        above.is_some_and(|above| {
            (above == 0 || !self.anchored)
                && self.parts.iter().zip(&names[above..]).all(|(part, name)| is_like(part, name))
        })
    }
}

/// Whether a name matches a pattern, in which `*` stands for any bytes and `?` for one.
fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut reached) = (0, 0);
    // Where to continue if the text after the last `*` does not match: the `*` then takes one byte more.
    let mut again: Option<(usize, usize)> = None;
    while reached < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                again = Some((at, reached));
            }
            Some(byte) if *byte == b'?' || *byte == name[reached] => {
                at += 1;
                reached += 1;
            }
            _ => match again {
                Some((after, taken)) => {
                    at = after;
                    reached = taken + 1;
                    again = Some((after, taken + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(rules: &[(&str, &str)], path: &str) -> bool {
        let mut prune = Prune::default();
        for (option, value) in rules {
            match *option {
                "filter" => prune.filter(value.as_bytes()),
                option => prune.pattern(option == "exclude", value.as_bytes()),
            }
        }
        let name = path.rsplit('/').next().unwrap();
        prune.excludes(name.as_bytes(), || path.as_bytes().to_vec())
    }

    #[test]
    fn names_and_paths_are_certain() {
        for (pattern, path, expected) in [
            (".snapshot", ".snapshot", true),
            (".snapshot", "a/.snapshot", true),
            (".snapshot/", "a/.snapshot", true),
            (".snapshot", "a/.snapshots", false),
            ("/.snap*", ".snapshot", true),
            ("/.snap*", "a/.snapshot", false),
            ("*.d", "a/x.d", true),
            ("a/*/c", "a/b/c", true),
            ("a/*/c", "x/a/b/c", true),
            ("/a/*/c", "x/a/b/c", false),
            ("a/*/c", "b/c", false),
            ("b/c", "ab/c", false),
            ("?", "b", true),
            ("?", "", false),
            ("a*b*c", "aXbXXbc", true),
            ("a*b*c", "aXbXXb", false),
            ("- tmp", "tmp", true),
            ("+ tmp", "tmp", false),
            ("**/tmp", "tmp", false),
            ("t[m]p", "tmp", false),
            ("t\\mp", "tmp", false),
            ("a//b", "a/b", false),
            ("/", "a", false),
        ] {
            assert_eq!(excluded(&[("exclude", pattern)], path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn the_first_rule_decides_and_what_may_include_ends_certainty() {
        let tmp = ("exclude", "tmp");
        for (before, expected) in [
            (("include", "tmp"), false),
            (("include", "t?p"), false),
            (("include", "*/"), false),
            (("include", "other"), true),
            (("include", "/tmp"), true),
            (("include", "[xyz]"), false),
            (("exclude", "[xyz]"), true),
            (("exclude", "**"), true),
            (("filter", "+ x"), true),
            (("filter", "show_tmp"), false),
            (("filter", "+,! x"), false),
            (("filter", "-,! x"), true),
            (("filter", "P tmp"), true),
            (("filter", ": .rules"), false),
            (("filter", "merge x"), false),
        ] {
            assert_eq!(excluded(&[before, tmp], "a/tmp"), expected, "{before:?}");
        }
        assert!(excluded(&[("filter", "hide tmp")], "tmp"));
    }

    #[test]
    fn only_names_are_kept_if_paths_are_others() {
        let mut prune = Prune::default();
        ["a", "/b", "c/d"].iter().for_each(|pattern| prune.pattern(true, pattern.as_bytes()));
        prune.pattern(false, b"/e");
        prune.pattern(true, b"f");
        prune.keep_names();
        let excludes = |name: &str| prune.excludes(name.as_bytes(), || unreachable!("names only"));
        assert!(excludes("a") && !excludes("b") && !excludes("d") && !excludes("f"));
    }
}
