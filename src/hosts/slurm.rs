//! The allocation of a Slurm job, as its environment describes it (sbatch(1), OUTPUT ENVIRONMENT VARIABLES), and how a step is started in it.

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::time::{Duration, SystemTime};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::entry::Printable;
use crate::error::{Error, Result};

use super::{Host, MOST_SLOTS};

/// No allocation has more nodes than this.
const MOST_NODES: usize = 1 << 16;

/// The job in which this process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// The number of the job.
    pub job: String,
    /// Whether srun supports steps that take no resources from the job (`--external-launcher`).
    external: bool,
}

impl Allocation {
    /// The job that the environment describes; `None` outside of a job.
    ///
    /// # Errors
    /// The environment variables cannot be read.
    pub fn find(env: impl Fn(&str) -> Option<OsString>) -> Result<Option<(Allocation, Vec<Host>)>> {
        let text = |name: &str| {
            let value = env(name).filter(|value| !value.is_empty());
            value.map(|value| value.into_string().map_err(|value| odd(name, &value))).transpose()
        };
        let Some(job) = text("SLURM_JOB_ID")? else { return Ok(None) };
        if job.contains(|c: char| !c.is_ascii_digit()) {
            return Err(odd("SLURM_JOB_ID", OsStr::new(&job)));
        }
        let Some(list) = text("SLURM_JOB_NODELIST")? else {
            return Err(Error::usage(format!("job {job} of Slurm has no nodes: SLURM_JOB_NODELIST is not set"))
                .remedy("start it inside sbatch or salloc, or name the hosts with --hosts"));
        };
        let names = names(&list).ok_or_else(|| odd("SLURM_JOB_NODELIST", OsStr::new(&list)))?;
        let counts = match text("SLURM_JOB_CPUS_PER_NODE")? {
            Some(text) => counts(&text).ok_or_else(|| odd("SLURM_JOB_CPUS_PER_NODE", OsStr::new(&text)))?,
            None => Vec::new(),
        };
        let host = |(at, address): (usize, String)| {
            let slots = counts.get(at).copied().or_else(|| NonZero::new(1));
            Host { address, slots, sees_buckets: false }
        };
        let hosts = names.into_iter().enumerate().map(host).collect();
        Ok(Some((Allocation { job, external: false }, hosts)))
    }

    /// Sets what srun supports, from its help text.
    pub fn with_options_of(mut self, help: &str) -> Allocation {
        self.external = help.contains("--external-launcher");
        self
    }

    /// When the job ends, from the environment, or from the output of the command of [`Allocation::asks_for_end`].
    pub fn end(env: impl Fn(&str) -> Option<OsString>, said: &str) -> Option<SystemTime> {
        let told = env("SLURM_JOB_END_TIME").and_then(|text| text.to_str()?.parse::<i64>().ok());
        let seconds = told.or_else(|| {
            // If there is no limit, this is a word instead of a time.
            let local: DateTime = said.trim().parse().ok()?;
            Some(TimeZone::system().to_timestamp(local).ok()?.as_second())
        })?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.try_into().ok()?))
    }

    /// The command that asks Slurm when the job ends.
    pub fn asks_for_end(&self) -> Vec<OsString> {
        ["squeue", "--noheader", "--format=%e", "--jobs", &self.job].map(OsString::from).to_vec()
    }

    /// The command that starts a shell on a node. It takes no resources from other steps of the job, and passes on the environment of this process.
    pub fn srun(&self, node: &str) -> Vec<OsString> {
        let shares = if self.external { "--external-launcher" } else { "--overlap" };
        let job = format!("--jobid={}", self.job);
        let node = format!("--nodelist={node}");
        let words = ["srun", "--quiet", &job, shares, "--nodes=1", "--ntasks=1", &node, "--mpi=none"];
        let more = ["--kill-on-bad-exit=0", "--export=ALL", "--chdir=/", "--job-name=multi-sync", "sh", "-s"];
        words.into_iter().chain(more).map(OsString::from).collect()
    }
}

fn odd(name: &str, value: &OsStr) -> Error {
    Error::usage(format!("{name} cannot be read: {}", Printable::os(value)))
        .remedy("name the hosts with --hosts, such as --hosts \"$(scontrol show hostnames | paste -sd,)\"")
}

/// Expands `n[01-03,7],dtn5` (scontrol(1), `show hostnames`).
fn names(list: &str) -> Option<Vec<String>> {
    let mut found = Vec::new();
    let (mut depth, mut begins) = (0, 0);
    for (at, c) in list.char_indices().chain([(list.len(), ',')]) {
        match c {
            '[' => depth += 1,
            ']' if depth == 0 => return None,
            ']' => depth -= 1,
            ',' if depth == 0 => {
                found.extend(expand(&list[begins..at])?);
                begins = at + 1;
            }
            _ => {}
        }
        if found.len() > MOST_NODES {
            return None;
        }
    }
    let plain = |name: &String| {
        !name.is_empty()
            && !name.starts_with('-')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    (depth == 0 && found.iter().all(plain)).then_some(found)
}

fn expand(word: &str) -> Option<Vec<String>> {
    let Some((head, rest)) = word.split_once('[') else { return Some(vec![word.to_owned()]) };
    let (ranges, tail) = rest.split_once(']')?;
    let tails = expand(tail)?;
    let mut found = Vec::new();
    for range in ranges.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        let (from, to) = (number(first)?, number(last)?);
        if to < from || to - from >= MOST_NODES {
            return None;
        }
        for n in from..=to {
            let digits = format!("{n:0width$}", width = first.len());
            found.extend(tails.iter().map(|tail| format!("{head}{digits}{tail}")));
        }
        if found.len() > MOST_NODES {
            return None;
        }
    }
    Some(found)
}

/// Expands `72(x2),36`: the number of processors of each node.
fn counts(text: &str) -> Option<Vec<NonZero<usize>>> {
    let mut found = Vec::new();
    for word in text.split(',') {
        let (count, times) = match word.split_once("(x") {
            Some((count, times)) => (count, times.strip_suffix(')')?.parse::<usize>().ok()?),
            None => (word, 1),
        };
        let count = NonZero::new(count.parse::<usize>().ok()?.min(MOST_SLOTS))?;
        if found.len() + times > MOST_NODES {
            return None;
        }
        found.extend(std::iter::repeat_n(count, times));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_are_written_short() {
        for (list, expected) in [
            ("n1", "n1"),
            ("n[1-3]", "n1 n2 n3"),
            ("n[08-10,12],dtn-5.x", "n08 n09 n10 n12 dtn-5.x"),
            ("r[1-2]n[1-2]", "r1n1 r1n2 r2n1 r2n2"),
            ("a[1-2]b,c", "a1b a2b c"),
            ("n[001]", "n001"),
        ] {
            assert_eq!(names(list).unwrap().join(" "), expected, "{list}");
        }
        for list in ["", "n[1-", "n]", "n[2-1]", "n[1-9999999]", "n[a-b]", "-x", "n;x", "n[+1-2]", "a,,b"] {
            assert_eq!(names(list), None, "{list}");
        }
    }

    #[test]
    fn an_allocation_is_read_from_the_environment() {
        let read = |job: &str, list: &str, cpus: &str| {
            let all = [("SLURM_JOB_ID", job), ("SLURM_JOB_NODELIST", list), ("SLURM_JOB_CPUS_PER_NODE", cpus)];
            let env = |name: &str| all.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
            Allocation::find(env)
        };
        let (allocation, hosts) = read("17", "n[1-3]", "72(x2),36").unwrap().unwrap();
        let shown: Vec<String> = hosts.iter().map(|host| format!("{host}*{}", host.slots.unwrap())).collect();
        assert_eq!((&allocation.job[..], shown.join(",")), ("17", "n1*72,n2*72,n3*36".into()));
        let words = |allocation: &Allocation| format!("{:?}", allocation.srun("n1"));
        assert!(words(&allocation).contains("--overlap"));
        assert!(words(&allocation.with_options_of("      --external-launcher     x")).contains("--external-launcher"));
        assert!(read("", "n1", "1").unwrap().is_none());
        let end = |told: Option<&str>, said: &str| Allocation::end(|_| told.map(OsString::from), said);
        assert_eq!(end(Some("5"), "NONE"), SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(5)));
        assert!(
            end(None, "2026-11-29T18:00:00\n").is_some() && end(None, "NONE").is_none() && end(Some("x"), "").is_none()
        );
        for (job, list, cpus) in
            [("1;x", "n1", "1"), ("1", "", "1"), ("1", "n[", "1"), ("1", "n1", "x"), ("1", "n1", "0")]
        {
            assert!(read(job, list, cpus).is_err(), "{job} {list} {cpus}");
        }
    }
}
