//! How the machine of the sources is reached: by rsync with its connection options, and by a shell, if that sees what rsync sees.

use std::ffi::OsString;
use std::path::Path;

use crate::config::Config;
use crate::connection::WATCHES;
use crate::endpoint::{Source, Target};
use crate::far::Reach;
use crate::hosts;
use crate::rsync::command::Invocation;
use crate::rsync::options::{Meaning, Opt, command_words};

/// A source as an argument that names the machine in the same way as the first source. If the path is empty, `.` is added, as rsync itself does.
pub fn whole_word(first: &Source, source: &Source) -> OsString {
    let mut word = source.through(first);
    if matches!(source.target(), Target::Ssh { path, .. } if path.is_empty()) {
        word.push(".");
    }
    word
}

/// How the machine of the source is reached. If rsync is started there with a special command, possibly as another user, a shell may not see what rsync sees,
/// so that there is none.
pub fn reach(config: &Config, source: &Source, meaning: &Meaning) -> Reach {
    let word = whole_word(source, source);
    Reach {
        shell: shell_by_name(config, source.target(), meaning),
        rsync: Invocation::rsync(&config.program, way(config), &config.cwd),
        words: vec![word],
        stall: config.stall,
    }
}

/// A shell on the machine, if it sees what rsync sees there.
pub(in super::super) fn shell_by_name(config: &Config, target: &Target, meaning: &Meaning) -> Option<Invocation> {
    let ways = [Opt::RsyncPath, Opt::Ipv4, Opt::Ipv6];
    shell(config, target, meaning).filter(|_| !config.options.mentions(&ways))
}

/// A shell on the machine, started by the command that rsync uses.
fn shell(config: &Config, target: &Target, meaning: &Meaning) -> Option<Invocation> {
    let Target::Ssh { user, host, .. } = target else { return None };
    let typed = meaning.rsh.clone().unwrap_or_else(|| "ssh".into());
    let mut words = command_words(&typed)?.into_iter();
    let program = words.next()?;
    let mut arguments: Vec<OsString> = words.collect();
    if Path::new(&program).file_name().is_some_and(|name| name == "ssh") {
        arguments.extend(hosts::Way::KEEPS_ALIVE.iter().flat_map(|option| ["-o".into(), OsString::from(option)]));
        if config.addresses.is_some() {
            arguments.extend(["-o", WATCHES[0]].map(OsString::from));
        }
        arguments.push("-T".into());
    }
    arguments.extend(user.iter().flat_map(|user| ["-l".into(), OsString::from(user)]));
    arguments.extend([OsString::from(host), "sh -s".into()]);
    Some(Invocation::new(program, arguments, &config.cwd))
}

/// rsync's options for reaching the machine.
pub fn way(config: &Config) -> Vec<OsString> {
    config.options.absolute_files(&config.cwd).connection_options().argv()
}
