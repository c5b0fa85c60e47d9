//! The harm that an rsync would do which is started again after one that broke off.

use super::options::{Meaning, Opt, Options};

/// The harm that a second rsync would do after one that broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It would skip a half-written file, because that looks newer, exists, or has the right size.
    SkipsHalves,
    /// It would make a backup again, of what the first one has copied, and overwrite the backup of what was there before.
    OverwritesBackups,
}

impl Harm {
    /// The harm with these options, if there is any.
    pub fn of(options: &Options, meaning: &Meaning) -> Option<Harm> {
        // `-P` is `--partial --progress`.
        let partial = options.has(Opt::Partial) || options.has(Opt::P);
        let in_place = meaning.inplace || meaning.append || partial || options.has(Opt::WriteDevices);
        let passes_over = options.has(Opt::Update) || options.has(Opt::SizeOnly) || meaning.ignore_existing;
        let by_time = !options.has(Opt::Checksum) && !options.has(Opt::SizeOnly);
        let copies_again = options.has(Opt::IgnoreTimes) || !meaning.times && by_time;
        match meaning.dry_run {
            true => None,
            false if in_place && passes_over => Some(Harm::SkipsHalves),
            false if meaning.backup && (in_place || copies_again) => Some(Harm::OverwritesBackups),
            false => None,
        }
    }

    /// What the next rsync would do. It prints as the end of a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Harm::SkipsHalves => "would skip a half-written file",
            Harm::OverwritesBackups => "would overwrite backups with what was copied already",
        }
    }

    /// What the user can do before everything is copied again.
    pub fn remedy(self) -> &'static str {
        match self {
            Harm::SkipsHalves => "the same command, once without --update, --ignore-existing and --size-only",
            Harm::OverwritesBackups => "move the backups to another place, then the same command",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_second_rsync_would_spoil() {
        let (halves, backups) = (Some(Harm::SkipsHalves), Some(Harm::OverwritesBackups));
        for (text, harm) in [
            ("-a", None),
            ("-ab", None),
            ("-a --inplace", None),
            ("-a --inplace -u", halves),
            ("-aP --ignore-existing", halves),
            ("-a --partial --size-only", halves),
            ("-abI", backups),
            ("-rlb", backups),
            ("-rlbc", None),
            ("-rlb --size-only", None),
            ("-ab --inplace", backups),
            ("-abP", backups),
            ("-ab --partial-dir=p", None),
            ("-abIn", None),
            ("-aI", None),
        ] {
            let options = Options::parse_str(text.as_ref()).unwrap();
            assert_eq!(Harm::of(&options, &options.meaning()), harm, "{text}");
        }
    }
}
