//! A real Slurm on this machine: one slurmctld, and a slurmd for each node, with files and ports of their own. It uses no authentication, so that no system
//! service is needed, and runs as the user of the tests.
#![expect(clippy::disallowed_methods, reason = "tests start real programs")]

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::command::MARK;
use super::daemon::{find_program, helper, leash};
use super::processes;

/// The number of processors of a node.
pub const CPUS: usize = 2;
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A cluster with nodes n1, n2, ...; it ends, with everything that it runs, when this value is dropped.
pub struct Slurm {
    folder: tempfile::TempDir,
    daemons: Vec<Child>,
    leash: Child,
}

impl Slurm {
    /// `Err` with the reason if Slurm is not installed or does not start.
    pub fn start(nodes: usize) -> Result<Slurm, String> {
        Slurm::start_with(nodes, "")
    }

    /// With additional lines in its configuration.
    pub fn start_with(nodes: usize, more: &str) -> Result<Slurm, String> {
        for program in ["srun", "salloc", "sbatch", "scontrol", "scancel"] {
            find_program(program)?;
        }
        let (controller, node) = (find_program("slurmctld")?, find_program("slurmd")?);
        let folder = tempfile::Builder::new().prefix("multi-sync-slurm.").tempdir().expect("make a folder");
        fs::create_dir(folder.path().join("state")).expect("make a folder");
        fs::write(folder.path().join("slurm.conf"), configuration(folder.path(), nodes)? + more)
            .expect("write slurm.conf");
        let leash = leash(&format!(
            "grep -l 'SLURM_CONF={}/' /proc/[0-9]*/environ | cut -d/ -f3 | xargs -r kill -s KILL",
            folder.path().display()
        ));
        let mut slurm = Slurm { folder, daemons: Vec::new(), leash };
        slurm.launch(&controller, &["-D", "-i"], "slurmctld");
        for number in 1..=nodes {
            slurm.launch(&node, &["-D", "-N", &format!("n{number}")], &format!("n{number}"));
        }
        let began = Instant::now();
        let idle = |said: &str| said.lines().filter(|line| line.trim() == "idle").count() == nodes;
        while !helper(slurm.tool("sinfo").args(["-h", "-N", "-p", "all", "-o", "%T"]))
            .is_ok_and(|(said, _)| idle(&String::from_utf8_lossy(&said)))
        {
            if began.elapsed() > READY_LIMIT {
                let log = fs::read_to_string(slurm.folder.path().join("slurmctld.log")).unwrap_or_default();
                return Err(format!("Slurm does not come up: {}", log.lines().last().unwrap_or("it says nothing")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(slurm)
    }

    fn launch(&mut self, program: &Path, words: &[&str], name: &str) {
        let log = File::create(self.folder.path().join(format!("{name}.out"))).expect("make a log");
        let mut command = Command::new(program);
        command.args(words).env("SLURM_CONF", self.configuration()).env(MARK, self.mark()).process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("dup")).stderr(log);
        self.daemons.push(command.spawn().expect("start a daemon of Slurm"));
    }

    /// The value of `SLURM_CONF`.
    pub fn configuration(&self) -> String {
        self.folder.path().join("slurm.conf").display().to_string()
    }

    fn mark(&self) -> String {
        format!("slurm:{}", self.folder.path().display())
    }

    /// One of Slurm's commands.
    pub fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", self.configuration());
        command
    }

    /// The output of a command of Slurm.
    pub fn ask(&self, program: &str, words: &[&str]) -> String {
        let said = helper(self.tool(program).args(words)).unwrap_or_else(|why| panic!("{why}"));
        String::from_utf8_lossy(&said.0).trim().to_owned()
    }

    /// The same command inside an allocation of this number of nodes.
    pub fn allocated(&self, nodes: usize, inner: &Command) -> Command {
        let mut command = Command::new("salloc");
        command.args(["-Q", "--no-kill", &format!("-N{nodes}"), &format!("--ntasks-per-node={CPUS}")]);
        self.around(command, inner)
    }

    /// `command` with the arguments, variables and directory of `inner`.
    pub fn around(&self, mut command: Command, inner: &Command) -> Command {
        command.arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("SLURM_CONF", self.configuration());
        if let Some(dir) = inner.get_current_dir() {
            command.current_dir(dir);
        }
        command
    }

    /// The job that is running.
    pub fn job(&self) -> String {
        self.ask("squeue", &["-h", "-o", "%i"])
    }

    /// Kills a node, with everything that it runs.
    pub fn kill_node(&mut self, number: usize) {
        let name = format!("SLURMD_NODENAME=n{number}");
        let is_its = |live: &processes::Live| {
            let environment = fs::read(format!("/proc/{}/environ", live.pid)).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|word| word == name.as_bytes())
        };
        let tasks: Vec<_> = processes::marked(&self.configuration()).into_iter().filter(is_its).collect();
        // slurmd first, so that the end of its processes is not reported.
        let daemon = Pid::from_child(&self.daemons[number]);
        let starters =
            tasks.iter().filter_map(|live| Pid::from_raw(live.parent)).filter(|pid| pid.as_raw_nonzero().get() > 1);
        let all: Vec<Pid> = starters.chain(tasks.iter().filter_map(|live| Pid::from_raw(live.pid))).collect();
        for pid in [daemon].into_iter().chain(all) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.daemons[number].wait();
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        let mark = format!("{}/", self.folder.path().display());
        processes::kill_until_gone(|| processes::marked(&mark));
        for daemon in &mut self.daemons {
            let _ = daemon.wait();
        }
        let _ = self.leash.kill();
        let _ = self.leash.wait();
    }
}

fn configuration(folder: &Path, nodes: usize) -> Result<String, String> {
    // All listeners are kept until each has another port.
    let listeners: Vec<TcpListener> = (0..=nodes)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|cause| format!("no free port: {cause}")))
        .collect::<Result<_, _>>()?;
    let ports: Vec<u16> = listeners.iter().map(|one| one.local_addr().expect("it is bound").port()).collect();
    let said = |program: &str, words: &[&str]| -> Result<String, String> {
        let (said, _) = helper(Command::new(program).args(words))?;
        Ok(String::from_utf8_lossy(&said).trim().to_owned())
    };
    let (host, user) = (said("uname", &["-n"])?, said("id", &["-un"])?);
    let folder = folder.display();
    let mut text = format!(
        "ClusterName=lab\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={}\nAuthType=auth/none\nCredType=cred/none\n\
         SlurmUser={user}\nSlurmdUser={user}\nStateSaveLocation={folder}/state\nSlurmdSpoolDir={folder}/spool.%n\n\
         SlurmctldPidFile={folder}/slurmctld.pid\nSlurmdPidFile={folder}/slurmd.%n.pid\n\
         SlurmctldLogFile={folder}/slurmctld.log\nSlurmdLogFile={folder}/slurmd.%n.log\n\
         ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSelectType=select/cons_tres\n\
         SelectTypeParameters=CR_Core\nMpiDefault=none\nReturnToService=2\nSlurmdTimeout=10\nKillWait=20\nMinJobAge=300\n\
         JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\nJobCompType=jobcomp/none\n\
         SlurmdParameters=config_overrides\nSchedulerParameters=sched_interval=5,sched_min_interval=10000\n",
        ports[0]
    );
    for (number, port) in ports.iter().enumerate().skip(1) {
        text += &format!("NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={CPUS}\n");
    }
    Ok(text + "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n")
}
