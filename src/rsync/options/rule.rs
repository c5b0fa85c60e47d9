//! Which kind of filter rule an option contains, and which file it names (rsync(1), FILTER RULES IN DEPTH). Patterns are not examined, because rsync does the
//! matching.

use super::Setting;
use super::table::Takes;
use std::os::unix::ffi::OsStrExt;

/// The kinds of rules that a plan has to distinguish.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::rsync) enum Rule<'a> {
    /// Forgets all rules before it.
    Clear,
    /// Reads a file of this machine once; `head` is everything before the name.
    Merge { head: &'a [u8], file: &'a [u8] },
    /// Reads a file of that name in every directory.
    DirMerge { name: &'a [u8] },
    /// A pattern, or something that rsync will refuse.
    Pattern,
}

impl<'a> Rule<'a> {
    /// The rule in `--filter`, `--include` or `--exclude`; `None` for any other option.
    pub(in crate::rsync) fn of(setting: &'a Setting) -> Option<Rule<'a>> {
        let value = setting.value.as_deref()?.as_bytes();
        match setting.spec.takes {
            Takes::Rule => Some(Rule::parse(value)),
            // The old options accept patterns and one special word.
            Takes::Pattern => Some(if value == b"!" { Rule::Clear } else { Rule::Pattern }),
            _ => None,
        }
    }

    pub(in crate::rsync) fn parse(rule: &'a [u8]) -> Rule<'a> {
        let word = |word: &str| {
            let rest = rule.strip_prefix(word.as_bytes())?;
            matches!(rest.first(), None | Some(b' ' | b'_' | b',')).then_some(rest)
        };
        if rule.first() == Some(&b'!') || word("clear").is_some() {
            Rule::Clear
        } else if let Some(rest) = rule.strip_prefix(b":").or_else(|| word("dir-merge")) {
            let name = match rest.iter().position(|byte| matches!(byte, b' ' | b'_')) {
                Some(gap) => &rest[gap + 1..],
                None if rest.contains(&b'C') => b".cvsignore",
                None => b"",
            };
            Rule::DirMerge { name }
        } else if let Some(rest) = rule.strip_prefix(b".").or_else(|| word("merge")) {
            match rest.iter().position(|byte| matches!(byte, b' ' | b'_')) {
                Some(gap) => {
                    let (head, file) = rule.split_at(rule.len() - rest.len() + gap + 1);
                    Rule::Merge { head, file }
                }
                // This is the default name with the modifier C.
                None if rest.contains(&b'C') => Rule::Merge { head: rule, file: b".cvsignore" },
                None => Rule::Pattern,
            }
        } else {
            Rule::Pattern
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_rules() {
        let merge = |head, file| Rule::Merge { head, file };
        for (text, rule) in [
            ("merge a b", merge(&b"merge "[..], &b"a b"[..])),
            ("merge_a", merge(b"merge_", b"a")),
            ("merge,- a", merge(b"merge,- ", b"a")),
            (". a", merge(b". ", b"a")),
            ("._ a", merge(b"._", b" a")),
            (".,-_a", merge(b".,-_", b"a")),
            (".C", merge(b".C", b".cvsignore")),
            (".a", Rule::Pattern),
            ("mergers a", Rule::Pattern),
            ("!", Rule::Clear),
            ("clear", Rule::Clear),
            ("clear,", Rule::Clear),
            (": .f", Rule::DirMerge { name: b".f" }),
            (":C", Rule::DirMerge { name: b".cvsignore" }),
            ("dir-merge,n- .f", Rule::DirMerge { name: b".f" }),
            ("- *.o", Rule::Pattern),
            ("exclude,! */", Rule::Pattern),
            ("-C", Rule::Pattern),
            ("P x", Rule::Pattern),
            ("", Rule::Pattern),
        ] {
            assert_eq!(Rule::parse(text.as_bytes()), rule, "{text}");
        }
    }
}
