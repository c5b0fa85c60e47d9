//! From a seed to a case: nasty trees, destinations that disagree with them, and options that disagree with both.

use std::collections::{HashMap, HashSet};

use super::case::{ABSOLUTE, Case};
use super::random::Random;
use super::world::{FOREIGN, Kind, Node, OLD, World, is_below, join, parent};

/// Names that filters and several trees have in common.
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

/// What a case is drawn from.
struct Draw {
    random: Random,
    world: World,
    nobody: bool,
    /// Symbolic links that lead round in circles would never end.
    follows: bool,
    attributes: bool,
    locked: bool,
}

/// How the sources are typed.
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
    let special = random.percent(SPECIAL_PERCENT);
    let mut options = base(&mut random, nobody);
    let mut relative = false;
    if special {
        relative = add_special(&mut random, &mut options);
    }
    let has = |word: &str| options.iter().flatten().any(|other| other == word);
    let follows = has("-L") || has("-k") || has("--copy-unsafe-links");
    let attributes = options[0].iter().any(|word| word.contains('A') || word.contains('X')) || random.percent(3);
    let locked = random.percent(if nobody { 50 } else { 15 });
    let mut draw = Draw { random, world: World::default(), nobody, follows, attributes, locked };
    draw.finish(seed, options, relative)
}

/// So many of the cases have options that need more than being handed on.
const SPECIAL_PERCENT: u64 = 65;

fn words(text: &str) -> Vec<String> {
    shell_words::split(text).expect("the tables are quoted well")
}

/// Options whose effect is in one entry.
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

/// Whether a group is one whose effect is in one entry.
pub fn is_native(group: &[String]) -> bool {
    MORE.iter().any(|text| words(text) == group)
}

/// Letters, and options whose effect is in one entry.
fn base(random: &mut Random, nobody: bool) -> Vec<Vec<String>> {
    const LETTERS: &[&str] =
        &["-rlt", "-r", "-rp", "-rtp", "-rl", "-rlptgoD", "-rltD", "-aA", "-aX", "-aAX", "-aS", "-rlptE", "-rE"];
    let letters = if random.percent(65) { "-a" } else { random.pick(LETTERS) };
    let mut options = vec![vec![letters.to_owned()]];
    let count = [0, 1, 1, 1, 2, 2, 3][random.index(7)];
    for _ in 0..count {
        let group = words(random.pick(MORE));
        let needs_root = ["--chown", "--usermap", "--groupmap"].iter().any(|prefix| group[0].starts_with(prefix));
        // Without -o and -g rsync stores owners that nobody has set.
        let undefined = group[0] == "--fake-super" && !letters.contains('a') && !letters.contains('o');
        let undefined = undefined || group[0] == "--no-o" && options.iter().any(|other| other[0] == "--fake-super");
        let in_vain = needs_root && nobody && !random.percent(10);
        if !options.contains(&group) && !undefined && !in_vain {
            options.push(group);
        }
    }
    options
}

/// Options that multi-sync has to understand. Says whether names are relative (`-R`).
fn add_special(random: &mut Random, options: &mut Vec<Vec<String>>) -> bool {
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
        "--exclude=a -f '!' --exclude=b", "--exclude='!'", "-f ':w- .rules'",
    ];
    #[rustfmt::skip] // A table.
    const OTHER: &[&str] = &[
        "-H", "-H", "-H", "-L", "-k", "--copy-unsafe-links", "-m", "-x", "-xx", "--partial-dir=.pd",
        "--delay-updates", "--remove-source-files", "-R", "-R", "-R", "-R --no-implied-dirs", "-i", "-n", "-n -i",
        "--out-format='%i %n%L'", "--ignore-missing-args", "--bwlimit=100000", "--delete -H", "-HAX",
        "-m --exclude='*.o'", "-i --delete", "--files-from=list", "--files-from=list -r", "--list-only",
        "--remove-source-files -H", "--delay-updates --partial-dir=.pd", "--stop-after=10", "--iconv=utf-8,latin1",
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
    for group in more {
        let group = words(group);
        if !options.contains(&group) {
            options.push(group);
        }
    }
    options.iter().flatten().any(|word| word == "-R")
}

impl Draw {
    fn finish(&mut self, seed: u64, options: Vec<Vec<String>>, relative: bool) -> Case {
        let has = |prefix: &str| options.iter().flatten().any(|word| word.starts_with(prefix));
        self.make_outside();
        let sources = ["s", "t", "u"];
        let mut count = self.random.skewed(10, 150);
        let trees = if self.random.percent(25) { 2 + self.random.index(2) } else { 1 };
        for source in &sources[..trees] {
            let mut top = self.node(source.as_bytes(), Kind::Dir);
            top.mode = self.random.pick(&[0o755, 0o755, 0o700, 0o2775, 0o711]);
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
        if has("--files-from") || has("--exclude-from") || has("--include-from") || has("merge rules") {
            self.option_files(&cwd, &typed);
        }
        let entries = self.world.below(b"s").count() as u64;
        // A launch costs 10 ms of processor time: not too many of them.
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
        }
    }

    fn dir(&mut self, path: &[u8]) {
        self.world.add(Node::new(path, Kind::Dir));
    }

    /// What links and arguments that leave the sources can reach.
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

    /// A node with drawn attributes.
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
            } else if roll == 99 && crate::lab::is_root() {
                node.mode = self.random.pick(&[0, 0, 0o200, 0o300, 0o111]);
            }
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
        if self.random.percent(12) {
            self.random.pick(ODD_NAMES).to_vec()
        } else if self.random.percent(15) {
            format!("n{}", self.random.below(100)).into_bytes()
        } else {
            self.random.pick(NAMES).as_bytes().to_vec()
        }
    }

    /// A free name in a directory, with its path.
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

    /// Adds so many entries somewhere below a directory.
    fn grow(&mut self, top: &[u8], count: u64) {
        let mut dirs: Vec<Vec<u8>> = vec![top.to_vec()];
        dirs.extend(self.world.below(top).filter(|node| node.is_dir()).map(|node| node.path.clone()));
        let dir_percent = self.random.pick(&[10, 25, 25, 40]);
        for _ in 0..count {
            // Some directories become deep, some large.
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
        match self.random.below(100) {
            0..14 => Kind::Symlink(self.target(dir)),
            14..28 => match self.linkable(top) {
                Some(path) => Kind::Link(path),
                None => self.file(),
            },
            28..32 => Kind::Fifo,
            32..33 => Kind::Socket,
            33..35 if !self.nobody && crate::lab::is_root() => Kind::Device { minor: 3 + self.random.below(3) as u32 },
            35..38 => Kind::Sparse { letter: b's', size: 10_000 + self.random.below(300_000) },
            _ => self.file(),
        }
    }

    /// Something that can have one more name: mostly of the same tree.
    fn linkable(&mut self, top: &[u8]) -> Option<Vec<u8>> {
        let anywhere = self.random.percent(10);
        // A destination that shares inodes with its source would change it.
        let is_source = |path: &[u8]| top.starts_with(b"d") && !is_below(path, b"d") && !is_below(path, b"ref");
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

    /// Names that mean something to the options.
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
        ];
        let patterns: &[&str] = &["*.o\n", "a\nb\n", "tmp/\n", "*.c x.o\n", "keep\n"];
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

    /// Takes away symbolic links that, if they are followed, lead to directories they lie in or to other such links.
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

    fn forms(&mut self, tops: &[&str], relative: bool) -> Forms {
        if relative {
            return self.relative_forms();
        }
        if let [only] = tops {
            let absolute = |end: &str| [&[ABSOLUTE, b'/'], only.as_bytes(), end.as_bytes()].concat();
            let (cwd, typed, to) = match self.random.below(100) {
                0..42 => ("", format!("{only}/").into(), "d"),
                42..72 => ("", only.as_bytes().to_vec(), "d/s"),
                72..77 => ("", absolute("/"), "d"),
                77..82 => ("", absolute(""), "d/s"),
                82..88 => (*only, b".".to_vec(), "d"),
                88..90 => (*only, b"./".to_vec(), "d"),
                90..92 => ("", format!("{only}/.").into(), "d"),
                92..94 => (*only, b"../s".to_vec(), "d/s"),
                _ => return self.children(only),
            };
            return Forms {
                cwd: cwd.to_owned(),
                typed: vec![typed],
                copies: vec![(only.as_bytes().to_vec(), to.as_bytes().to_vec())],
            };
        }
        let mut typed: Vec<Vec<u8>> = Vec::new();
        let mut copies = Vec::new();
        let contents = self.random.below(3);
        for top in tops {
            let content = contents == 0 || (contents == 1 && self.random.percent(50));
            let to = if content { b"d".to_vec() } else { join(b"d", top.as_bytes()) };
            copies.push((top.as_bytes().to_vec(), to));
            typed.push(format!("{top}{}", if content { "/" } else { "" }).into());
        }
        if self.random.percent(8) {
            typed.insert(self.random.index(typed.len() + 1), b"missing".to_vec());
        }
        if self.random.percent(15) {
            typed.push(b"out/f".to_vec());
        }
        Forms { cwd: String::new(), typed, copies }
    }

    /// Some of what is in a source, each as an argument.
    fn children(&mut self, top: &str) -> Forms {
        let mut names: Vec<Vec<u8>> = self
            .world
            .below(top.as_bytes())
            .filter(|node| parent(&node.path) == top.as_bytes())
            .map(|node| node.path.clone())
            .collect();
        let most = 1 + self.random.index(5);
        while names.len() > most {
            let at = self.random.index(names.len());
            names.remove(at);
        }
        let copies = names.iter().map(|path| (path.clone(), join(b"d", &path[top.len() + 1..]))).collect();
        // A colon makes a host of it.
        let typed = names.into_iter().map(|path| [b"./", &path[..]].concat()).collect();
        Forms { cwd: String::new(), typed, copies }
    }

    fn relative_forms(&mut self) -> Forms {
        let all: Vec<Vec<u8>> = self.world.below(b"s").map(|node| node.path.clone()).collect();
        let mut typed = Vec::new();
        let mut copies = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let path = match self.random.below(3) {
                0 => b"s".to_vec(),
                _ if all.is_empty() => b"s".to_vec(),
                _ => self.random.pick(&all).clone(),
            };
            // Where the part begins that is sent.
            let slashes: Vec<usize> = (0..path.len()).filter(|&at| path[at] == b'/').collect();
            let mut argument = match (self.random.below(4), slashes.is_empty()) {
                (0, false) => {
                    let at = self.random.pick(&slashes);
                    copies.push((path.clone(), join(b"d", &path[at + 1..])));
                    [&path[..at], b"/./", &path[at + 1..]].concat()
                }
                (1, _) => {
                    copies.push((path.clone(), join(b"d", &path)));
                    [b"./", &path[..]].concat()
                }
                (2, _) => {
                    copies.push((path.clone(), join(b"d", &path)));
                    [&[ABSOLUTE], &b"/./"[..], &path[..]].concat()
                }
                _ => {
                    copies.push((path.clone(), join(b"d", &path)));
                    [b"././", &path[..]].concat()
                }
            };
            if self.world.has_dir(&path) && self.random.percent(30) {
                argument.push(b'/');
            }
            typed.push(argument);
        }
        Forms { cwd: String::new(), typed, copies }
    }

    /// Makes the destination and says how it is typed.
    fn destination(&mut self, cwd: &str, copies: &[(Vec<u8>, Vec<u8>)], mkpath: bool) -> Vec<u8> {
        let up = if cwd.is_empty() { "" } else { "../" };
        let slash = if self.random.percent(50) { "/" } else { "" };
        let existing = match self.random.below(100) {
            0..25 => {
                if (mkpath && self.random.percent(50)) || self.random.percent(2) {
                    return format!("{up}new/deep/d{slash}").into();
                }
                return format!("{up}d{slash}").into();
            }
            25..33 => 0,
            33..85 => 1,
            _ => 2,
        };
        let mut top = self.node(b"d", Kind::Dir);
        top.owner = (0, 0);
        if self.nobody && top.mode & 0o700 != 0o700 && self.random.percent(80) {
            top.mode = 0o755;
        }
        self.world.add(top);
        match existing {
            0 => {}
            1 => {
                let alike = self.random.pick(&[40, 70, 70, 90, 97]);
                for (from, to) in copies {
                    self.copy(from, to, alike);
                }
                let extra = self.random.below(15);
                self.grow(b"d", extra);
            }
            _ => {
                let count = self.random.skewed(5, 60);
                self.grow(b"d", count);
            }
        }
        if self.random.percent(4) {
            return [&[ABSOLUTE], format!("/d{slash}").as_bytes()].concat();
        }
        format!("{up}d{slash}").into()
    }

    /// A copy of a tree that has gone its own way since.
    fn copy(&mut self, from: &[u8], to: &[u8], alike: u64) {
        let mut above = Vec::new();
        for name in parent(to).split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            above = join(&above, name);
            let node = self.node(&above, Kind::Dir);
            self.world.add(node);
        }
        let nodes: Vec<Node> =
            self.world.nodes.iter().filter(|node| node.path == from || is_below(&node.path, from)).cloned().collect();
        for mut node in nodes {
            node.path = [to, &node.path[from.len()..]].concat();
            if let Kind::Link(first) = &node.kind {
                let mapped = if is_below(first, from) { [to, &first[from.len()..]].concat() } else { Vec::new() };
                node.kind = match self.world.get(&mapped) {
                    Some(first) if !matches!(first.kind, Kind::Dir | Kind::Link(_)) && self.random.percent(85) => {
                        Kind::Link(mapped)
                    }
                    _ => self.file(),
                };
            }
            if !self.random.percent(alike) {
                match self.changed(node) {
                    Some(changed) => node = changed,
                    None => continue,
                }
            }
            let (path, was_dir) = (node.path.clone(), node.is_dir());
            if self.world.add(node) && was_dir && self.random.below(100) >= alike.max(90) {
                self.grow(&path, 2);
            }
        }
    }

    /// The node after something happened to it; `None` if it is gone.
    fn changed(&mut self, mut node: Node) -> Option<Node> {
        let dir = parent(&node.path).to_vec();
        match self.random.below(12) {
            0 | 1 => return None,
            2 | 3 => {
                let target = self.target(&dir);
                match &mut node.kind {
                    Kind::File { letter, .. } | Kind::Sparse { letter, .. } => {
                        *letter = (*letter - b'a' + 1) % 26 + b'a'
                    }
                    Kind::Symlink(old) => *old = target,
                    _ => {}
                }
                if self.random.percent(70) {
                    node.mtime = self.time();
                }
            }
            4 => {
                if let Kind::File { size, .. } = &mut node.kind {
                    *size = if self.random.percent(50) { *size / 2 } else { *size + 100 };
                }
            }
            5 | 6 => node.mtime = self.time(),
            7 | 8 => {
                let mtime = node.mtime;
                self.draw_attributes(&mut node);
                node.mtime = mtime;
            }
            9 => {
                if let Kind::File { .. } | Kind::Link(_) = node.kind
                    && let Some(other) = self.linkable(b"d")
                {
                    node.kind = Kind::Link(other);
                }
            }
            _ => {
                // Another type; what would have been in a directory is left out by itself.
                node.kind = match self.random.below(6) {
                    0 | 1 if !node.is_dir() => Kind::Dir,
                    2 => Kind::Symlink(self.target(&dir)),
                    3 => Kind::Fifo,
                    _ => self.file(),
                };
                self.draw_attributes(&mut node);
            }
        }
        Some(node)
    }

    /// Files that options name: rules, and a list of names in the first source.
    fn option_files(&mut self, cwd: &str, typed: &[Vec<u8>]) {
        let rules = self.random.pick(&[
            "*.o\n",
            "- *.o\n+ *.c\n",
            "/a\ntmp/\n",
            "# none\n; none\n\ncache\n",
            "*\n",
            "keep\nf1\n/s/b\n",
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
