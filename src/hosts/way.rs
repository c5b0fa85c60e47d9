//! How hosts are reached: the command that is started here to get a shell there.

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::entry::Printable;
use crate::error::{Error, Result};
use crate::rsync::command::Invocation;
use crate::supervise::Supervisor;

use super::Host;
use super::slurm::Allocation;

/// The placeholder for the host in a template.
const HOST: &str = "{host}";

/// How hosts are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    kind: Kind,
    /// The directory in which it was typed.
    cwd: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// ssh, with its options.
    Ssh(Vec<OsString>),
    /// A step in a Slurm allocation.
    Slurm(Allocation),
    /// The words of a command.
    Command(Vec<String>),
}

impl Way {
    /// Options of ssh: no questions to the user, and a connection that stalls ends after 15 seconds.
    pub const KEEPS_ALIVE: [&str; 4] =
        ["BatchMode=yes", "ServerAliveInterval=5", "ServerAliveCountMax=3", "ClearAllForwardings=yes"];

    /// Reads a command such as `ssh -F FILE`, typed in `cwd`.
    ///
    /// # Errors
    /// A quote that is not closed, or no word at all.
    pub fn ssh(text: &OsStr, cwd: &Path) -> Result<Way> {
        let words = words(text).ok_or_else(|| {
            Error::usage(format!("--ssh: not a command: {}", Printable::os(text)))
                .remedy("give the command that reaches the hosts, such as 'ssh -F FILE'")
        })?;
        Ok(Way { kind: Kind::Ssh(words.into_iter().map(OsString::from).collect()), cwd: cwd.to_owned() })
    }

    /// `ssh` and nothing else.
    pub fn plain(cwd: &Path) -> Way {
        Way { kind: Kind::Ssh(vec!["ssh".into()]), cwd: cwd.to_owned() }
    }

    /// Through steps of a Slurm job.
    pub fn slurm(allocation: Allocation, cwd: &Path) -> Way {
        Way { kind: Kind::Slurm(allocation), cwd: cwd.to_owned() }
    }

    /// Reads a command such as `kubectl exec -i {host} -- sh -s`, which starts a shell that reads its standard input.
    ///
    /// # Errors
    /// A quote that is not closed, no word, or no place for the host.
    pub fn command(text: &OsStr, cwd: &Path) -> Result<Way> {
        let shown = Printable::os(text);
        let remedy =
            format!("write ssh, slurm, or a command that starts a shell there, such as 'blaunch {HOST} sh -s'");
        let words = words(text);
        let words = words.ok_or_else(|| Error::usage(format!("--engine: not a command: {shown}")).remedy(&remedy))?;
        if !words[1..].iter().any(|word| word.contains(HOST)) {
            return Err(Error::usage(format!("--engine: '{shown}' has no place for the host")).remedy(&remedy));
        }
        Ok(Way { kind: Kind::Command(words), cwd: cwd.to_owned() })
    }

    /// The directory in which it was typed.
    pub fn cwd(&self) -> &Path {
        &self.cwd
    }

    /// The Slurm job whose steps are used.
    pub fn job(&self) -> Option<&str> {
        match &self.kind {
            Kind::Slurm(allocation) => Some(&allocation.job),
            _ => None,
        }
    }

    /// Adapts it to the programs of this machine: asks srun which options it supports.
    #[must_use]
    pub fn of_this_machine(self, supervisor: &Supervisor) -> Way {
        let Kind::Slurm(allocation) = self.kind else { return self };
        let mut help = String::new();
        let question = Invocation::new("srun", vec!["--help".into()], "/");
        // If there is no srun, the first step that is started reports that.
        let _ = supervisor.run(&question, &mut |_, line| help.push_str(&format!("{}\n", Printable::bytes(line))));
        Way { kind: Kind::Slurm(allocation.with_options_of(&help)), ..self }
    }

    /// When the Slurm job ends whose steps are used.
    pub fn end_of_job(&self, supervisor: &Supervisor) -> Option<SystemTime> {
        let Kind::Slurm(allocation) = &self.kind else { return None };
        let env = |name: &str| std::env::var_os(name);
        let told = Allocation::end(env, "");
        told.or_else(|| {
            let words = allocation.asks_for_end();
            let question = Invocation::new(words[0].clone(), words[1..].to_vec(), "/");
            let mut said = String::new();
            supervisor.run(&question, &mut |_, line| said.push_str(&String::from_utf8_lossy(line))).ok()?;
            Allocation::end(|_| None, &said)
        })
    }

    /// The command that starts a shell on a host. The shell reads its standard input.
    pub fn leads_to(&self, host: &Host) -> Invocation {
        let words: Vec<OsString> = match &self.kind {
            Kind::Ssh(words) => {
                let alive = Way::KEEPS_ALIVE.iter().flat_map(|option| ["-o".into(), OsString::from(option)]);
                let last = ["-T", "--", &host.address, "sh -s"].map(OsString::from);
                words.iter().cloned().chain(alive).chain(last).collect()
            }
            Kind::Slurm(allocation) => allocation.srun(&host.address),
            Kind::Command(words) => words.iter().map(|word| word.replace(HOST, &host.address).into()).collect(),
        };
        let (program, arguments) = words.split_first().expect("a way has a program");
        Invocation::new(program.clone(), arguments.to_vec(), &self.cwd)
    }

    /// The command that ends the Slurm step in which a shell runs, even if the shell does not answer.
    pub fn ends(&self, step: &str) -> Option<Invocation> {
        let job = self.job()?;
        let is_its = step.strip_prefix(job).is_some_and(|rest| rest.starts_with('.'));
        let words = vec!["--quiet".into(), "--signal=TERM".into(), step.into()];
        is_its.then(|| Invocation::new("scancel", words, "/"))
    }
}

/// What the user has typed about hosts and how to reach them.
#[derive(Debug, Default)]
pub struct Wanted<'a> {
    /// `ssh`, `slurm`, or a command.
    pub engine: Option<&'a OsStr>,
    /// The hosts that were named.
    pub hosts: Option<Vec<Host>>,
    /// The command for ssh.
    pub ssh: Option<&'a OsStr>,
    /// The number of rsyncs on all hosts together, if it was given. By default, nodes of a job have as many as they have processors.
    pub most: Option<NonZero<usize>>,
    /// If no hosts are named and this process runs in a Slurm allocation, the nodes of the allocation are the hosts.
    pub looks_for_job: bool,
}

/// The hosts, and how they are reached; no hosts if none were named and there is no job. `env` reads the environment.
///
/// # Errors
/// What the user has typed cannot be read, or is contradictory.
pub fn reach(wanted: Wanted<'_>, cwd: &Path, env: impl Fn(&str) -> Option<OsString>) -> Result<(Way, Vec<Host>)> {
    let Wanted { engine, hosts, ssh, most, looks_for_job } = wanted;
    let is = |name: &str| engine.is_some_and(|engine| engine == name);
    let by_ssh = engine.is_none() || is("ssh");
    if ssh.is_some() && !by_ssh {
        return Err(Error::usage("--ssh with another engine than ssh").remedy("give one of --ssh and --engine"));
    }
    let asked = is("slurm");
    if asked || engine.is_none() && ssh.is_none() && hosts.is_none() && looks_for_job {
        match Allocation::find(env)? {
            Some((allocation, nodes)) => {
                let hosts = hosts.unwrap_or_else(|| bounded(nodes, most));
                return Ok((Way::slurm(allocation, cwd), hosts));
            }
            None if asked => {
                return Err(Error::usage("--engine slurm: this is not a job of Slurm (SLURM_JOB_ID is not set)")
                    .remedy("start it inside sbatch or salloc"));
            }
            None => {}
        }
    }
    let way = match (engine, ssh) {
        (Some(text), _) if !by_ssh => Way::command(text, cwd)?,
        (_, Some(text)) => Way::ssh(text, cwd)?,
        _ => Way::plain(cwd),
    };
    Ok((way, hosts.unwrap_or_default()))
}

/// Gives each node as many rsyncs as it has processors, but no more than its share of `most`.
fn bounded(nodes: Vec<Host>, most: Option<NonZero<usize>>) -> Vec<Host> {
    let count = nodes.len().max(1);
    let part = |slots: NonZero<usize>| {
        let part = most.and_then(|most| NonZero::new(most.get().div_ceil(count)));
        part.map_or(slots, |part| part.min(slots))
    };
    nodes.into_iter().map(|host| Host { slots: host.slots.map(part), ..host }).collect()
}

fn words(text: &OsStr) -> Option<Vec<String>> {
    shell_words::split(text.to_str()?).ok().filter(|words| !words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_stands_where_the_template_says() {
        let cwd = Path::new("/here");
        let host = Host { address: "a@n1".into(), slots: None, sees_buckets: false };
        let way = Way::command("kubectl exec -i 'pod/{host}' -- sh -s".as_ref(), cwd).unwrap();
        assert_eq!(way.leads_to(&host).to_string(), "kubectl exec -i pod/a@n1 -- sh -s");
        for (text, part) in
            [("blaunch x sh -s", "no place for the host"), ("'", "not a command"), (" ", "not a command")]
        {
            let error = Way::command(text.as_ref(), cwd).unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
        let nodes = |most: Option<usize>| {
            let env = |name: &str| match name {
                "SLURM_JOB_ID" => Some("5".into()),
                "SLURM_JOB_NODELIST" => Some("n[1-3]".into()),
                _ => Some("8(x3)".into()),
            };
            let wanted = Wanted { most: most.and_then(NonZero::new), looks_for_job: true, ..Wanted::default() };
            let (way, hosts) = reach(wanted, cwd, env).unwrap();
            (way.job().map(str::to_owned), hosts.iter().map(|host| host.slots.unwrap().get()).collect::<Vec<_>>())
        };
        assert_eq!(nodes(None), (Some("5".into()), vec![8; 3]));
        assert_eq!(nodes(Some(4)).1, [2; 3]);
        let none = |_: &str| None;
        let way = |wanted| reach(wanted, cwd, none).map(|(way, _)| way);
        let asks = |engine: &'static str| Wanted { engine: Some(engine.as_ref()), ..Wanted::default() };
        assert!(way(asks("slurm")).unwrap_err().to_string().contains("not a job of Slurm"));
        assert_eq!(way(asks("ssh")).unwrap(), Way::plain(cwd));
        let both = Wanted { ssh: Some("ssh -F x".as_ref()), ..asks("blaunch {host} sh -s") };
        assert!(way(both).unwrap_err().to_string().contains("another engine"));
        let ssh = Way::ssh("ssh -F x".as_ref(), cwd).unwrap().leads_to(&host).to_string();
        assert!(ssh.starts_with("ssh -F x -o ") && ssh.ends_with("-T -- a@n1 'sh -s'"), "{ssh}");
    }
}
