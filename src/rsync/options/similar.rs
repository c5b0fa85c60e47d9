//! Suggestions for a misspelt name.

use super::table;

/// How many letters may be wrong: one in a short name, two in a longer one.
fn allowed(name: &str) -> usize {
    const SHORT: usize = 5;
    if name.chars().count() <= SHORT { 1 } else { 2 }
}

/// The long name of an rsync option, without its dashes, that is similar to this one.
///
/// ```
/// use multi_sync::harness::rsync::options::similar;
/// assert_eq!(similar("delte"), Some("delete"));
/// assert_eq!(similar("excldue"), Some("exclude"));
/// assert_eq!(similar("frobnicate"), None);
/// ```
pub fn similar(name: &str) -> Option<&'static str> {
    nearest(name, table::long_names())
}

/// The one of these words that is similar to this one.
pub fn nearest<'a>(word: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = all.map(|one| (distance(word, one), one));
    near.filter(|(distance, _)| *distance <= allowed(word)).min().map(|(_, one)| one)
}

/// The number of letters that are missing, superfluous or different.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], at + 1);
        for column in 0..other.len() {
            let changed = before + usize::from(other[column] != letter);
            before = row[column + 1];
            row[column + 1] = changed.min(before + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}
