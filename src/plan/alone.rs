//! Whether filter rules may leave only one top directory, or nothing, of the sources. A DEST that does not exist then becomes that directory itself (rsync's
//! rule for a transfer of one entry), or is not created, and several rsyncs would not do the same. Only rsync knows the effect of the rules, so it is asked.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::rsync::command::Invocation;
use crate::rsync::command::JUDGED;
use crate::rsync::exit;
use crate::supervise::{Stream, Supervisor};

use super::sources::Found;

/// How many sources rsync is asked about. If hardly anything is left of these, one rsync copies.
const MOST: usize = 64;

/// Asks rsync what its rules leave at the top of the sources: two names are enough.
///
/// # Errors
/// rsync gave no answer.
pub(super) fn may_be(config: &Config, found: &Found, rules: &[OsString], supervisor: &Supervisor) -> Result<bool> {
    let names_dest = !config.destination.original().as_bytes().ends_with(b"/");
    let exists = config.destination.is_local() && Path::new(&config.destination.as_typed(&config.cwd)).is_dir();
    let are_dirs = found.present.iter().all(|(_, metadata)| metadata.is_dir());
    if rules.is_empty() || !are_dirs || !names_dest || exists {
        return Ok(false);
    }
    let tops = found.present.iter().take(MOST).map(|(source, _)| {
        let mut top = source.base(&config.cwd).into_os_string();
        top.push("/./");
        top.push(source.name().unwrap_or_default());
        top.push("/");
        top
    });
    let mut arguments = rules.to_vec();
    arguments.extend(["-n", "-dlR", "--no-implied-dirs"].map(OsString::from));
    arguments.extend([format!("--out-format={JUDGED}%n").into(), "--".into()]);
    arguments.extend(tops);
    arguments.push("/nonexistent/".into());
    let invocation = Invocation::rsync(&config.program, arguments, &config.cwd);
    let mut names = 0;
    let ended = supervisor.run(&invocation, &mut |stream, line| {
        names += u64::from(stream == Stream::Stdout && line.starts_with(JUDGED.as_bytes()));
    });
    match ended.map(|ended| ended.code()) {
        // rsync was ended, or the machine lacks some resource: this is no answer.
        Ok(code) if exit::breaks_off(code) => {
            Err(Error::of_rsync("cannot ask rsync what its rules leave of the sources", code))
        }
        // If rsync refuses the options here, one rsync will refuse them as well, with its own message.
        Ok(code) => Ok(names < 2 || code == exit::USAGE),
        Err(error) => Err(error),
    }
}
