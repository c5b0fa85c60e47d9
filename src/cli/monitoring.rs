//! Options for reporting a run to others: hooks and metrics.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use multi_sync::command::config::Config;
use multi_sync::command::entry::Printable;
use multi_sync::{Error, Result};

use super::seconds_of;
use crate::monitor::Wanted;

/// The options, which may be given again when a run is continued. None of them changes what is copied.
pub(super) const OPTIONS: [&str; 5] = ["on-end", "on-failure", "hook-seconds", "metrics", "metrics-listen"];

/// The values of these options.
#[derive(Debug, Clone, Default)]
pub struct Words([Option<OsString>; OPTIONS.len()]);

impl Words {
    pub fn of(matches: &ArgMatches) -> Words {
        Words(OPTIONS.map(|name| matches.get_one::<OsString>(name).cloned()))
    }

    /// Makes the metrics file relative to the present working directory, whatever the directory of the run is.
    pub fn below_here(mut self) -> Words {
        let [.., metrics, _] = &mut self.0;
        let absolute = metrics.as_ref().and_then(|file| std::path::absolute(file).ok());
        *metrics = absolute.map(PathBuf::into_os_string).or(metrics.take());
        self
    }

    /// Applies the options. Relative names are relative to `cwd`.
    pub fn change(self, wanted: &mut Wanted, cwd: &Path) -> Result<()> {
        let Words([on_end, on_failure, seconds, metrics, listen]) = self;
        // An empty value removes the command.
        let command = |word: OsString| Some(word).filter(|word| !word.is_empty());
        if let Some(word) = on_end {
            wanted.on_end = command(word);
        }
        if let Some(word) = on_failure {
            wanted.on_failure = command(word);
        }
        if let Some(word) = seconds {
            if wanted.on_end.is_none() && wanted.on_failure.is_none() {
                return Err(Error::usage("--hook-seconds without --on-end or --on-failure").remedy("leave it out"));
            }
            wanted.hook_limit = seconds_of("--hook-seconds", &word)?;
        }
        if let Some(word) = metrics {
            wanted.metrics = command(word).map(|file| cwd.join(file));
        }
        if let Some(word) = listen {
            wanted.listen = command(word).map(|word| address(&word)).transpose()?;
        }
        Ok(())
    }
}

/// The settings from these options, checked.
pub(super) fn wanted(matches: &ArgMatches, config: &Config) -> Result<Wanted> {
    let mut wanted = Wanted::default();
    Words::of(matches).change(&mut wanted, &config.cwd)?;
    Ok(wanted)
}

/// A bare `PORT` is only for this machine; for access from others the user has to write `0.0.0.0:PORT`.
fn address(word: &OsStr) -> Result<SocketAddr> {
    let text = word.to_str().unwrap_or_default();
    let local = |port: &str| port.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let found = match text.strip_prefix("localhost:") {
        Some(port) => local(port),
        None => local(text).or_else(|| text.parse().ok()),
    };
    found.ok_or_else(|| {
        Error::usage(format!("--metrics-listen: not an address: {}", Printable::os(word))).remedy(
            "write PORT, for this machine alone, or ADDRESS:PORT, such as 192.0.2.7:9751; 0.0.0.0:PORT lets in everybody",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_this_machine_unless_another_is_said() {
        for (word, expected) in [
            ("9751", Some("127.0.0.1:9751")),
            ("localhost:9751", Some("127.0.0.1:9751")),
            ("0.0.0.0:9751", Some("0.0.0.0:9751")),
            ("[::1]:0", Some("[::1]:0")),
            (":9751", None),
            ("nas:9751", None),
            ("65536", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(address(OsStr::new(word)).ok(), expected.map(|text| text.parse().unwrap()), "{word}");
        }
    }
}
