//! The command lines of a run: a method for each kind of launch.
//!
//! The need for each unusual option was found by comparing with a single rsync over random trees; `tests/it/one_rsync.rs` repeats the comparison. See
//! rsync(1) for the terms: `-R` with `--no-implied-dirs` lets a launch write below a directory without changing the attributes of the directory itself; `-d
//! --no-r` lists a directory without entering it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::handle::Handles;
use crate::rsync::filter;
use crate::rsync::output::CHANGE;
use crate::supervise::Invocation;

use super::far_source::FarSource;
use super::invocation::{argument_cost, argument_limit};

/// What all launches of a run have in common. Command lines are data, made by the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The rsync to start.
    pub program: OsString,
    /// Options of launches that copy or delete: the user's, with local file names made absolute, and without the options that remove source files.
    pub options: Vec<OsString>,
    /// Options of launches that delete nothing, except entries that are in the way of a copy.
    pub options_keeping: Vec<OsString>,
    /// Additional options of a launch that retries entries for which access was denied.
    pub repair_options: Vec<OsString>,
    /// Options of launches that create spine directories.
    pub spine_options: Vec<OsString>,
    /// Options of launches that set the attributes of spine directories. They are quiet, because their messages were printed before.
    pub attribute_options: Vec<OsString>,
    /// Options of the launch that asks which directories the user's rules exclude; `None` if there are no rules.
    pub rule_options: Option<Vec<OsString>>,
    /// The directory to which `./name` arguments are relative.
    pub base: PathBuf,
    /// Sources that are held open.
    pub handles: Handles,
    /// How the sources are named, if they are on another machine.
    pub far: Option<FarSource>,
    /// The working directory of launches whose source is held open: that of the user.
    pub cwd: PathBuf,
    /// DEST as a directory (with a trailing slash).
    pub destination: OsString,
    /// Whether rsync is asked for progress. It then prints a line per file, so it is only asked if somebody looks at the progress.
    pub progress: bool,
    /// Whether rsync prints [`CHANGE`] for each entry that it changes. This is needed if multi-sync cannot see otherwise whether something was written.
    pub marks_changes: bool,
    /// Whether launches that copy report when they have done everything: before it ends, rsync sleeps for 20 to 40 ms until it checks whether its own
    /// processes are gone (3.5.0, `wait_process_with_flush`).
    pub tells_end: bool,
    /// Whether launches below directories that another user could swap get their names as a list: then rsync 3.5 and newer refuse to follow a link that an
    /// untrusted user has put in the place of a directory. With arguments they do not (experiment).
    pub lists: bool,
    /// Whether the receiving rsync may be an older one, which writes through a link that is in the place of a directory at the destination. Then launches
    /// below directories that another user could swap transfer these directories too.
    pub old_receiver: bool,
    /// Whether the user's rules come from files with one rule per line: then lists have one name per line too (rsync(1), `--from0`).
    pub line_lists: bool,
    /// What happens to source files that were copied.
    pub removal: Removal,
    /// Whether rsync only prints what it would do.
    pub dry_run: bool,
    /// False under the user's own `--relative --no-implied-dirs`.
    pub implied_dirs: bool,
    /// Whether spine directories are created with `u+rwx`, which [`Recipe::attributes`] corrects later: for a user other than root, with `--perms`.
    pub unlock: bool,
}

/// What happens to source files that were copied (`--remove-source-files`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// They stay.
    None,
    /// The launch that copies them removes them.
    AtOnce,
    /// Inside subtrees, the launch that copies them removes them. Single names are removed last, because their removal changes the times of spine
    /// directories, and these times are still to be copied.
    SinglesLast,
}

/// How a launch copies its units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copying {
    /// rsync may write into destination directories that lack `u+w`, which is only safe while no other launch runs.
    pub repair: bool,
    /// Nothing is deleted.
    pub keep: bool,
    /// Another user could put something else in the place of a directory above the units.
    pub exposed: bool,
    /// rsync reads the whole list of its units before it starts.
    pub whole_list: bool,
    /// The units are passed as a list, even if they would fit as arguments.
    pub listed: bool,
    /// It is already known that something was changed, so [`Recipe::marks_changes`] is not needed. It costs rsync a system call for each change.
    pub unmarked: bool,
    /// The units are single names that [`Removal::SinglesLast`] treats separately.
    pub singles: bool,
    /// Another rsync may have begun to copy the units. A name that it has moved ([`Removal::AtOnce`]) is missing in the source.
    pub again: bool,
}

/// Printed before each name by [`Recipe::judge`], because rsync escapes a carriage return in a name except at the beginning of a line, where it prints it
/// unchanged (log.c, `rwrite`).
pub const JUDGED: &str = "copied ";

/// A name that no tree has: with `--ignore-missing-args` it makes rsync send "." and nothing else.
pub const NO_NAME: &str = ".multi-sync-none";
const REMOVE: &str = "--remove-source-files";
/// Only the local rsync gets this option: rsync does not pass it on to the remote one.
const TELLS_END: &str = "--debug=exit2";
const LISTED_ONCE: [&str; 4] = ["--no-r", "-d", "-R", "--no-m"];

/// How the lines of `Recipe::look` begin.
const LOOKED_AT: &str = "multi-sync-look:";

/// What rsync would do with an entry that was already copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookedAt {
    /// Create it, because it does not exist.
    Missing,
    /// Copy it, because its content seems to differ.
    Differs,
}

/// Reads a line that a launch of `Recipe::look` has printed; `None` if it reports neither.
///
/// ```
/// use multi_sync::harness::rsync::command::{LookedAt, looked_at};
/// assert_eq!(looked_at(b"multi-sync-look:cd+++++++++"), Some(LookedAt::Missing));
/// assert_eq!(looked_at(b"multi-sync-look:>f.st......"), Some(LookedAt::Differs));
/// assert_eq!(looked_at(b"multi-sync-look:.d..t......"), None);
/// ```
pub fn looked_at(line: &[u8]) -> Option<LookedAt> {
    let what = line.strip_prefix(LOOKED_AT.as_bytes())?;
    match what {
        [b'<' | b'>' | b'c' | b'h', _, b'+', ..] => Some(LookedAt::Missing),
        [b'<' | b'>', _, _, ..] => Some(LookedAt::Differs),
        _ => None,
    }
}

impl Recipe {
    /// Creates spine directories at the destination, with rsync's own attributes, and DEST itself. `spine` contains arguments without a trailing slash. If
    /// `dest` is given, DEST is created even if there are no spine directories: the prefix `./` gives DEST the attributes of the directory in which rsync
    /// starts, as a source with a trailing slash does; with any other prefix, rsync chooses them. An entry that is no longer a directory is skipped with a
    /// message, because as a link at the destination it would lead the launches below it astray.
    pub fn create(&self, dest: Option<&[u8]>, spine: Vec<OsString>, exposed: bool) -> Invocation {
        let mut more = self.listed_once();
        more.extend(words(&["--no-l", "--no-D", "--info=nonreg"]));
        more.extend(self.figures_and_changes());
        if self.unlock {
            more.push("--chmod=Du+rwx".into());
        }
        self.spine(&self.spine_options, more, dest, spine, exposed && self.lists)
    }

    /// Asks what rsync would do with these units themselves, but not with their contents; [`looked_at`] reads the answer.
    pub fn look(&self, units: Vec<OsString>) -> Invocation {
        let mut more = self.listed_once();
        more.extend(words(&["-n", "--ignore-missing-args"]));
        more.push(format!("--out-format={LOOKED_AT}%i").into());
        let list = self.list_if(false, &units);
        self.invocation(&self.options_keeping, more, units, list)
    }

    /// Sets the attributes of spine directories after everything below them was written; arguments as for [`Recipe::create`]. It is quiet, because its
    /// messages were already printed when the directories were created. `listed` as in [`Copying`].
    pub fn attributes(&self, dest: Option<&[u8]>, spine: Vec<OsString>, exposed: bool, listed: bool) -> Invocation {
        let mut more = self.listed_once();
        if listed {
            // The figures show whether rsync got its names.
            more.push("--info=nonreg0".into());
            more.extend(self.figures());
        } else {
            more.push("-q".into());
        }
        self.spine(&self.attribute_options, more, dest, spine, listed || exposed && self.lists)
    }

    fn spine(
        &self,
        options: &[OsString],
        mut more: Vec<OsString>,
        dest: Option<&[u8]>,
        mut arguments: Vec<OsString>,
        listed: bool,
    ) -> Invocation {
        if let Some(prefix) = dest {
            more.push("--ignore-missing-args".into());
            arguments.push(OsString::from_vec([prefix, NO_NAME.as_bytes()].concat()));
        }
        let list = self.list_if(listed, &arguments);
        self.invocation(options, more, arguments, list)
    }

    /// Deletes entries of spine directories that exist at the destination but not in the source, one level deep, and sets the attributes of the directories.
    /// If `dest` is given, DEST itself is one of them, and `others` are names in it that stay. `blocked` as for [`Recipe::clean`], a list as for
    /// [`Recipe::buckets`]. This is only safe after all launches that copy.
    pub fn delete(
        &self,
        dest: bool,
        mut spine: Vec<OsString>,
        others: Vec<OsString>,
        blocked: &BTreeSet<Vec<u8>>,
        exposed: bool,
        room: usize,
    ) -> Invocation {
        let mut more = self.listed_once();
        more.extend(words(&["--existing", "--ignore-existing"]));
        if self.removal != Removal::None {
            // The times of directories from which sources were removed have changed meanwhile.
            more.push("-O".into());
        }
        more.extend(self.figures_and_changes());
        // With a trailing slash rsync lists the contents of a directory that it does not recurse into.
        spine.iter_mut().for_each(|argument| argument.push("/"));
        if dest {
            spine.insert(0, "./".into());
        }
        spine.extend(others);
        let list = self.list_if(exposed && self.lists || !fits(&spine, room), &spine);
        self.invocation(&self.leaving(blocked), more, spine, list)
    }

    /// Copies units. If they do not fit into `room` bytes of arguments, they are passed as a list.
    pub fn buckets(&self, units: Vec<OsString>, how: Copying, room: usize) -> Invocation {
        let list = self.list_if(how.listed || how.exposed && self.lists || !fits(&units, room), &units);
        let options = if how.keep { &self.options_keeping } else { &self.options };
        let repair: &[OsString] = if how.repair { &self.repair_options } else { &[] };
        let mut more = Vec::new();
        let brings_dirs = list != List::No && self.may_bring_dirs(how);
        if !how.repair && !self.dry_run && !brings_dirs {
            more.push("--no-implied-dirs");
        } else if self.implied_dirs {
            // The user's --no-implied-dirs has no effect without the user's -R.
            more.push("--implied-dirs");
        }
        // With an incremental file list, rsync may lock a directory again before everything in it is created.
        if how.whole_list || how.repair {
            more.push("--no-inc-recursive");
        }
        if self.removal == Removal::AtOnce || self.removal == Removal::SinglesLast && !how.singles {
            more.push(REMOVE);
        }
        more.extend((how.again && self.removal == Removal::AtOnce).then_some("--ignore-missing-args"));
        more.extend(self.tells_end.then_some(TELLS_END));
        self.copy(&[options, repair].concat(), &more, units, list, how.unmarked)
    }

    /// Whether a launch may also transfer the directories above its units.
    pub fn may_bring_dirs(&self, how: Copying) -> bool {
        how.exposed && self.old_receiver && self.implied_dirs
    }

    /// Deletes inside units that were already copied, and changes nothing else; uses a list as [`Recipe::buckets`] does. `blocked` are directories in whose
    /// place something else has stayed.
    pub fn clean(&self, units: Vec<OsString>, blocked: &BTreeSet<Vec<u8>>, exposed: bool, room: usize) -> Invocation {
        let list = self.list_if(exposed && self.lists || !fits(&units, room), &units);
        let only = match (self.dry_run, self.implied_dirs) {
            (true, true) => &["--implied-dirs"][..],
            (true, false) => &[],
            (false, _) => &["--no-implied-dirs"],
        };
        self.copy(&self.leaving(blocked), &[only, &["--existing", "--ignore-existing"]].concat(), units, list, false)
    }

    /// The options of a launch that only deletes. With `--ignore-existing`, rsync skips a file that is in the place of a directory, but at its end gives it
    /// the mode and time of the directory (rsync 3.5.0, experiment). Therefore such names are excluded.
    fn leaving(&self, blocked: &BTreeSet<Vec<u8>>) -> Vec<OsString> {
        // Half of the reserve in the argument limit. If there are more such names, they are not excluded.
        const ROOM: usize = 16 * 1024;
        let mut options = Vec::new();
        let mut taken = 0;
        for rule in blocked.iter().flat_map(|name| filter::leave_alone(name)) {
            taken += argument_cost(rule.len());
            if taken > ROOM {
                break;
            }
            options.push(rule);
        }
        options.extend_from_slice(&self.options);
        options
    }

    /// Removes single names that were already copied from the source; uses a list as [`Recipe::buckets`] does.
    pub fn remove(&self, units: Vec<OsString>, exposed: bool, room: usize) -> Invocation {
        let list = self.list_if(exposed && self.lists || !fits(&units, room), &units);
        // --no-H, because the hard links already exist, and rsync 3.5.0 was seen to wait forever when one of them failed.
        self.copy(&self.attribute_options, &["--no-implied-dirs", "--no-H", REMOVE, "-q"], units, list, false)
    }

    /// Whether these units can be passed to rsync, as arguments or as a list.
    pub fn can_hand_over(&self, units: &[OsString], room: usize) -> bool {
        fits(units, room) || self.list(units) != List::No
    }

    fn copy(
        &self,
        options: &[OsString],
        also: &[&str],
        units: Vec<OsString>,
        list: List,
        unmarked: bool,
    ) -> Invocation {
        let mut more = words(&["-R"]);
        if list != List::No {
            // A list of names cancels the recursion of -a.
            more.push("-r".into());
        }
        more.extend(words(also));
        more.extend(if unmarked { self.figures() } else { self.figures_and_changes() });
        self.invocation(options, more, units, list)
    }

    /// Prints which of these directories the rules do not exclude, each judged by its own name. `nowhere` is a destination that does not exist. `None` if
    /// there are no rules.
    pub fn judge(&self, cwd: PathBuf, spine: Vec<OsString>, nowhere: OsString) -> Option<Invocation> {
        let mut arguments = self.rule_options.clone()?;
        arguments.extend(words(&["-n", "-d", "-R", "--no-implied-dirs", "--ignore-missing-args"]));
        arguments.push(format!("--out-format={JUDGED}%n").into());
        arguments.push("--".into());
        arguments.extend(spine);
        arguments.push(nowhere);
        Some(Invocation::rsync(self.program.clone(), arguments, cwd))
    }

    /// One rsync for everything, in the working directory and with the arguments that the user has typed.
    pub fn plain(&self, cwd: PathBuf, options: &[OsString], sources: &[OsString], destination: OsString) -> Invocation {
        let mut arguments = options.to_vec();
        arguments.push("--".into());
        arguments.extend_from_slice(sources);
        arguments.push(destination);
        Invocation::rsync(self.program.clone(), arguments, cwd)
    }

    /// How many bytes are left for units in one launch.
    pub fn argument_room(&self) -> usize {
        let fixed = self.spine(&self.spine_options, self.listed_once(), Some(b"././"), Vec::new(), false);
        let taken: usize = fixed.arguments.iter().map(|word| argument_cost(word.len())).sum();
        argument_limit().saturating_sub(taken + argument_cost(self.program.len()))
    }

    /// An argument as a name in a list whose names are looked up below `/`. rsync strips leading slashes there: the rest of `/./name` would transfer `/`
    /// itself, and DEST would get its attributes.
    fn below_root(&self, argument: &[u8]) -> Vec<u8> {
        let name = argument.strip_prefix(b"/./").or(argument.strip_prefix(b"/"));
        if let Some(name) = name {
            return [b"/", name].concat();
        }
        // In a list, `/./` does what `././` does in arguments: it keeps directories out of the transfer.
        let name = argument.strip_prefix(b"././").unwrap_or(argument);
        match self.base.as_os_str().as_bytes() {
            b"/" => [b"/", name].concat(),
            base => [base, b"/./", name].concat(),
        }
    }

    /// Options with which directories are listed, and entered at most one level.
    fn listed_once(&self) -> Vec<OsString> {
        let mut options = words(&LISTED_ONCE);
        options.push(if self.implied_dirs { "--implied-dirs" } else { "--no-implied-dirs" }.into());
        options
    }

    fn figures(&self) -> Vec<OsString> {
        let mut options = vec![OsString::from("--stats"), OsString::from("--no-h")];
        if self.progress {
            options.push("--info=progress2".into());
        }
        options
    }

    /// The options for statistics, and the one that reports changes.
    fn figures_and_changes(&self) -> Vec<OsString> {
        let mut options = self.figures();
        options.extend(self.marks_changes.then(|| format!("--out-format={CHANGE}").into()));
        options
    }

    /// The kind of list for these names if a list is wanted, or is the only way.
    fn list_if(&self, wanted: bool, names: &[OsString]) -> List {
        if wanted || self.far.is_some() { self.list(names) } else { List::No }
    }

    /// The kind of list that can contain these names.
    fn list(&self, names: &[OsString]) -> List {
        let breaks = |name: &OsString| name.as_bytes().iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        match self.line_lists {
            false => List::ByNul,
            true if names.iter().any(breaks) => List::No,
            true => List::ByLine,
        }
    }

    /// The local path of the entry that an argument names.
    pub fn local(&self, argument: &[u8]) -> PathBuf {
        self.handles.local(&self.base, argument)
    }

    fn invocation(&self, options: &[OsString], more: Vec<OsString>, names: Vec<OsString>, list: List) -> Invocation {
        let all = names.iter().map(|name| name.as_bytes());
        let list_in = if list == List::No { None } else { self.handles.list_in(&self.base, all) };
        let held = |name: OsString| match self.handles.argument(&self.base, name.as_bytes()) {
            Cow::Owned(argument) if list_in.is_none() => OsString::from_vec(argument),
            _ => name,
        };
        let names: Vec<OsString> = names.into_iter().map(held).collect();
        let mut arguments = options.to_vec();
        arguments.extend(more);
        let mut input = Vec::new();
        if list == List::No {
            arguments.push("--".into());
            arguments.extend(names);
        } else if let Some(far) = &self.far {
            arguments.extend(far.rsync_path());
            arguments.extend(words(&["--files-from=-", "--from0", "--"]));
            arguments.push(far.word.clone());
            for name in names {
                input.extend_from_slice(&far.name(name.as_bytes()));
                input.push(0);
            }
        } else {
            // Names in a list are looked up below the source argument, even with a leading slash.
            let absolute = names.iter().any(|name| name.as_bytes().starts_with(b"/"));
            arguments.push("--files-from=-".into());
            arguments.extend((list == List::ByNul).then(|| "--from0".into()));
            arguments.push("--".into());
            arguments.push(match &list_in {
                Some(dir) => dir.into(),
                None => if absolute { "/" } else { "." }.into(),
            });
            for name in names {
                if absolute {
                    input.extend_from_slice(&self.below_root(name.as_bytes()));
                } else {
                    input.extend_from_slice(name.as_bytes());
                }
                input.push(if list == List::ByNul { 0 } else { b'\n' });
            }
        }
        arguments.push(self.destination.clone());
        let is_held = self.handles.dir(&self.base) != self.base;
        let cwd = match (is_held, self.cwd.is_dir()) {
            (false, _) => &self.base,
            (true, true) => &self.cwd,
            (true, false) => Path::new("/"),
        };
        Invocation { input, ..Invocation::rsync(self.program.clone(), arguments, cwd) }
    }
}

/// How names are passed on standard input, if at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    No,
    ByNul,
    ByLine,
}

fn fits(names: &[OsString], room: usize) -> bool {
    names.iter().map(|name| argument_cost(name.len())).sum::<usize>() <= room
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

#[cfg(test)]
mod tests;
