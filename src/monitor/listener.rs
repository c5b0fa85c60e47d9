//! `--metrics-listen ADDR`: answers Prometheus over HTTP, one request after the other. A client that is slow, sends too much, or asks for something else
//! costs some seconds of one thread and one file descriptor, but does not disturb the run. `httparse` parses the head of a request.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use multi_sync::command::thread;
use multi_sync::{Error, Result};
use rustix::event::{PollFd, PollFlags, poll};

use super::lock;

/// How long a request and its answer may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// A longer request head does not come from Prometheus.
const LONGEST_HEAD: usize = 8 * 1024;
const MOST_HEADERS: usize = 64;
/// The text format of Prometheus.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An address on which we listen.
pub(super) struct Listener {
    socket: TcpListener,
    chosen: Option<SocketAddr>,
    running: Mutex<Option<(UnixStream, JoinHandle<()>)>>,
}

impl Listener {
    /// # Errors
    /// Another process has the address, or it does not belong to this machine.
    pub fn bind(address: SocketAddr) -> Result<Listener> {
        let bound = TcpListener::bind(address).and_then(|socket| {
            socket.set_nonblocking(true)?;
            let chosen = if address.port() == 0 { Some(socket.local_addr()?) } else { None };
            Ok(Listener { socket, chosen, running: Mutex::default() })
        });
        bound.map_err(|cause| {
            Error::usage(format!("--metrics-listen: cannot listen at {address}"))
                .because(cause)
                .remedy("give an address of this machine and a port that is not in use; port 0 stands for any free one")
        })
    }

    /// The address, if the system has chosen the port.
    pub fn chosen(&self) -> Option<SocketAddr> {
        self.chosen
    }

    /// Starts to answer requests with this text.
    ///
    /// # Errors
    /// The system allows no more threads or file descriptors.
    pub fn serve(&self, metrics: impl Fn() -> String + Send + 'static) -> Result<()> {
        let begun = || {
            let (stop, stopped) = UnixStream::pair()?;
            let socket = self.socket.try_clone()?;
            let server = std::thread::Builder::new().spawn(move || answer_all(&socket, &stopped, &metrics))?;
            Ok((stop, server))
        };
        let begun = begun().map_err(|cause: std::io::Error| thread::refused().because(cause))?;
        *lock(&self.running) = Some(begun);
        Ok(())
    }

    /// Stops answering.
    pub fn close(&self) {
        if let Some((stop, server)) = lock(&self.running).take() {
            drop(stop);
            // The thread ends as soon as the current client has its answer, unless it has panicked.
            let _ = server.join();
        }
    }
}

fn answer_all(socket: &TcpListener, stopped: &UnixStream, metrics: &dyn Fn() -> String) {
    loop {
        let mut waits = [PollFd::new(socket, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
        if poll(&mut waits, None).is_err() {
            continue;
        }
        if !waits[1].revents().is_empty() {
            return;
        }
        match socket.accept() {
            // An error is ignored, because a client may go away at any time.
            Ok((client, _)) => drop(answer(client, metrics)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // Such as too many open files, which is temporary.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn answer(mut client: TcpStream, metrics: &dyn Fn() -> String) -> std::io::Result<()> {
    let until = Instant::now() + PATIENCE;
    client.set_nonblocking(false)?;
    let mut head = Vec::new();
    let asked = loop {
        if let Some(asked) = read(&head) {
            break asked;
        }
        let mut buffer = [0; 1024];
        client.set_read_timeout(Some(left(until)?))?;
        match client.read(&mut buffer)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    };
    let (status, kind, body) = match asked {
        Asked::Metrics { .. } => ("200 OK", FORMAT, metrics()),
        Asked::Root { .. } => ("200 OK", "text/html; charset=utf-8", "<a href=\"/metrics\">multi-sync</a>\n".into()),
        Asked::Other { .. } => ("404 Not Found", "text/plain; charset=utf-8", "see /metrics\n".into()),
        Asked::Method => ("405 Method Not Allowed", "text/plain; charset=utf-8", "only GET and HEAD\n".into()),
        Asked::Nonsense => ("400 Bad Request", "text/plain; charset=utf-8", "not understood\n".into()),
    };
    let allow = if matches!(asked, Asked::Method) { "Allow: GET, HEAD\r\n" } else { "" };
    let length = body.len();
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    );
    if !asked.wants_head_only() {
        answer.push_str(&body);
    }
    let mut rest = answer.as_bytes();
    while !rest.is_empty() {
        client.set_write_timeout(Some(left(until)?))?;
        let count = client.write(rest)?;
        rest = &rest[count..];
    }
    client.shutdown(std::net::Shutdown::Write)?;
    // Unread input would make the system reset the connection, and the answer could be lost.
    while client.set_read_timeout(Some(left(until)?)).is_ok() && client.read(&mut [0; 1024])? > 0 {}
    Ok(())
}

fn left(until: Instant) -> std::io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A parsed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Metrics { head_only: bool },
    Root { head_only: bool },
    Other { head_only: bool },
    Method,
    Nonsense,
}

impl Asked {
    fn wants_head_only(self) -> bool {
        match self {
            Asked::Metrics { head_only } | Asked::Root { head_only } | Asked::Other { head_only } => head_only,
            Asked::Method | Asked::Nonsense => false,
        }
    }
}

/// Parses a request. `None` if its head is not complete yet.
fn read(head: &[u8]) -> Option<Asked> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) if head.len() < LONGEST_HEAD => return None,
        Ok(httparse::Status::Complete(_)) => {}
        _ => return Some(Asked::Nonsense),
    }
    let head_only = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Some(Asked::Method),
    };
    let path = request.path.unwrap_or_default();
    Some(match path.split('?').next().unwrap_or_default() {
        "/metrics" => Asked::Metrics { head_only },
        "/" => Asked::Root { head_only },
        _ => Asked::Other { head_only },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_understood_or_refused() {
        for (head, expected) in [
            (&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"[..], Some(Asked::Metrics { head_only: false })),
            (b"HEAD /metrics?x=1 HTTP/1.0\r\n\r\n", Some(Asked::Metrics { head_only: true })),
            (b"GET / HTTP/1.1\r\n\r\n", Some(Asked::Root { head_only: false })),
            (b"GET /metricsx HTTP/1.1\r\n\r\n", Some(Asked::Other { head_only: false })),
            (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", Some(Asked::Method)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Asked::Nonsense)),
            (b"\x16\x03\x01\x02\x00\x01\x00", Some(Asked::Nonsense)),
            (b"GET /metrics HTTP/1.1\r\nHost:", None),
            (b"", None),
        ] {
            assert_eq!(read(head), expected, "{}", String::from_utf8_lossy(head));
        }
        let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; LONGEST_HEAD]].concat();
        assert_eq!(read(&endless), Some(Asked::Nonsense));
    }
}
