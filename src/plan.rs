//! The plan: how a run is done, decided before anything is written.
//!
//! Looks at the machine (sources, a local destination, the installed rsync), refuses early, and decides whether several rsyncs can
//! give exactly the result of one. Where that is not certain, one rsync does it ([`Strategy::Plain`]): slower, never different.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::config::Config;
use crate::endpoint::{Form, Source};
use crate::error::{EXIT_FILE_IO, Error, Result};
use crate::rsync::command::{Invocation, Recipe};
use crate::rsync::exit;
use crate::rsync::filter::Filters;
use crate::rsync::options::{Class, Delete, Meaning, Options, Setting};
use crate::scan::{Root, Scan, Weight};
use crate::supervise::{Stream, Supervisor};

/// `--info=progress2` and `--ignore-missing-args` came with it.
pub const OLDEST_RSYNC: Version = Version(3, 1, 0);
/// Newer ones refuse, in a list of names, a link that an untrusted user put into the place of a directory.
pub const TRUSTS_LISTS: Version = Version(3, 5, 0);
const PROGRAM: &str = "rsync";

/// rsync's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16, pub u16);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Whether several rsyncs can do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// Several rsyncs.
    Parallel,
    /// One rsync, and why.
    Plain(String),
}

/// A source that is scanned, and how its entries are written as arguments: `prefix` and the path below the root's base.
#[derive(Debug, Clone)]
pub struct SourceTree {
    /// What to scan.
    pub root: Root,
    /// `./`, `././` or `/base/./` (rsync(1), `--relative`).
    pub prefix: Vec<u8>,
}

/// A source that is not a directory: a unit without a scan.
#[derive(Debug, Clone)]
pub struct SingleSource {
    /// As in [`SourceTree`].
    pub prefix: Vec<u8>,
    /// Its name.
    pub name: OsString,
    /// Its weight.
    pub weight: Weight,
}

/// Everything that was decided.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Several rsyncs or one.
    pub strategy: Strategy,
    /// Directories among the sources.
    pub trees: Vec<SourceTree>,
    /// Everything else among the sources.
    pub singles: Vec<SingleSource>,
    /// Sources that do not exist, with the reason.
    pub missing: Vec<(OsString, io::ErrorKind)>,
    /// Command lines of the parallel run.
    pub recipe: Recipe,
    /// The one command that a run without multi-sync would be.
    pub plain: Invocation,
    /// Installed rsync.
    pub version: Version,
    /// Threads of the scan.
    pub scan_threads: NonZero<usize>,
    /// See [`Scan::keep_locked_whole`].
    pub keep_locked_whole: bool,
    /// See [`Scan::merge_files`].
    pub merge_files: Vec<OsString>,
    /// See [`Scan::one_file_system`].
    pub one_file_system: u8,
    /// See [`Scan::hard_links`].
    pub hard_links: bool,
    /// What the source does not have is deleted, and when.
    pub deletes: Option<Delete>,
    /// Deletion goes on after an error.
    pub ignore_errors: bool,
    /// rsync prints a line per entry, and each must come once.
    pub prints: bool,
    /// The user asked rsync itself for statistics.
    pub stats: bool,
}

impl Plan {
    /// Decides, or refuses. Starts `rsync --version` and nothing else; writes nothing.
    ///
    /// # Errors
    /// An option that is refused or not supported yet, an rsync that is missing, too old, or does not know an option; no source
    /// exists (exit code 23, as rsync); a local destination that cannot be a directory (3) or has no parent (11).
    pub fn make(config: &Config, supervisor: &Supervisor) -> Result<Plan> {
        let environment = |name: &str| std::env::var_os(name);
        config.options.refuse_unsupported_with(environment)?;
        let options = hand_over(&config.options)?;
        let meaning = options.meaning_with(environment);

        let found = look_at_sources(config)?;
        // The contents form needs `./` arguments: they bring the attributes of the directory itself.
        let first =
            found.present.iter().find(|(source, _)| source.form() == Form::Contents).unwrap_or(&found.present[0]);
        let base = first.0.base(&config.cwd);
        let root_user = rustix::process::geteuid().is_root();
        let keep_locked_whole = !root_user && !meaning.perms;
        let filters = Filters::of(&options.absolute_files(&config.cwd), &config.cwd);
        let verdict =
            config.options.verdicts_with(environment).into_iter().find(|verdict| verdict.class == Class::Plain);
        let reason = verdict
            .map(|verdict| format!("{}: {}", verdict.option, verdict.why))
            .or_else(|| filters.as_ref().err().map(|why| (*why).to_owned()))
            .or_else(|| one_by_options(&meaning, config.processes).map(str::to_owned))
            .or_else(|| one_by_sources(config, &found, &meaning).map(str::to_owned));
        let filters = filters.unwrap_or_default();
        if reason.is_none() && !config.dry_run {
            check_local_destination(config, meaning.mkpath)?;
        }
        let version = probe(&options, &config.cwd, supervisor)?;

        let recipe = Recipe {
            program: PROGRAM.into(),
            progress: config.progress,
            lists: root_user && version >= TRUSTS_LISTS && !rules_in_files(&options),
            unlock: !root_user && meaning.perms,
            base: base.clone(),
            destination: config.destination.as_directory(&config.cwd),
            ..options_of_launches(&options.absolute_files(&config.cwd), &meaning, &filters, config)?
        };
        let typed: Vec<OsString> = config.sources.iter().map(|source| source.original().to_owned()).collect();
        let plain = recipe.plain(config.cwd.clone(), &options.argv(), &typed, config.destination.as_typed(&config.cwd));
        let mut plan = Plan {
            strategy: reason.map_or(Strategy::Parallel, Strategy::Plain),
            trees: Vec::new(),
            singles: Vec::new(),
            missing: found.missing,
            recipe,
            plain,
            version,
            scan_threads: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            keep_locked_whole,
            merge_files: filters.merge_files,
            one_file_system: meaning.one_file_system,
            hard_links: meaning.hard_links,
            deletes: meaning.delete,
            ignore_errors: meaning.ignore_errors,
            prints: meaning.verbose > 0 || meaning.itemize > 0 || meaning.out_format.is_some(),
            stats: config.options.meaning().stats,
        };
        for (source, found) in found.present {
            let own_base = source.base(&config.cwd);
            let prefix = prefix(source.form(), &own_base, &base);
            match (found.is_dir(), source.name()) {
                (false, Some(name)) => {
                    let weight = Weight { entries: 1, bytes: if found.is_file() { found.len() } else { 0 } };
                    plan.singles.push(SingleSource { prefix, name: name.to_owned(), weight });
                }
                (_, name) => {
                    let root = Root { base: own_base, name: name.map(OsStr::to_owned) };
                    plan.trees.push(SourceTree { root, prefix });
                }
            }
        }
        Ok(plan)
    }

    /// The scan of this plan.
    pub fn scan(&self, config: &Config) -> Scan {
        Scan {
            roots: self.trees.iter().map(|tree| tree.root.clone()).collect(),
            limits: config.limits,
            threads: self.scan_threads,
            split_roots: self.trees.len() + self.singles.len() > 1,
            one_file_system: self.one_file_system,
            merge_files: self.merge_files.clone(),
            hard_links: self.hard_links,
            keep_locked_whole: self.keep_locked_whole,
        }
    }
}

/// The options that each rsync gets: without those whose effect multi-sync has for the whole run. `-P` stands for two, of which
/// `--partial` stays.
fn hand_over(options: &Options) -> Result<Options> {
    const HANDLED: [&str; 3] = ["quiet", "stats", "progress"];
    const SILENCED: [&str; 3] = ["verbose", "itemize-changes", "out-format"];
    const PARTIAL_PROGRESS: Option<u8> = Some(b'P');
    let partial = options.settings().iter().any(|setting| setting.spec.short == PARTIAL_PROGRESS);
    let quiet = options.meaning().quiet;
    let handled = |name: &str| HANDLED.contains(&name) || quiet && SILENCED.contains(&name);
    let kept = options.without(|setting| handled(setting.spec.name()) || setting.spec.short == PARTIAL_PROGRESS);
    let mut words = kept.argv();
    words.extend(partial.then(|| "--partial".into()));
    Options::parse(&words)
}

struct Found {
    present: Vec<(Source, fs::Metadata)>,
    missing: Vec<(OsString, io::ErrorKind)>,
}

fn look_at_sources(config: &Config) -> Result<Found> {
    let mut found = Found { present: Vec::new(), missing: Vec::new() };
    let mut first_error = None;
    for source in &config.sources {
        let base = source.base(&config.cwd);
        // A trailing slash follows a link, a bare name does not (rsync(1), USAGE).
        let looked = match source.name() {
            Some(name) => fs::symlink_metadata(base.join(name)),
            None => fs::metadata(&base),
        };
        match looked {
            Ok(metadata) if source.form() == Form::Contents && !metadata.is_dir() => {
                let error = io::ErrorKind::NotADirectory;
                found.missing.push((source.original().to_owned(), error));
                first_error.get_or_insert_with(|| io::Error::from(error));
            }
            Ok(metadata) => found.present.push((source.clone(), metadata)),
            Err(error) => {
                found.missing.push((source.original().to_owned(), error.kind()));
                first_error.get_or_insert(error);
            }
        }
    }
    match (found.present.is_empty(), first_error) {
        (true, Some(cause)) => Err(Error::io("find source", Path::new(config.sources[0].original()), cause)
            .remedy("check the name; nothing was copied")
            .exit(exit::PARTIAL)),
        (true, None) => Err(Error::usage("no source given")),
        (false, _) => Ok(found),
    }
}

/// Combinations that only one rsync does exactly. Each was a difference, or could not be shown to be none, when random trees were
/// compared with one rsync.
fn one_by_options(meaning: &Meaning, processes: NonZero<usize>) -> Option<&'static str> {
    let merges = meaning.per_dir_merge || meaning.cvs_exclude;
    let deletes = meaning.delete.is_some();
    let backup_inside = meaning.backup_dir.as_deref().is_some_and(|dir| !is_outside(Path::new(dir)));
    let rules: [(bool, &str); 7] = [
        (deletes && merges, "rules that files at the destination give protect what is there from deletion"),
        (
            deletes && meaning.one_file_system > 0,
            "with --one-file-system a mount at the destination is protected from deletion",
        ),
        (deletes && meaning.out_format.is_some(), "deletions are printed in a format of the user's"),
        (meaning.hard_links && merges, "hard links may cross directories that must stay whole"),
        (meaning.verbose > 1, "what rsync says of itself would be said many times"),
        (backup_inside, "the backup directory lies inside the destination"),
        (bandwidth_share(meaning, processes).is_err(), "the bandwidth limit is too small to be shared"),
    ];
    rules.into_iter().find(|(applies, _)| *applies).map(|(_, why)| why)
}

/// Whether rules are read from files with a rule per line: `--from0`, which a list of names needs, would misread them.
fn rules_in_files(options: &Options) -> bool {
    let by_line = |setting: &Setting| {
        let name = setting.spec.name();
        ["exclude-from", "include-from", "filter", "F", "cvs-exclude"].contains(&name)
    };
    options.settings().iter().any(by_line)
}

/// Whether a backup directory, which is relative to DEST, certainly lies outside of it. An absolute one might be inside.
fn is_outside(dir: &Path) -> bool {
    dir.components().next() == Some(Component::ParentDir)
}

fn one_by_sources(config: &Config, found: &Found, meaning: &Meaning) -> Option<&'static str> {
    let sources = &found.present;
    let files = sources.iter().filter(|(_, metadata)| !metadata.is_dir()).count();
    if files > 0 && sources.len() == 1 {
        return Some("the source is a single file");
    }
    if files > 0 && meaning.hard_links {
        return Some("a source that is a file may have links in the other sources");
    }
    if !found.missing.is_empty() && meaning.delete.is_some() && !meaning.ignore_errors {
        return Some("a source is missing, which keeps rsync from deleting");
    }
    if meaning.hard_links && !meaning.perms && !rustix::process::geteuid().is_root() {
        return Some("hard links may cross directories that must stay whole");
    }
    if overlapping(config, sources) {
        return Some("several sources bring the same name");
    }
    if config.destination.is_local() {
        let destination = resolve(Path::new(&config.destination.as_typed(&config.cwd)));
        let nested = sources.iter().any(|(source, _)| {
            let mut path = source.base(&config.cwd);
            path.extend(source.name());
            let path = resolve(&path);
            destination.starts_with(&path) || path.starts_with(&destination)
        });
        if nested {
            return Some("source and destination lie inside each other");
        }
    }
    None
}

/// The part of `--bwlimit` that each of so many processes may use, as an option in rsync's unit (KiB per second). `None` without a
/// limit; an error if it cannot be shared.
fn bandwidth_share(meaning: &Meaning, processes: NonZero<usize>) -> std::result::Result<Option<OsString>, ()> {
    let Some(limit) = meaning.bwlimit.as_deref().filter(|limit| *limit != "0") else { return Ok(None) };
    let kib = kib_per_second(limit).ok_or(())?;
    match kib / processes.get() as u64 {
        0 => Err(()),
        share => Ok(Some(format!("--bwlimit={share}").into())),
    }
}

/// rsync(1), `--bwlimit`: KiB unless a suffix says otherwise; `K` and `KiB` are powers of 1024, `KB` of 1000.
fn kib_per_second(limit: &OsStr) -> Option<u64> {
    let text = limit.to_str()?.to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let bytes: u64 = match &text[digits..] {
        "" | "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "b" => 1,
        _ => return None,
    };
    Some(number.checked_mul(bytes)? / 1024)
}

fn options_of_launches(options: &Options, meaning: &Meaning, filters: &Filters, config: &Config) -> Result<Recipe> {
    let shared = bandwidth_share(meaning, config.processes).ok().flatten();
    let mut launch = options.without(|setting| shared.is_some() && setting.spec.name() == "bwlimit").argv();
    launch.extend(shared.clone());
    let deletion = |name: &str| name.starts_with("delete") || name == "ignore-errors";
    let mut keeping = Options::parse(&launch)?.without(|setting| deletion(setting.spec.name())).argv();
    // What is copied still takes the place of something else, as it does with deletion.
    keeping.extend(meaning.delete.is_some().then(|| "--force".into()));
    // "." is a name that the user's rules would match (`--exclude='*'`).
    let include: Vec<OsString> = meaning.has_filter_rules.then(|| "--include=/.".into()).into_iter().collect();
    let quiet = Options::parse(&keeping)?.without(|setting| setting.spec.name().starts_with("log-file")).argv();
    let mut rules = filters.options.clone();
    if rules.is_empty() && meaning.partial_dir.is_some() {
        // It comes from the environment, and counts with --partial only.
        rules.push("--partial".into());
    }
    Ok(Recipe {
        program: PROGRAM.into(),
        spine_options: [&include[..], &launch].concat(),
        attribute_options: [&include[..], &quiet].concat(),
        options: launch,
        options_keeping: keeping,
        rule_options: (!rules.is_empty()).then_some(rules),
        base: PathBuf::new(),
        destination: OsString::new(),
        progress: false,
        lists: false,
        unlock: false,
    })
}

/// Whether a name at the top of the destination comes from more than one source: which of them wins is one rsync's to decide.
fn overlapping(config: &Config, sources: &[(Source, fs::Metadata)]) -> bool {
    let mut names: Vec<&OsStr> = sources.iter().filter_map(|(source, _)| source.name()).collect();
    let contents: Vec<PathBuf> = sources
        .iter()
        .filter(|(source, _)| source.name().is_none())
        .map(|(source, _)| source.base(&config.cwd))
        .collect();
    let many = contents.len() > 1;
    let inside = contents.iter().any(|base| names.iter().any(|name| fs::symlink_metadata(base.join(name)).is_ok()));
    names.sort();
    many || inside || names.windows(2).any(|pair| pair[0] == pair[1])
}

/// The real path, of the deepest part that exists if not all does.
fn resolve(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(mut resolved) = existing.canonicalize() {
            resolved.extend(missing.iter().rev());
            return resolved;
        }
        match (existing.parent(), existing.file_name()) {
            (Some(parent), Some(name)) => {
                missing.push(name);
                existing = parent;
            }
            _ => return path.to_owned(),
        }
    }
}

/// One rsync makes the last level of DEST and no more, and gives these codes before it writes anything.
fn check_local_destination(config: &Config, mkpath: bool) -> Result<()> {
    if !config.destination.is_local() {
        return Ok(());
    }
    let typed = config.destination.as_typed(&config.cwd);
    let path = Path::new(&typed);
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Error::io("use destination", path, io::Error::from(io::ErrorKind::NotADirectory))
            .remedy("name a directory, existing or new")
            .exit(exit::FILE_SELECT)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(parent) if !mkpath && !parent.is_dir() => Err(Error::io("create destination", path, cause)
                .remedy("create its parent directory, or add --mkpath to the rsync options")
                .exit(EXIT_FILE_IO)),
            _ => Ok(()),
        },
        Err(cause) => Err(Error::io("look at destination", path, cause).exit(exit::FILE_SELECT)),
    }
}

fn probe(options: &Options, cwd: &Path, supervisor: &Supervisor) -> Result<Version> {
    let mut arguments = options.argv();
    arguments.push("--version".into());
    let invocation = Invocation { program: PROGRAM.into(), arguments, cwd: cwd.to_owned(), input: Vec::new() };
    let (mut first, mut errors) = (String::new(), Vec::new());
    let ended = supervisor.run(&invocation, &mut |stream, line| {
        let line = String::from_utf8_lossy(line).into_owned();
        match stream {
            Stream::Stdout if first.is_empty() => first = line,
            Stream::Stdout => {}
            Stream::Stderr => errors.push(line),
        }
    })?;
    if ended.code() != exit::OK {
        let said = errors.first().map_or("it said nothing", String::as_str);
        return Err(Error::usage(format!("the installed rsync refuses the options `{}`: {said}", show(options)))
            .remedy("correct --rsync")
            .exit(ended.code()));
    }
    let version = parse_version(&first)
        .ok_or_else(|| Error::usage(format!("cannot tell the version of rsync from its first line '{first}'")))?;
    if version < OLDEST_RSYNC {
        return Err(Error::usage(format!("rsync {version} is too old: {OLDEST_RSYNC} or newer is needed"))
            .remedy("install a newer rsync on this machine"));
    }
    Ok(version)
}

fn show(options: &Options) -> String {
    options.argv().iter().map(|word| crate::rsync::command::Quoted(word).to_string()).collect::<Vec<_>>().join(" ")
}

/// `rsync  version 3.2.7  protocol version 31`; development versions have a `v` and a suffix.
fn parse_version(line: &str) -> Option<Version> {
    let word = line.split("version").nth(1)?.split_whitespace().next()?.trim_start_matches('v');
    let mut numbers = word.split(['.', '-', '+', 'd', 'p']).map_while(|part| part.parse().ok());
    Some(Version(numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)))
}

fn prefix(form: Form, own_base: &Path, base: &Path) -> Vec<u8> {
    match (form, own_base == base) {
        (Form::Contents, true) => b"./".to_vec(),
        // The part before `/./` is not sent (rsync(1), --relative), and unlike `./` it brings no attributes of the parent.
        (Form::Named, true) => b"././".to_vec(),
        (_, false) => {
            let mut prefix = own_base.as_os_str().as_bytes().to_vec();
            while prefix.ends_with(b"/") {
                prefix.pop();
            }
            prefix.extend_from_slice(b"/./");
            prefix
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_kind_of_first_line() {
        for (line, expected) in [
            ("rsync  version 3.5.0  protocol version 32", Some(Version(3, 5, 0))),
            ("rsync  version v3.2.3  protocol version 31", Some(Version(3, 2, 3))),
            ("rsync  version 3.1.3dev  protocol version 31", Some(Version(3, 1, 3))),
            ("rsync  version 3.4.0pre1  protocol version 32", Some(Version(3, 4, 0))),
            ("openrsync: protocol version 29", None),
        ] {
            assert_eq!(parse_version(line), expected, "{line}");
        }
        assert!(Version(3, 0, 9) < OLDEST_RSYNC && OLDEST_RSYNC < Version(3, 1, 3));
    }

    #[test]
    fn a_bandwidth_limit_is_read_as_rsync_reads_it() {
        for (text, kib) in [
            ("100", Some(100)),
            ("2m", Some(2048)),
            ("1GiB", Some(1 << 20)),
            ("1mb", Some(976)),
            ("2048b", Some(2)),
            ("1.5m", None),
        ] {
            assert_eq!(kib_per_second(OsStr::new(text)), kib, "{text}");
        }
    }

    #[test]
    fn a_prefix_keeps_the_base_out_of_what_is_sent() {
        let (base, other) = (Path::new("/s"), Path::new("/t"));
        assert_eq!(prefix(Form::Contents, base, base), b"./");
        assert_eq!(prefix(Form::Named, base, base), b"././");
        assert_eq!(prefix(Form::Named, other, base), b"/t/./");
        assert_eq!(prefix(Form::Named, Path::new("/"), base), b"/./");
    }

    #[test]
    fn a_path_resolves_as_far_as_it_exists() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::os::unix::fs::symlink(&real, real.join("link")).unwrap();
        assert_eq!(resolve(&real.join("link/x/y")), real.join("x/y"));
    }
}
