//! A host with its own network: a network namespace behind a link of 100 Mbit/s that can be cut.
//!
//! Names and addresses are specific to this process: the addresses are from the block for measurements (RFC 2544), which no real network uses.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command};

use super::daemon::{find_program, helper, leash};

/// The machine in the middle: this machine, with an address that each [`Space`] can reach.
pub struct Hub {
    address: Ipv4Addr,
    leash: Child,
}

impl Hub {
    /// `Err` with the reason if namespaces or links cannot be created.
    pub fn start() -> Result<Hub, String> {
        if !super::is_root() {
            return Err("network namespaces need root".into());
        }
        for program in ["ip", "tc"] {
            find_program(program)?;
        }
        let address = Ipv4Addr::new(198, 18, third(), 254);
        ip(&format!("addr add {address}/32 dev lo"))?;
        Ok(Hub { address, leash: leash(&format!("ip addr del {address}/32 dev lo")) })
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        end(&mut self.leash);
    }
}

/// A host.
pub struct Space {
    name: String,
    link: String,
    address: Ipv4Addr,
    leash: Child,
}

impl Space {
    /// The host with this number, from 1 to 60.
    pub fn start(hub: &Hub, number: u8) -> Result<Space, String> {
        let pid = std::process::id();
        let (name, link) = (format!("multi-sync-{pid}-{number}"), format!("ms{pid}n{number}"));
        let [a, b, c, _] = hub.address.octets();
        let side = |last: u8| Ipv4Addr::new(a, b, c, 4 * number + last);
        let (here, there) = (side(1), side(2));
        ip(&format!("netns add {name}"))?;
        let leash = leash(&format!("ip netns del {name}"));
        let space = Space { name: name.clone(), link: link.clone(), address: there, leash };
        for line in [
            format!("link add {link} type veth peer name eth0 netns {name}"),
            format!("addr add {here}/30 dev {link}"),
            format!("link set {link} up"),
            format!("-n {name} addr add {there}/30 dev eth0"),
            format!("-n {name} link set eth0 up"),
            format!("-n {name} link set lo up"),
            format!("-n {name} route add default via {here}"),
            format!("netns exec {name} tc qdisc add dev eth0 root handle 1: htb default 1"),
            format!("netns exec {name} tc class add dev eth0 parent 1: classid 1:1 htb rate 100mbit ceil 100mbit"),
        ] {
            ip(&line)?;
        }
        Ok(space)
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// A program that runs on this host.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Cuts the link in both directions until [`Space::mend`].
    pub fn cut(&self) {
        ip(&format!("link set {} down", self.link)).expect("cut a link");
    }

    pub fn mend(&self) {
        ip(&format!("link set {} up", self.link)).expect("mend a link");
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        end(&mut self.leash);
    }
}

/// Processes with different numbers have different networks, almost always.
fn third() -> u8 {
    (std::process::id() % 256) as u8
}

fn ip(words: &str) -> Result<(), String> {
    helper(Command::new("ip").args(words.split(' '))).map(drop)
}

fn end(leash: &mut Child) {
    drop(leash.stdin.take());
    let _ = leash.wait();
}
