//! Generates a case from a seed: difficult trees, destinations that conflict with them, and options that conflict with both.

mod destination;
mod forms;
mod options;

use std::collections::{HashMap, HashSet};

use multi_sync::harness::first_pass::{Role, listed};
use multi_sync::harness::rsync::options::{Opt, Options};

use super::case::{ABSOLUTE, Case};
use super::place::Place;
use super::random::Random;
use super::world::{FOREIGN, Kind, Node, OLD, World, is_below, join, parent};
use options::{SPECIAL_PERCENT, add_special, add_theme, base};

pub use options::is_native;

/// Names that occur in filters and in several trees.
#[rustfmt::skip] // A table.
const NAMES: &[&str] = &[
    "a", "b", "c", "d", "sub", "dir", "tmp", "cache", "core", "x.o", "y.o", "z.c", "w.c", "f1", "f2", "f3", "keep",
    ".hid", ".git", "f~", "UPPER", "long-name-of-a-file.txt", "e", "g", "h", "CVS",
];
#[rustfmt::skip] // A table.
const ODD_NAMES: &[&[u8]] = &[
    b"-dash", b"--delete", b"#hash", b";semi", b"new\nline", b"with space", b" lead", b"trail ", b"\xff\xfe", b"*",
    b"[ab]", b"?", b"back\\slash", b"quo'te", b"dq\"", b"$HOME", b"`id`", b"!", b"a:b", b"\\#012", b"tab\t", b"~",
    b"...", b"\xc3\xa4", b"- x", b"\x01", b"{a,b}", b"%n", b"@",
];
/// Texts that rsync prints, or that programs look for in its output.
#[rustfmt::skip] // A table.
const WORDS_OF_RSYNC: &[&[u8]] = &[
    b"[receiver]", b"[generator]", b"[sender]", b"a -> b", b" -> ", b"x failed: y", b" failed: ", b"(13)", b"(code 23)",
    b"file has vanished: \"", b"\rlead", b"\\#012", b"\\#015", b"rsync: [generator] x", b"rsync error: x (code 12)",
    b"skipping directory x", b"cannot delete non-empty directory: a", b"*deleting x", b"deleting a", b"Status: x",
    b"created directory d", b"IO error encountered", b"x\" failed: Permission denied (13)", b">f+++++++++ a",
    b"a\nrsync: x", b"sent 1 bytes", b"a => b", b"symlink has no referent: \"a\"", b".a.AbCdEf", b"a is uptodate",
];

/// The names of standard input.
const STDIN: &[&str] = &["=-", "merge -", "/dev/stdin", "/dev/fd/0"];

/// The case of a seed in another place, if that makes sense.
pub fn case_in(place: Place, seed: u64) -> Case {
    let mut case = case(seed);
    let is_d = case.destination.strip_suffix(b"/").unwrap_or(&case.destination).ends_with(b"d");
    let fits = is_d && !case.destination.windows(3).any(|part| part == b"new");
    if !fits || place == Place::OtherUser && case.nobody {
        return case;
    }
    case.place = place;
    if place.is_mounted() && !case.world.has_dir(b"d") {
        case.world.add(Node::new("d", Kind::Dir));
    }
    if place == Place::OtherUser {
        // It belongs to the other user, like a home directory.
        case.world.nodes.iter_mut().filter(|node| node.path == b"d").for_each(|node| node.owner = (65534, 65534));
    }
    case
}

/// A case for the first pass: mostly with options that allow one, and a destination with little contents.
pub fn for_first_pass(case: Case) -> Case {
    let mut random = Random::new(case.seed);
    let mut case = case;
    if random.percent(80) {
        let off: Vec<Opt> =
            listed().filter(|(_, role, _)| *role == Role::Off).flat_map(|(opts, ..)| opts).copied().collect();
        case.options.retain(|group| {
            let read = Options::parse(group);
            read.is_ok_and(|read| {
                read.settings().iter().all(|setting| setting.negated || !off.contains(&setting.spec.id))
            })
        });
        case.options.retain(|group| !["--no-p", "--no-t", "--no-perms"].iter().any(|word| group[0] == *word));
        case.options.push(vec!["-rpt".to_owned()]);
    }
    if random.percent(70) {
        let links_here: Vec<_> = case.world.below(b"d").map(|node| node.path.clone()).collect();
        let kept = if random.percent(80) { 0 } else { random.index(4) };
        case.world.remove(&links_here.into_iter().skip(kept).collect());
    }
    case
}

/// The case of a seed with its sources on another machine, and without options that are left to one rsync then.
pub fn case_pulled(place: Place, seed: u64) -> Case {
    let mut case = case(seed);
    case.place = place;
    case.stdin = None;
    let from_stdin = |word: &String| STDIN.iter().any(|name| word.ends_with(name));
    case.options.retain(|group| !group.iter().any(from_stdin));
    let mut random = Random::new(seed ^ 0x7075_6c6c);
    if random.percent(35) {
        case.sources.truncate(1);
    }
    if random.percent(85) {
        case.options.retain(|group| group.iter().all(|word| is_pulled_by_several(word, place)));
        if random.percent(25) && !case.options.iter().any(|group| group[0] == "-H") {
            case.options.push(vec!["-H".into()]);
        }
    }
    // In a pull, rsync 3.5.0 waits forever if links are to be made to a file for whose temporary file there was no space.
    if case.has_letter('H') {
        case.options.retain(|group| !group.iter().any(|word| word.starts_with("--temp-dir")));
    }
    if case.options.is_empty() {
        case.options.push(vec!["-a".into()]);
    }
    let deletes = |group: &Vec<String>| group.iter().any(|word| word.starts_with("--del"));
    let one = case.sources.len() == 1;
    if place == Place::Pulled && one && !case.options.iter().any(deletes) && random.percent(50) {
        case.options.push(vec![random.pick(DELETES).to_owned()]);
    }
    // Rsyncs that delete can only be held in a source that is sent without its name.
    if place == Place::Pulled && case.options.iter().any(deletes) && random.percent(80) {
        case.sources.truncate(1);
        case.sources.iter_mut().filter(|source| !source.ends_with(b"/")).for_each(|source| source.push(b'/'));
    }
    case.processes = case.processes.max(2);
    case
}

/// The case of a seed with sources that two hosts see.
pub fn case_by_hosts(place: Place, seed: u64) -> Case {
    let mut case = case(seed);
    case.place = place;
    case.stdin = None;
    let from_stdin = |word: &String| STDIN.iter().any(|name| word.ends_with(name));
    case.options.retain(|group| !group.iter().any(from_stdin));
    if case.options.is_empty() {
        case.options.push(vec!["-a".into()]);
    }
    case
}

/// Options with which several rsyncs delete.
const DELETES: &[&str] =
    &["--delete", "--del", "--delete-during", "--delete-delay", "--delete-after", "--delete-excluded"];

/// Whether several rsyncs pull with this option.
fn is_pulled_by_several(word: &str, place: Place) -> bool {
    const ALONE: &[&str] = &["-L", "-k", "-K", "-R", "-m", "-x", "-xx", "-F", "-FF", "-C", "-d"];
    #[rustfmt::skip] // A table.
    const BEGIN_ALONE: &[&str] = &[
        "--copy-unsafe", "--copy-devices", "--files-from", "--exclude-from", "--include-from", "merge", ":", "dir-merge", "--iconv", "--log-file", "--info",
        "--list-only", "--max-delete", "--remove-", "--del", "--no-implied-dirs", "--no-inc-recursive", "-C",
    ];
    let deletes = place == Place::Pulled && DELETES.contains(&word);
    deletes || !ALONE.contains(&word) && !BEGIN_ALONE.iter().any(|begin| word.starts_with(begin))
}

/// The state while a case is drawn.
struct Draw {
    random: Random,
    world: World,
    nobody: bool,
    /// Whether links are followed: then symbolic links must not form loops, which would never end.
    follows: bool,
    attributes: bool,
    locked: bool,
    /// Whether options write into existing files: then the result for files with several names at the destination depends on the order.
    in_place: bool,
    /// How many names of a hundred contain texts that rsync prints.
    spoken: u64,
    theme: Option<Theme>,
    /// Whether hard links are preserved: rsync may wait forever for the first of several names if it could not be created.
    hard_links: bool,
}

/// Situations that only go wrong together: some cases have all parts of one.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Theme {
    /// `-R`, and modes in the directories above and below a source.
    Chain,
    /// Names with rsync's texts, unreadable files, deletion.
    Words,
    /// Directories at the destination in which nothing can be created.
    Obstructed,
    /// Links that are followed, and rules for directories.
    Links,
    /// Rules in odd files and streams.
    Rules,
    /// Sources that share names and inodes.
    Sources,
}

impl Theme {
    const ALL: [Theme; 6] = [Theme::Chain, Theme::Words, Theme::Obstructed, Theme::Links, Theme::Rules, Theme::Sources];
}

/// The form in which the sources are typed.
struct Forms {
    cwd: String,
    typed: Vec<Vec<u8>>,
    /// Which tree becomes which part of the destination.
    copies: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The case of a seed.
pub fn case(seed: u64) -> Case {
    let mut random = Random::new(seed);
    let nobody = random.percent(45);
    let theme = random.percent(40).then(|| random.pick(&Theme::ALL));
    let special = random.percent(if theme.is_some() { SPECIAL_PERCENT / 3 } else { SPECIAL_PERCENT });
    let mut options = base(&mut random, nobody);
    if special {
        add_special(&mut random, &mut options);
    }
    if let Some(theme) = theme {
        add_theme(&mut random, &mut options, theme);
    }
    let relative = options.iter().flatten().any(|word| word == "-R");
    let has = |word: &str| options.iter().flatten().any(|other| other == word);
    let follows = has("-L") || has("-k") || has("--copy-unsafe-links");
    let attributes = options[0].iter().any(|word| word.contains('A') || word.contains('X')) || random.percent(3);
    let locked = theme == Some(Theme::Chain) || random.percent(if nobody { 50 } else { 15 });
    let hard_links = options.iter().flatten().any(|word| word.starts_with("-H"));
    let keeps_perms = options[0].iter().any(|word| word.contains('a') || word.contains('p')) && !has("--no-p");
    let in_place = ["--inplace", "--append", "--append-verify", "-u"].iter().any(|word| has(word)) || !keeps_perms;
    let spoken = if theme == Some(Theme::Words) { 35 } else { random.pick(&[0, 0, 0, 5]) };
    let mut draw = Draw {
        random,
        world: World::default(),
        nobody,
        follows,
        attributes,
        locked,
        in_place,
        spoken,
        theme,
        hard_links,
    };
    draw.finish(seed, options, relative)
}

impl Draw {
    fn finish(&mut self, seed: u64, options: Vec<Vec<String>>, relative: bool) -> Case {
        let has = |prefix: &str| options.iter().flatten().any(|word| word.starts_with(prefix));
        self.make_outside();
        let sources = ["s", "t", "u"];
        let mut count = self.random.skewed(10, 150);
        let trees =
            if self.theme == Some(Theme::Sources) || self.random.percent(22) { 2 + self.random.index(2) } else { 1 };
        for source in &sources[..trees] {
            let mut top = self.node(source.as_bytes(), Kind::Dir);
            top.mode = self.random.pick(&[0o755, 0o755, 0o755, 0o700, 0o2775, 0o711, 0o1777, 0o2755]);
            if self.locked && self.random.percent(15) {
                top.mode = self.random.pick(&[0o555, 0o555, 0o2555, 0o500, if self.nobody { 0o555 } else { 0 }]);
            }
            self.world.add(top);
            self.grow(source.as_bytes(), count);
            count = self.random.skewed(3, 40);
        }
        self.marked_names(&sources[..trees], &options);
        if self.follows {
            self.cut_circles();
        }
        let Forms { cwd, typed, copies } = self.forms(&sources[..trees], relative);
        let destination = self.destination(&cwd, &copies, has("--mkpath"));
        for reference in ["ref", "ref2"] {
            if has(&format!("--link-dest=../{reference}"))
                || has(&format!("--copy-dest=../{reference}"))
                || has(&format!("--compare-dest=../{reference}"))
            {
                self.dir(reference.as_bytes());
                for (from, to) in &copies {
                    self.copy(from, &replace_top(to, reference), 80);
                }
            }
        }
        if has("../tmpd") {
            self.dir(b"tmpd");
        }
        let reads = ["--files-from", "--exclude-from", "--include-from", "merge rules", "merge -"];
        let mut stdin = None;
        if reads.iter().any(|prefix| has(prefix)) {
            self.option_files(&cwd, &typed);
            let mut names = options.iter().flatten();
            let from_stdin = names.find(|word| STDIN.iter().any(|name| word.ends_with(name)));
            stdin = from_stdin.map(|word| if word.starts_with("--files-from") { "list" } else { "rules" }.to_owned());
        }
        let entries = self.world.below(b"s").count() as u64;
        // A launch costs 10 ms of processor time, so there must not be too many.
        let files = self.random.skewed((entries / 25).max(1), 20.max(entries / 25));
        let bytes = self.random.percent(35).then(|| self.random.pick(&[1, 500, 3000, 20_000, 200_000]));
        let processes = 1 + self.random.below(4);
        let umask = self.random.pick(&[0o022, 0o022, 0o022, 0o022, 0o077, 0o002, 0o027]);
        self.world.let_in(cwd.as_bytes());
        let world = std::mem::take(&mut self.world);
        Case {
            seed,
            world,
            options,
            cwd,
            sources: typed,
            destination,
            files,
            bytes,
            processes,
            nobody: self.nobody,
            umask,
            stdin,
            place: Place::Here,
        }
    }

    fn dir(&mut self, path: &[u8]) {
        self.world.add(Node::new(path, Kind::Dir));
    }

    /// Creates targets outside of the sources for links and arguments.
    fn make_outside(&mut self) {
        self.dir(b"out");
        self.world.add(Node::new("out/f", Kind::File { letter: b'o', size: 10 }));
        self.dir(b"out/dir");
        self.world.add(Node::new("out/dir/in1", Kind::File { letter: b'i', size: 20 }));
        self.world.add(Node::new("out/dir/x.o", Kind::File { letter: b'j', size: 30 }));
        self.dir(b"out/dir/deep");
        self.world.add(Node::new("out/dir/deep/in2", Kind::File { letter: b'k', size: 40 }));
    }

    fn time(&mut self) -> (i64, u32) {
        let random = &mut self.random;
        let seconds = match random.below(10) {
            0 => OLD,
            1 => OLD + 1,
            2 => 86_400 + random.below(300_000_000) as i64,
            _ => OLD + random.below(500_000_000) as i64,
        };
        (seconds, if random.percent(50) { 0 } else { random.below(1_000_000_000) as u32 })
    }

    /// A node with random attributes.
    fn node(&mut self, path: &[u8], kind: Kind) -> Node {
        let mut node = Node::new(path, kind);
        self.draw_attributes(&mut node);
        node
    }

    fn draw_attributes(&mut self, node: &mut Node) {
        const DIRS: &[u32] = &[0o755, 0o755, 0o755, 0o755, 0o700, 0o750, 0o775, 0o711, 0o2775, 0o1777, 0o2755, 0o777];
        const FILES: &[u32] =
            &[0o644, 0o644, 0o644, 0o600, 0o755, 0o444, 0o400, 0o666, 0o4755, 0o2755, 0o1644, 0o6711, 0o640, 0o604];
        node.mtime = self.time();
        node.mode = self.random.pick(if node.is_dir() { DIRS } else { FILES });
        if self.locked {
            let roll = self.random.below(100);
            if node.is_dir() && roll < 12 {
                node.mode = self.random.pick(&[0o555, 0o555, 0o500, 0o511, 0o2555]);
            } else if roll == 99 && crate::support::is_root() {
                node.mode = self.random.pick(&[0, 0, 0o200, 0o300, 0o111]);
            }
        }
        if self.nobody && self.theme == Some(Theme::Words) && !node.is_dir() && self.random.percent(2) {
            node.mode = 0;
        }
        if !self.nobody && self.random.percent(15) {
            node.owner = self.random.pick(&[(1000, 1000), (65534, 65534), (0, 1000), (1001, 0), (12345, 54321)]);
        } else if self.nobody && self.random.below(400) == 0 {
            node.owner = (FOREIGN, FOREIGN);
        }
        if self.attributes && !matches!(node.kind, Kind::Symlink(_)) {
            let plain = matches!(node.kind, Kind::Dir | Kind::File { .. } | Kind::Sparse { .. });
            node.xattr = (plain && self.random.percent(20)).then(|| self.random.pick(&["1", "two", "33"]).to_owned());
            node.acl = self.random.percent(12);
        }
    }

    fn name(&mut self) -> Vec<u8> {
        if self.spoken > 0 && self.random.percent(self.spoken) {
            self.random.pick(WORDS_OF_RSYNC).to_vec()
        } else if self.random.percent(12) {
            self.random.pick(ODD_NAMES).to_vec()
        } else if self.random.percent(15) {
            format!("n{}", self.random.below(100)).into_bytes()
        } else {
            self.random.pick(NAMES).as_bytes().to_vec()
        }
    }

    /// An unused name in a directory, with its path.
    fn free(&mut self, dir: &[u8]) -> Vec<u8> {
        loop {
            let path = join(dir, &self.name());
            if self.world.get(&path).is_none() {
                return path;
            }
            let path = join(dir, format!("m{}", self.random.below(1000)).as_bytes());
            if self.random.percent(60) && self.world.get(&path).is_none() {
                return path;
            }
        }
    }

    /// Adds this number of entries below a directory.
    fn grow(&mut self, top: &[u8], count: u64) {
        let mut dirs: Vec<Vec<u8>> = vec![top.to_vec()];
        dirs.extend(self.world.below(top).filter(|node| node.is_dir()).map(|node| node.path.clone()));
        let dir_percent = self.random.pick(&[10, 25, 25, 40]);
        for _ in 0..count {
            // Makes some directories deep, and some large.
            let at = if self.random.percent(35) { dirs.len() - 1 } else { self.random.index(dirs.len()) };
            let dir = dirs[at].clone();
            let path = self.free(&dir);
            let kind = self.kind(&dir, top, dir_percent);
            let node = self.node(&path, kind);
            if node.is_dir() && dir.iter().filter(|&&byte| byte == b'/').count() < 8 {
                dirs.push(path);
            }
            self.world.add(node);
        }
    }

    fn size(&mut self) -> u64 {
        match self.random.below(20) {
            0..3 => 0,
            3..6 => self.random.pick(&[1, 5, 100, 1000, 1001]),
            6 => 20_000 + self.random.below(60_000),
            _ => self.random.below(3000),
        }
    }

    fn file(&mut self) -> Kind {
        Kind::File { letter: b'a' + self.random.below(26) as u8, size: self.size() }
    }

    fn kind(&mut self, dir: &[u8], top: &[u8], dir_percent: u64) -> Kind {
        if self.random.percent(dir_percent) {
            return Kind::Dir;
        }
        if self.theme == Some(Theme::Links) && self.random.percent(15) {
            return Kind::Symlink(self.target(dir));
        }
        match self.random.below(100) {
            0..14 => Kind::Symlink(self.target(dir)),
            14..28 => match self.linkable(top) {
                Some(path) => Kind::Link(path),
                None => self.file(),
            },
            28..32 => Kind::Fifo,
            32..33 => Kind::Socket,
            33..35 if !self.nobody && crate::support::is_root() => {
                Kind::Device { minor: 3 + self.random.below(3) as u32 }
            }
            35..38 => Kind::Sparse { letter: b's', size: 10_000 + self.random.below(300_000) },
            _ => self.file(),
        }
    }

    /// An entry that can get another name, mostly in the same tree.
    fn linkable(&mut self, top: &[u8]) -> Option<Vec<u8>> {
        let at_destination = top.starts_with(b"d");
        if at_destination && self.in_place && !self.random.percent(8) {
            return None;
        }
        let anywhere = self.random.percent(if self.theme == Some(Theme::Sources) { 40 } else { 10 });
        // If a destination shared inodes with its source, the copy would change the source.
        let is_source = |path: &[u8]| at_destination && !is_below(path, b"d") && !is_below(path, b"ref");
        let good = |node: &&Node| {
            let named = !matches!(node.kind, Kind::Dir | Kind::Link(_));
            named && (is_below(&node.path, top) || anywhere && !is_source(&node.path))
        };
        let all: Vec<&Vec<u8>> = self.world.nodes.iter().filter(good).map(|node| &node.path).collect();
        if all.is_empty() { None } else { Some(self.random.pick(&all).clone()) }
    }

    fn target(&mut self, dir: &[u8]) -> Vec<u8> {
        let ups = dir.split(|&byte| byte == b'/').count();
        let to_root = b"../".repeat(ups);
        match self.random.below(12) {
            0..5 => {
                let siblings: Vec<&[u8]> = self
                    .world
                    .below(dir)
                    .filter(|node| parent(&node.path) == dir)
                    .map(|node| &node.path[dir.len() + 1..])
                    .collect();
                if siblings.is_empty() { b"nothing".to_vec() } else { self.random.pick(&siblings).to_vec() }
            }
            5 => {
                let all: Vec<&Vec<u8>> = self.world.below(b"s").map(|node| &node.path).collect();
                if all.is_empty() { b"..".to_vec() } else { [&to_root[..], &self.random.pick(&all)[..]].concat() }
            }
            6 => [&to_root[..], b"out/f"].concat(),
            7 => [&to_root[..], b"out/dir"].concat(),
            8 => b"/nonexistent/absolute".to_vec(),
            9 => b"../nowhere".to_vec(),
            10 => b".".to_vec(),
            _ => vec![b't'; 1 + self.random.index(300)],
        }
    }

    /// Adds names that have a meaning for the options.
    fn marked_names(&mut self, tops: &[&str], options: &[Vec<String>]) {
        let has = |prefix: &str| options.iter().flatten().any(|word| word.starts_with(prefix));
        let mut dirs = Vec::new();
        let mut files: Vec<(&[u8], &[&str])> = Vec::new();
        if has("--partial-dir") {
            dirs.push(b".pd");
        }
        let rules: &[&str] = &[
            "- *.o\n",
            "- /a\n",
            "- tmp/\n+ keep\n- k*\n",
            "- *\n",
            "P *.c\n",
            "- cache\n",
            "# comment\n\n- f1\n",
            "!\n- *.c\n",
            "",
            "- *.o",
            "- *.o\r\n- tmp/\r\n",
        ];
        let patterns: &[&str] = &["*.o\n", "a\nb\n", "tmp/\n", "*.c x.o\n", "keep\n", "", "*.o", "*.o\r\nkeep\r\n"];
        if has("-F") || self.random.percent(3) {
            files.push((b".rsync-filter", rules));
        }
        if has("-C") || has(":C") || self.random.percent(3) {
            files.push((b".cvsignore", patterns));
        }
        if has(": ") || has("dir-merge") {
            files.push((b".rules", rules));
        }
        if has(":- ") || has(":w- ") {
            files.push((b".rules", patterns));
        }
        for top in tops {
            let all: Vec<Vec<u8>> = self
                .world
                .nodes
                .iter()
                .filter(|n| n.is_dir() && n.path.starts_with(top.as_bytes()))
                .map(|n| n.path.clone())
                .collect();
            for name in &dirs {
                let dir = join(&self.random.pick(&all), *name);
                let node = self.node(&dir, Kind::Dir);
                self.world.add(node);
                self.grow(&dir, 2);
            }
            for (name, texts) in &files {
                for _ in 0..1 + self.random.below(3) {
                    let path = join(&self.random.pick(&all), name);
                    let text = (self.random.pick(texts)).to_owned();
                    let mut node = self.node(&path, Kind::Text(text));
                    node.mode = 0o644;
                    self.world.add(node);
                }
            }
        }
    }

    /// Removes symbolic links that, if followed, lead to directories that contain them or to other such links.
    fn cut_circles(&mut self) {
        let resolve = |node: &Node| -> Option<Vec<u8>> {
            let Kind::Symlink(target) = &node.kind else { return None };
            if target.starts_with(b"/") {
                return None;
            }
            let mut path: Vec<&[u8]> = parent(&node.path).split(|&byte| byte == b'/').collect();
            for part in target.split(|&byte| byte == b'/') {
                match part {
                    b".." => drop(path.pop()),
                    b"." | b"" => {}
                    name => path.push(name),
                }
            }
            Some(path.join(&b'/'))
        };
        let targets: HashMap<Vec<u8>, Vec<u8>> =
            self.world.nodes.iter().filter_map(|node| Some((node.path.clone(), resolve(node)?))).collect();
        let harmless = |target: &[u8]| {
            let outside = target == b"out/dir" || target == b"out/f";
            outside
                || self
                    .world
                    .get(target)
                    .is_none_or(|node| matches!(node.kind, Kind::File { .. } | Kind::Sparse { .. }))
        };
        let gone: HashSet<Vec<u8>> = targets
            .iter()
            .filter(|(_, target)| !harmless(target) && !self.leaf_dir(target))
            .map(|(path, _)| path.clone())
            .collect();
        self.world.remove(&gone);
    }

    fn leaf_dir(&self, path: &[u8]) -> bool {
        let links = |node: &Node| matches!(node.kind, Kind::Symlink(_) | Kind::Link(_));
        self.world.has_dir(path) && path.contains(&b'/') && !self.world.below(path).any(links)
    }

    /// Creates files that options name: rules, and a list of names in the first source.
    fn option_files(&mut self, cwd: &str, typed: &[Vec<u8>]) {
        let rules = self.random.pick(&[
            "*.o\n",
            "- *.o\n+ *.c\n",
            "/a\ntmp/\n",
            "# none\n; none\n\ncache\n",
            "*\n",
            "keep\nf1\n/s/b\n",
            "",
            "\n\n",
            "*.o",
            "# all of it is a comment",
            "*.o\r\ntmp/\r\n",
            "- *.o\r\n+ *.c",
            "  *.o\n\tcache\n- \n",
        ]);
        self.world.add(Node::new(join(cwd.as_bytes(), b"rules"), Kind::Text(rules.to_owned())));
        let base = typed.first().map(|path| path.strip_suffix(b"/").unwrap_or(path).to_vec()).unwrap_or_default();
        let all: Vec<Vec<u8>> = self
            .world
            .below(&base)
            .map(|node| node.path[base.len() + 1..].to_vec())
            .filter(|path| std::str::from_utf8(path).is_ok() && !path.contains(&b'\n'))
            .collect();
        let mut list = String::new();
        for _ in 0..6 {
            if !all.is_empty() {
                list.push_str(&String::from_utf8_lossy(&self.random.pick(&all)));
                list.push('\n');
            }
        }
        self.world.add(Node::new(join(cwd.as_bytes(), b"list"), Kind::Text(list)));
    }
}

fn replace_top(path: &[u8], top: &str) -> Vec<u8> {
    let rest = path.iter().position(|&byte| byte == b'/').map_or(&b""[..], |slash| &path[slash..]);
    [top.as_bytes(), rest].concat()
}
