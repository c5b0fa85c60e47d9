//! Whether a source may come down to its top directory alone: then a DEST that does not exist becomes that directory itself (rsync's rule for
//! a transfer of one entry), which several rsyncs would not repeat. Only filter rules can bring that about, so rsync is asked.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::config::Config;
use crate::rsync::command::Invocation;
use crate::rsync::exit;
use crate::supervise::{Stream, Supervisor};

use super::probe;
use super::sources::Found;

/// Asks rsync for what its rules leave of the top of the source: two names are enough to know.
pub(super) fn may_be(config: &Config, found: &Found, rules: &[OsString], supervisor: &Supervisor) -> bool {
    let [(source, metadata)] = &found.present[..] else { return false };
    let names_dest = !config.destination.original().as_bytes().ends_with(b"/");
    let exists = config.destination.is_local() && Path::new(&config.destination.as_typed(&config.cwd)).is_dir();
    if rules.is_empty() || !metadata.is_dir() || !names_dest || exists {
        return false;
    }
    let mut top = source.base(&config.cwd).into_os_string();
    top.push("/./");
    top.push(source.name().unwrap_or_default());
    top.push("/");
    let mut arguments = rules.to_vec();
    arguments.extend(["-n", "-dlR", "--no-implied-dirs", "--out-format=%n", "--"].map(OsString::from));
    arguments.extend([top, OsString::from("/nonexistent/")]);
    let cwd = config.cwd.clone();
    let invocation = Invocation::new(probe::PROGRAM, arguments, cwd);
    let mut names = 0;
    let ended = supervisor.run(&invocation, &mut |stream, _| names += u64::from(stream == Stream::Stdout));
    match ended.map(|ended| ended.code()) {
        // So will one rsync.
        Ok(exit::USAGE) => true,
        Ok(exit::OK | exit::PARTIAL | exit::VANISHED) => names < 2,
        // The machine is short of something: no answer, and the run will meet it.
        _ => false,
    }
}
