//! Cases that once differed, made as small as possible. Each must stay identical.

use super::case::Case;
use super::place::Place;
use super::world::{Kind, Node, OLD, World};

/// Builds a world and a case, so that a case fits into a few lines.
pub struct Builder(Case);

/// A case that runs as root with one entry in a bucket; `at` is the working directory.
pub fn case(options: &str, at: &str, sources: &[&str], destination: &str) -> Builder {
    let words = shell_words::split(options).expect("the options are quoted well");
    Builder(Case {
        seed: 0,
        world: World::default(),
        options: words.into_iter().map(|word| vec![word]).collect(),
        cwd: at.to_owned(),
        sources: sources.iter().map(|source| source.as_bytes().to_vec()).collect(),
        destination: destination.as_bytes().to_vec(),
        files: 1,
        bytes: None,
        processes: 1,
        nobody: false,
        umask: 0o022,
        stdin: None,
        place: Place::Here,
    })
}

impl Builder {
    fn add(mut self, path: &str, kind: Kind) -> Builder {
        let mut node = Node::new(path, kind);
        // All times are different.
        node.mtime.0 = OLD + self.0.world.nodes.len() as i64;
        assert!(self.0.world.add(node), "{path} has no place");
        self
    }

    fn last(&mut self) -> &mut Node {
        self.0.world.nodes.last_mut().expect("there is a node")
    }

    pub fn dirs(self, paths: &[&str]) -> Builder {
        paths.iter().fold(self, |builder, path| builder.add(path, Kind::Dir))
    }

    pub fn files(self, paths: &[&str]) -> Builder {
        paths.iter().fold(self, |builder, path| builder.add(path, Kind::File { letter: b'x', size: 100 }))
    }

    pub fn text(self, path: &str, text: &str) -> Builder {
        self.add(path, Kind::Text(text.to_owned()))
    }

    /// Sets the mode of the node that was added last.
    pub fn mode(mut self, mode: u32) -> Builder {
        self.last().mode = mode;
        self
    }

    /// Sets another content for the node that was added last.
    pub fn size(mut self, size: u64) -> Builder {
        self.last().kind = Kind::File { letter: b'y', size };
        self
    }

    fn symlink(self, path: &str, target: &str) -> Builder {
        self.add(path, Kind::Symlink(target.into()))
    }

    /// Adds the same tree again under another name.
    fn like(mut self, top: &str, model: &str) -> Builder {
        let nodes = self.0.world.nodes.clone();
        for mut node in nodes.into_iter().filter(|node| node.path.starts_with(model.as_bytes())) {
            node.path = [top.as_bytes(), &node.path[model.len()..]].concat();
            self.0.world.add(node);
        }
        self
    }

    pub fn finish(self) -> Case {
        self.0
    }

    pub fn nobody(mut self) -> Builder {
        self.0.nobody = true;
        self
    }
}

/// All cases, each with what was wrong.
pub fn all() -> Vec<(&'static str, Case)> {
    let all = [
        (
            "a run that only one rsync can do never ended",
            case("-a", "", &["s/", "t/"], "d/").dirs(&["s", "t"]).files(&["s/b", "s/c"]),
        ),
        (
            "an unreadable directory that a rule excludes was an error",
            case("-a -FF", "", &["s"], "d/")
                .dirs(&["s", "s/a", "s/a/b", "s/a/c", "s/a/c/d"])
                .mode(0o111)
                .text("s/a/.rsync-filter", "- *\n")
                .files(&["s/f", "s/g"])
                .nobody(),
        ),
        (
            "names from other sources were looked for below the first",
            case("-a", "", &["t/", "u"], "d/")
                .dirs(&["t"])
                .mode(0o2775)
                .dirs(&["u", "u/h", "u/h/c"])
                .files(&["u/h/c/f", "u/h/c/g", "t/f"]),
        ),
        (
            "an error of the receiver stopped deletions that one rsync makes",
            case("-r --existing --ignore-existing --delete-after", "s", &["."], "../d/")
                .dirs(&["s", "s/b", "s/b/w.c", "s/c"])
                .files(&["s/b/w.c/n34", "s/c/f"])
                .dirs(&["d", "d/a:b", "d/b"])
                .files(&["d/b/w.c"]),
        ),
        (
            "a directory that could not make way for a file stopped deletions",
            case("-a -b --suffix=.bak --delete-excluded", "", &["s"], "d/")
                .dirs(&["s"])
                .files(&["s/m255", "s/f3"])
                .dirs(&["d", "d/s"])
                .files(&["d/s/n65"])
                .dirs(&["d/s/m255"])
                .files(&["d/s/m255/n72"]),
        ),
        (
            "implied directories kept the time of the copy",
            case("-a -R", "", &["s/./CVS/m186/"], "d/").dirs(&["s", "s/CVS", "s/CVS/m186"]),
        ),
        (
            "DEST got the attributes of the working directory",
            case("-a -R", "", &["././s"], "d/")
                .dirs(&["s", "s/f", "s/b", "s/b/n87"])
                .files(&["s/b/n87/x", "s/f/y"])
                .dirs(&["d"])
                .mode(0o711),
        ),
        (
            "options that contradict each other ended with another code",
            case("-a --inplace --partial-dir=.pd", "", &["s"], "d/")
                .dirs(&["s", "s/n70"])
                .files(&["s/n70/a", "s/n70/b"]),
        ),
        (
            "--fuzzy took the mode of what another bucket had brought",
            case("-r -y", "", &["s"], "d/")
                .dirs(&["s", "s/w.c"])
                .files(&["s/w.c/f2"])
                .size(5)
                .files(&["s/w.c/back", "s/w.c/f3"])
                .mode(0o2755),
        ),
        (
            "the directory that was created was named in another way",
            case("-a -i", "", &["s/"], "d").dirs(&["s", "s/cache"]).files(&["s/cache/f", "s/g"]),
        ),
        (
            "a source that is a single file was deleted again",
            case("-a --delete", "", &["s/", "t", "out/f"], "d/")
                .dirs(&["out", "s", "t"])
                .files(&["out/f", "t/g", "t/h"]),
        ),
        (
            "--fuzzy with --append-verify lost a file",
            case("-a -y --append-verify", "", &["s/"], "d/")
                .dirs(&["s"])
                .files(&["s/n25"])
                .size(0)
                .files(&["s/*"])
                .size(1),
        ),
        (
            "an error that one rsync reports was forgotten after another try",
            case("-a --link-dest=../ref", "", &["s/"], "d/")
                .dirs(&["s", "s/a"])
                .files(&["s/a/f", "s/a/g"])
                .like("ref", "s")
                .mode(0)
                .nobody(),
        ),
        (
            "DEST was made although nothing may be made",
            case("-a --existing '--include=a/***' '--exclude=*'", "", &["s/"], "d")
                .dirs(&["s", "s/b"])
                .files(&["s/f3", "s/b/g"]),
        ),
        (
            "backups were deleted again",
            case("-a -b --delete --delete-excluded", "s", &["../s"], "../d/")
                .dirs(&["s"])
                .files(&["s/f"])
                .files(&["s/g"])
                .dirs(&["d", "d/s"])
                .files(&["d/s/f"])
                .size(3),
        ),
        (
            "DEST kept the time of the copy where a source was left whole",
            case("-a -C", "", &["t/", "out/f"], "d/")
                .dirs(&["out", "t"])
                .files(&["out/f"])
                .text("t/.cvsignore", "keep\n"),
        ),
        (
            "an entry that stays with another type was not deleted",
            case("-a --delete --existing --ignore-existing", "s", &["."], "../d/")
                .dirs(&["s", "s/x", "s/x/y", "d"])
                .files(&["s/f"])
                .symlink("d/x", "."),
        ),
        (
            "DEST was made although its files are excluded",
            case("-a --exclude=*", "", &["s/a", "s/b"], "d").dirs(&["s"]).files(&["s/a", "s/b"]),
        ),
        (
            "names that were removed from the source were deleted in DEST",
            case("-r --del --remove-source-files", "", &["s/"], "d/")
                .dirs(&["s", "s/a"])
                .files(&["s/a/f", "s/a/g", "s/h"]),
        ),
        (
            "DEST was named in another way with --mkpath",
            case("-a --mkpath -i", "", &["s"], "d/e").dirs(&["s", "s/a"]).files(&["s/f", "s/a/f", "s/a/g"]),
        ),
        (
            "sizes in a list had no commas",
            case("-a --list-only --out-format=%n", "s", &["."], "../d/").dirs(&["s"]).files(&["s/f"]).size(123_456),
        ),
        (
            "options that rsync refuses were judged after DEST",
            case("-a --inplace --delay-updates", "", &["s/"], "no/d/").dirs(&["s", "s/a"]).files(&["s/f", "s/a/f"]),
        ),
        (
            "a file in a directory with the name of the partial directory was removed",
            case("-a --partial-dir=p '--include=*/' --include=a '--exclude=*'", "", &["s/"], "d/")
                .dirs(&["s", "s/p"])
                .files(&["s/a", "s/p/a"])
                .dirs(&["s/q", "s/q/p"])
                .files(&["s/q/a", "s/q/p/a"]),
        ),
        (
            "what --max-delete keeps was looked into in a dry run",
            case("-rlpt -n --delete --max-delete=0", "", &["s/"], "d/")
                .dirs(&["s", "s/c", "s/c/e", "d"])
                .files(&["s/c/f", "s/c/e/f"])
                .symlink("d/c", "c"),
        ),
        (
            "in a dry run deletion looked into a file in the place of a directory",
            case("-a -n --delete-delay", "", &["s/"], "d/")
                .dirs(&["s", "s/a", "s/a/b", "d", "d/a"])
                .files(&["s/f", "d/a/b"]),
        ),
    ];
    all.into_iter().map(|(name, builder)| (name, builder.finish())).collect()
}
