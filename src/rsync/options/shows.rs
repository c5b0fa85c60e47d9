//! How much rsync prints about a transfer as a whole: the levels of `--info` that `-v`, `--stats` and `--progress` imply (rsync(1), `--info`; rsync 3.5.0,
//! options.c). A flag in `--info` overrides them, wherever it is on the command line.

use super::{Opt, Options, info};

/// What rsync prints on standard output besides lines about entries, if not silenced by `--quiet`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shows {
    /// FLIST: at the beginning, a line about the file list.
    pub list: u32,
    /// NAME: entries that are changed.
    pub names: u32,
    /// PROGRESS: 1 for each file, 2 for the whole transfer.
    pub progress: u32,
    /// STATS: 1 is the pair of lines about bytes and speedup, 2 also the block of figures before it.
    pub stats: u32,
    /// How numbers are written: 0 plain digits, 1 with separators, 2 in units of 1000, more in units of 1024.
    pub human: u8,
}

impl Options {
    /// See [`Shows`].
    pub fn shows(&self) -> Shows {
        let meaning = self.meaning();
        let verbose = u32::from(meaning.verbose > 0);
        let mut shows = Shows {
            list: verbose,
            names: verbose,
            stats: if self.has(Opt::Stats) { 2 + u32::from(meaning.verbose > 1) } else { verbose },
            progress: 0,
            human: meaning.human_readable,
        };
        if self.has_progress_option() {
            shows = Shows { list: 2, names: shows.names.max(1), progress: 1, ..shows };
        }
        let words = self.settings().iter().filter(|setting| setting.spec.id == Opt::Info);
        for (word, level) in words.flat_map(|setting| setting.value.as_deref().into_iter().flat_map(info::words)) {
            match word.as_slice() {
                b"flist" => shows.list = level,
                b"name" => shows.names = level,
                b"progress" => shows.progress = level,
                b"stats" => shows.stats = level,
                b"all" => shows = Shows { list: level, names: level, progress: level, stats: level, ..shows },
                b"none" => shows = Shows { human: shows.human, ..Shows::default() },
                _ => {}
            }
        }
        shows
    }

    /// Whether `--progress` or `-P` was given, and not cancelled by `--no-progress`.
    fn has_progress_option(&self) -> bool {
        let last = self.settings().iter().rfind(|setting| matches!(setting.spec.id, Opt::Progress | Opt::P));
        last.is_some_and(|setting| !setting.negated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_outweigh_options() {
        let shows = |text: &str| {
            let Shows { list, names, progress, stats, .. } = Options::parse_str(text.as_ref()).unwrap().shows();
            [list, names, progress, stats]
        };
        for (text, levels) in [
            ("-a", [0, 0, 0, 0]),
            ("-av", [1, 1, 0, 1]),
            ("-av --no-v", [0, 0, 0, 0]),
            ("-a --stats", [0, 0, 0, 2]),
            ("-avv --stats", [1, 1, 0, 3]),
            ("-aP", [2, 1, 1, 0]),
            ("-a --progress --no-progress", [0, 0, 0, 0]),
            ("-a --info=progress2", [0, 0, 2, 0]),
            ("-a --info=progress2 -v", [1, 1, 2, 1]),
            ("-a --info=stats1,name0 -P --stats", [2, 0, 1, 1]),
            ("-av --info=none,stats2", [0, 0, 0, 2]),
        ] {
            assert_eq!(shows(text), levels, "{text}");
        }
    }
}
