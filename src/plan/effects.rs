//! What the user's options mean for launches: how they are started, how their output is read, and whether they may be repeated.

use std::time::Duration;

use crate::config::Config;
use crate::endpoint::Target;
use crate::rsync::options::{Delete, Meaning, Opt, Options, Stop, Superuser};
use crate::scan::Follow;

/// Which attributes of a directory rsync sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeps {
    /// Its mode.
    pub mode: bool,
    /// Its owner.
    pub owner: bool,
    /// Its group.
    pub group: bool,
    /// Its time.
    pub time: bool,
}

impl Keeps {
    /// `None` if options set more than the plain attributes, or print a line for each directory.
    pub(super) fn of(config: &Config, options: &Options, meaning: &Meaning) -> Option<Keeps> {
        const MORE: [Opt; 12] = [
            Opt::Chmod,
            Opt::Chown,
            Opt::Usermap,
            Opt::Groupmap,
            Opt::FakeSuper,
            Opt::CopyAs,
            Opt::Acls,
            Opt::Xattrs,
            Opt::Atimes,
            Opt::Crtimes,
            Opt::Super,
            Opt::Relative,
        ];
        let more = options.mentions(&MORE);
        let here = config.destination.is_local() && config.hosts.is_empty() && !meaning.dry_run;
        let silent =
            options.shows().names == 0 && meaning.verbose == 0 && meaning.itemize == 0 && meaning.out_format.is_none();
        (here && silent && !more && meaning.log_file.is_none()).then_some(Keeps {
            mode: meaning.perms,
            owner: meaning.owner,
            group: meaning.group,
            time: meaning.sets_dir_times(),
        })
    }
}

/// Whether an rsync of root gives each entry its mode, owner and group.
pub(super) fn sets_all(meaning: &Meaning) -> bool {
    matches!(meaning.superuser, Superuser::Auto | Superuser::Yes) && meaning.perms && meaning.owner && meaning.group
}

/// Whether rsync gives a directory its modification time, and no other time. With `--modify-window`, it leaves a time that differs only a little.
pub(super) fn sets_times_back(options: &Options, meaning: &Meaning) -> bool {
    // What only the receiving rsync gets may be anything.
    const OTHERWISE: [Opt; 4] = [Opt::Atimes, Opt::Crtimes, Opt::ModifyWindow, Opt::RemoteOption];
    meaning.sets_dir_times() && !options.mentions(&OTHERWISE) && !meaning.dry_run
}

pub(super) fn is_repeatable(options: &Options, meaning: &Meaning) -> bool {
    const TWICE: [Opt; 7] = [
        Opt::IgnoreTimes,
        Opt::Backup,
        Opt::ItemizeChanges,
        Opt::Verbose,
        Opt::OutFormat,
        Opt::LogFile,
        Opt::RemoveSourceFiles,
    ];
    let reads = options.has(Opt::Atimes) && !options.has(Opt::OpenNoatime);
    let typed = options.mentions(&TWICE) || options.shows().names > 0 || reads;
    // Without times, rsync would copy everything again.
    meaning.times && !meaning.dry_run && !typed
}

/// Which links are followed. With options that follow only unsafe links, the scan follows none: rsync decides, and each link is a unit by itself.
pub(super) fn follow(meaning: &Meaning) -> Follow {
    match (meaning.copy_links, meaning.copy_dirlinks) {
        (true, _) => Follow::All,
        (false, true) => Follow::Directories,
        (false, false) => Follow::Nothing,
    }
}

/// Whether rsync reads all directories before it sends the first one, because the receiver has to know them before it begins (rsync 3.5.0, compat.c,
/// `set_allow_inc_recurse`).
pub(super) fn lists_first(options: &Options, meaning: &Meaning) -> bool {
    let all_first = matches!(meaning.delete, Some(Delete::Before | Delete::After));
    let mut settings = options.settings().iter();
    let off = settings.rfind(|setting| setting.spec.id == Opt::IncRecursive).is_some_and(|setting| setting.negated);
    all_first || off || meaning.delay_updates || meaning.prune_empty_dirs
}

/// Minutes, read as rsync does. If they cannot be read, rsync refuses them before anything is copied.
pub(super) fn stop_after(meaning: &Meaning) -> Option<Duration> {
    let Some(Stop::After(minutes)) = &meaning.stop else { return None };
    let text = minutes.to_str()?.trim_start();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some(Duration::from_secs(text[..digits].parse::<u64>().ok()?.checked_mul(60)?))
}

/// Whether launches may be started ahead. With a timeout, an rsync that waits would look like one that hangs.
pub(super) fn goes_ahead(config: &Config, options: &Options, meaning: &Meaning) -> bool {
    let times_out = || options.mentions(&[Opt::Timeout]);
    // A launch that waits would also hold a share of the bandwidth.
    let is_limited = config.stall.is_some() || times_out() || meaning.bwlimit.is_some();
    !config.stays_here() && config.hosts.is_empty() && !meaning.dry_run && !is_limited
}

/// Whether launches are asked to report when they have done everything. Not if that has no use, nor if the report would appear among the output that the user
/// sees.
pub(super) fn tells_end(config: &Config, options: &Options, meaning: &Meaning) -> bool {
    const SHOWN: [Opt; 8] = [
        Opt::Debug,
        Opt::Info,
        Opt::LogFile,
        Opt::LogFileFormat,
        Opt::Msgs2stderr,
        Opt::Outbuf,
        Opt::Progress,
        Opt::Stderr,
    ];
    let shown = options.mentions(&SHOWN);
    // A daemon is no child process for whose end rsync would wait.
    let waits = !matches!(config.far_end(), Target::Daemon { .. });
    waits && config.hosts.is_empty() && !meaning.dry_run && !meaning.quiet && !shown
}
