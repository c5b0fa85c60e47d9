//! Several addresses of one machine in one word, written with braces as a shell would expand them: `{nas1,nas2}:/export/`, `nas{1..4}::module/`.
//!
//! rsync does not know this form: a shell that expands it makes several sources of it. Only braces in the part that names the machine have this meaning.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::{Destination, Source};
use crate::entry::Printable;
use crate::error::{Error, Result};

/// More addresses than this must be a mistake.
const MOST: usize = 64;
const SCHEME: &[u8] = b"rsync://";

/// The two ends of a copy, read from the words of a command line.
#[derive(Debug, Clone)]
pub struct Ends {
    /// The sources; with their first address, if there are several.
    pub sources: Vec<Source>,
    /// The destination; with its first address, if there are several.
    pub destination: Destination,
    /// The addresses of the sources or of the destination, if there are several.
    pub addresses: Option<Addresses>,
}

impl Ends {
    /// Reads the two ends.
    ///
    /// # Errors
    /// As [`Source::parse_all`] and [`Destination::parse`]; also if braces do not list addresses, or name the machine of one of several sources.
    pub fn parse(sources: &[OsString], destination: &OsStr) -> Result<Ends> {
        let of_dest = Addresses::read(destination, false)?;
        let first = of_dest.as_ref().map_or_else(|| destination.to_owned(), |all| all.word(0));
        let destination = Destination::parse(&first)?;
        let mut words = sources.to_vec();
        let mut of_source = None;
        for word in &mut words {
            let Some(all) = Addresses::read(word, true)? else { continue };
            if sources.len() > 1 {
                return Err(Error::usage(format!(
                    "source '{}' has several addresses, and there are other sources",
                    Printable::os(word)
                ))
                .remedy("run them one after the other, or name one address"));
            }
            *word = all.word(0);
            of_source = Some(all);
        }
        let sources = Source::parse_all(&words, &destination)?;
        for all in of_source.iter().chain(&of_dest) {
            // If one address is refused, all are refused.
            (0..all.count()).try_for_each(|at| match all.is_source {
                true => Source::parse(&all.word(at)).map(drop),
                false => Destination::parse(&all.word(at)).map(drop),
            })?;
        }
        Ok(Ends { sources, destination, addresses: of_source.or(of_dest) })
    }
}

/// All addresses of SRC or of DEST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    typed: OsString,
    is_source: bool,
    /// The part of the word that names the machine, such as `me@nas1` or `rsync://nas1:873`.
    machines: Vec<Vec<u8>>,
    rest: Vec<u8>,
    /// The directory to which each address led when it was asked.
    seen: Vec<Seen>,
}

/// By what a directory behind an address is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The boot ID of the system, if a shell has reported it.
    pub boot: String,
    /// The device number of the file system.
    pub device: String,
    /// Its inode and owner; for a destination that does not exist yet, those of the directory above.
    pub place: String,
    /// A checksum of the names in it.
    pub names: String,
    /// If no shell answers, what rsync lists: its exit code, and a checksum.
    pub listed: Option<(u8, u64)>,
}

impl Seen {
    /// Whether both are on one machine, which has not been restarted in between.
    pub fn is_one_machine(&self, other: &Seen) -> bool {
        self.listed.is_none() && !self.boot.is_empty() && self.boot == other.boot
    }

    /// Whether two addresses that were asked at the same time lead to the same directory.
    pub fn is_same(&self, other: &Seen) -> bool {
        if self.is_one_machine(other) {
            return (&self.device, &self.place) == (&other.device, &other.place);
        }
        self.listed == other.listed && (&self.place, &self.names) == (&other.place, &other.names)
    }

    /// Whether an address still leads to the same directory. The contents of a source may have changed, and a destination may have been created.
    pub fn is_again(&self, now: &Seen, is_source: bool) -> bool {
        let (same_place, same_device) = (self.place == now.place, self.device == now.device);
        match self.is_one_machine(now) {
            true => same_device && (same_place || !is_source),
            false => self.listed == now.listed && (self.listed.is_some() || !self.place.is_empty() && same_place),
        }
    }
}

impl Addresses {
    /// Whether a word names a machine with braces, valid or not.
    pub fn are_in(word: &OsStr) -> bool {
        machine(word.as_bytes()).is_some()
    }

    fn read(word: &OsStr, is_source: bool) -> Result<Option<Addresses>> {
        let Some((named, rest)) = machine(word.as_bytes()) else { return Ok(None) };
        let refused = |why: &str| {
            let role = if is_source { "source" } else { "destination" };
            Error::usage(format!("{role} '{}': {why}", Printable::os(word)))
                .remedy("write addresses of one machine as {A,B,C}:PATH or NAME{1..4}:PATH, or one without braces")
        };
        let machines = expand(named).map_err(refused)?;
        if machines.len() < 2 {
            return Err(refused("the braces name one address only"));
        }
        if let Some(twice) = (1..machines.len()).find(|at| machines[..*at].contains(&machines[*at])) {
            let twice = Printable::bytes(&machines[twice]).to_string();
            return Err(refused(&format!("'{twice}' is named twice")));
        }
        let (typed, rest, seen) = (word.to_owned(), rest.to_vec(), Vec::new());
        Ok(Some(Addresses { typed, is_source, machines, rest, seen }))
    }

    /// Whether they are addresses of SRC, not of DEST.
    pub fn are_of_source(&self) -> bool {
        self.is_source
    }

    /// The word as it was typed.
    pub fn typed(&self) -> &OsStr {
        &self.typed
    }

    /// The number of addresses.
    pub fn count(&self) -> usize {
        self.machines.len()
    }

    /// The word for SRC or DEST with one of the addresses.
    pub fn word(&self, at: usize) -> OsString {
        OsString::from_vec([&self.machines[at][..], &self.rest].concat())
    }

    /// The printable name of one of them.
    pub fn name(&self, at: usize) -> String {
        let machine = &self.machines[at];
        Printable::bytes(machine.get(scheme(machine)..).unwrap_or_default()).to_string()
    }

    /// A word that names something on the machine by its first address, changed to another address.
    pub fn through(&self, at: usize, word: &OsStr) -> OsString {
        let rest = word.as_bytes().strip_prefix(&self.machines[0][..]).filter(|rest| matches!(rest, [b':' | b'/', ..]));
        debug_assert!(rest.is_some(), "{word:?} is not a word for {:?}", self.machines[0]);
        rest.map_or_else(|| word.to_owned(), |rest| OsString::from_vec([&self.machines[at][..], rest].concat()))
    }

    /// Only these addresses, in this order, with the directory to which each of them led.
    #[must_use]
    pub fn only(&self, which: &[(usize, Seen)]) -> Addresses {
        let machines = which.iter().map(|(at, _)| self.machines[*at].clone()).collect();
        Addresses { machines, seen: which.iter().map(|(_, seen)| seen.clone()).collect(), ..self.clone() }
    }

    /// The directory to which one of them led when it was asked.
    pub fn seen(&self, at: usize) -> Option<&Seen> {
        self.seen.get(at)
    }
}

fn scheme(word: &[u8]) -> usize {
    let is_url = word.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME));
    if is_url { SCHEME.len() } else { 0 }
}

/// The part that names the machine, and the rest with its colon or slash; `None` if the word names no machine, or has no braces in this part.
fn machine(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let begins = scheme(word);
    let (mut depth, mut has_braces, mut in_brackets, mut hides) = (0_usize, false, false, false);
    for (at, byte) in word.iter().enumerate().skip(begins) {
        match byte {
            b'[' => in_brackets = true,
            b']' => in_brackets = false,
            // `${` is a shell variable, which cannot be in an address: rsync reports an error for it.
            b'{' if at > 0 && word[at - 1] == b'$' => {}
            b'{' => (depth, has_braces) = (depth + 1, true),
            b'}' => depth = depth.saturating_sub(1),
            // A local path, unless an unclosed brace hides the end of a machine's name.
            b'/' if begins == 0 => return (depth > 0 && hides).then(|| word.split_at(word.len())),
            b'/' if depth == 0 => return has_braces.then(|| word.split_at(at)),
            // In a URL only the slash ends the machine, because a port may follow the colon.
            b':' if depth == 0 && !in_brackets && begins == 0 => return has_braces.then(|| word.split_at(at)),
            b':' if !in_brackets => hides = true,
            _ => {}
        }
    }
    (depth > 0 && (hides || begins > 0)).then(|| word.split_at(word.len()))
}

/// All words for which braces stand.
fn expand(word: &[u8]) -> std::result::Result<Vec<Vec<u8>>, &'static str> {
    let Some(open) = word.iter().position(|byte| *byte == b'{') else {
        return match word.contains(&b'}') {
            true => Err("a brace is closed that is not open"),
            false => Ok(vec![word.to_vec()]),
        };
    };
    let inside = &word[open + 1..];
    let close = inside.iter().position(|byte| matches!(byte, b'{' | b'}')).ok_or("a brace is not closed")?;
    if inside[close] == b'{' {
        return Err("braces are in braces");
    }
    let (inside, after) = (&inside[..close], &inside[close + 1..]);
    let items = match range(inside)? {
        Some(items) => items,
        None => inside.split(|byte| *byte == b',').map(<[u8]>::to_vec).collect(),
    };
    if items.iter().any(Vec::is_empty) {
        return Err("an address in braces is empty");
    }
    let tails = expand(after)?;
    if items.len() * tails.len() > MOST {
        return Err("these are more than 64 addresses");
    }
    let whole = |item: &Vec<u8>, tail: &Vec<u8>| [&word[..open], item, tail].concat();
    Ok(items.iter().flat_map(|item| tails.iter().map(move |tail| whole(item, tail))).collect())
}

/// Expands `1..4` and `01..12`, as a shell does.
fn range(inside: &[u8]) -> std::result::Result<Option<Vec<Vec<u8>>>, &'static str> {
    let text = std::str::from_utf8(inside).unwrap_or_default();
    let Some((first, last)) = text.split_once("..") else { return Ok(None) };
    let number = |digits: &str| digits.parse::<u32>().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let (Some(from), Some(to)) = (number(first), number(last)) else { return Err("a range is written {1..4}") };
    if to < from {
        return Err("a range begins with its smaller number");
    }
    if (to - from) as usize >= MOST {
        return Err("these are more than 64 addresses");
    }
    let is_padded = |digits: &str| digits.len() > 1 && digits.starts_with('0');
    let width = if is_padded(first) || is_padded(last) { first.len().max(last.len()) } else { 0 };
    Ok(Some((from..=to).map(|n| format!("{n:0width$}").into_bytes()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(word: &str) -> Option<Vec<String>> {
        let all = Addresses::read(word.as_ref(), true).unwrap_or_else(|error| panic!("{word}: {error}"))?;
        Some((0..all.count()).map(|at| all.word(at).into_string().unwrap()).collect())
    }

    #[test]
    fn braces_in_the_name_of_a_machine_are_addresses() {
        for (word, expected) in [
            ("{nas1,nas2}:/x/", "nas1:/x/ nas2:/x/"),
            ("nas{1..3}:", "nas1: nas2: nas3:"),
            ("me@n{08..10}.x:/a{b,c}", "me@n08.x:/a{b,c} me@n09.x:/a{b,c} me@n10.x:/a{b,c}"),
            ("{a,u@b}::m/p", "a::m/p u@b::m/p"),
            ("r{1,2}n{1,2}:p", "r1n1:p r1n2:p r2n1:p r2n2:p"),
            ("rsync://{a,b}:87/m", "rsync://a:87/m rsync://b:87/m"),
            ("rsync://{a:87,b:88}/m", "rsync://a:87/m rsync://b:88/m"),
            ("{[::1],[::2]}:/p", "[::1]:/p [::2]:/p"),
            ("[fe80::{1,2}]:/p", "[fe80::1]:/p [fe80::2]:/p"),
        ] {
            assert_eq!(words(word).map(|all| all.join(" ")).as_deref(), Some(expected), "{word}");
        }
        for word in [
            "a:/b",
            "{a,b}",
            "{a,b}/c:d",
            "./{a,b}:c",
            "a:{b,c}",
            "rsync://a/{b,c}",
            "rsync://a",
            "a{1..4}",
            "a${b,c}:/x",
        ] {
            assert_eq!(words(word), None, "{word}");
        }
    }

    #[test]
    fn what_names_no_addresses_is_refused_and_named() {
        for (word, part) in [
            ("{a}:/x", "one address only"),
            ("{a,a}:/x", "'a' is named twice"),
            ("{a,}:/x", "is empty"),
            ("{}:/x", "is empty"),
            ("{a,b:/x", "not closed"),
            ("{a,{b,c}}:/x", "in braces"),
            ("n{4..1}:/x", "smaller number"),
            ("n{a..c}:/x", "a range is written"),
            ("n{1..}:/x", "a range is written"),
            ("n{1..99}:/x", "more than 64"),
            ("n{1..30}{1..30}:/x", "more than 64"),
            ("{a,b}}:/x", "not open"),
            ("rsync://{a}/m", "one address only"),
            ("{a,-oProxyCommand=x}:/x", "option"),
            ("{a,b c}:/x", "misread"),
            ("{a,b}::", "no module"),
        ] {
            for (sources, dest) in [(word, "d"), ("s", word)] {
                let error = Ends::parse(&[sources.into()], dest.as_ref()).expect_err(word);
                assert!(error.to_string().contains(part) && error.advice().is_some(), "{word}: {error}");
            }
        }
        let several = Ends::parse(&["{a,b}:/x".into(), ":/y".into()], "d".as_ref()).unwrap_err();
        assert!(several.to_string().contains("there are other sources"), "{several}");
        let both = Ends::parse(&["{a,b}:/x".into()], "{c,d}:/y".as_ref()).unwrap_err();
        assert!(both.to_string().contains("both on other machines"), "{both}");
    }

    #[test]
    fn a_word_goes_through_another_address() {
        let all = Addresses::read("rsync://{a,b:87}/m/p".as_ref(), true).unwrap().unwrap();
        assert_eq!(all.through(1, "rsync://a/m/".as_ref()), "rsync://b:87/m/");
        assert_eq!((all.name(0), all.name(1)), ("a".into(), "b:87".into()));
        let some = all.only(&[(1, Seen::default())]);
        assert_eq!((some.count(), some.word(0)), (1, "rsync://b:87/m/p".into()));
    }

    fn seen(boot: &str, device: &str, place: &str, names: &str) -> Seen {
        let [boot, device, place, names] = [boot, device, place, names].map(str::to_owned);
        Seen { boot, device, place, names, listed: None }
    }

    #[test]
    fn a_directory_is_known_by_all_that_is_seen_of_it() {
        let here = seen("b", "1", "7 0 0", "n");
        for (other, same, one_machine) in [
            (here.clone(), true, true),
            // Names may change while the other addresses are asked.
            (seen("b", "1", "7 0 0", "m"), true, true),
            (seen("b", "2", "7 0 0", "n"), false, true),
            (seen("b", "1", "8 0 0", "n"), false, true),
            // Device numbers of different machines cannot be compared.
            (seen("c", "2", "7 0 0", "n"), true, false),
            (seen("c", "1", "7 0 0", "m"), false, false),
            (seen("", "1", "7 0 0", "n"), true, false),
            (Seen { listed: Some((0, 1)), ..Seen::default() }, false, false),
        ] {
            assert_eq!((here.is_same(&other), here.is_one_machine(&other)), (same, one_machine), "{other:?}");
        }
        let listed = |sum| Seen { listed: Some((0, sum)), ..Seen::default() };
        assert!(listed(1).is_same(&listed(1)) && !listed(1).is_same(&listed(2)));
        assert!(!listed(1).is_one_machine(&listed(1)));
    }

    #[test]
    fn an_address_that_comes_back_leads_to_what_it_led_to() {
        let before = seen("b", "1", "7 0 0", "n");
        for (now, of_source, of_dest) in [
            (seen("b", "1", "7 0 0", "more"), true, true),
            (seen("b", "1", "8 0 0", "n"), false, true),
            (seen("b", "2", "7 0 0", "n"), false, false),
            // The machine was restarted: devices may have other numbers.
            (seen("c", "2", "7 0 0", "n"), true, true),
            (seen("c", "1", "8 0 0", "n"), false, false),
            (seen("", "", "", ""), false, false),
            (Seen { listed: Some((0, 1)), ..Seen::default() }, false, false),
        ] {
            assert_eq!((before.is_again(&now, true), before.is_again(&now, false)), (of_source, of_dest), "{now:?}");
        }
        let listed = |sum| Seen { listed: Some((0, sum)), ..Seen::default() };
        assert!(listed(1).is_again(&listed(1), true) && !listed(1).is_again(&listed(2), true));
    }
}
