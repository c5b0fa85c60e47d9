//! Which thread receives a signal. The kernel prefers the main thread, and then leaves the signal to it. While the main thread waits for a file system that
//! hangs, `^C` would have no effect. So all threads block these signals, except the one that waits for them.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use libc::{SIG_BLOCK, SIG_SETMASK, SIGHUP, SIGINT, SIGTERM, SIGUSR1, c_int, sigset_t};

const SIGNALS: [c_int; 4] = [SIGHUP, SIGINT, SIGTERM, SIGUSR1];

/// The previous mask, which processes that are started get.
static BEFORE: OnceLock<sigset_t> = OnceLock::new();

/// Blocks SIGHUP, SIGINT, SIGTERM and SIGUSR1 in this thread, and in those that it starts, until this value goes.
#[derive(Debug)]
#[must_use = "it lasts as long as this value"]
pub struct Masked(());

impl Masked {
    /// Call it before the first thread is started.
    #[expect(clippy::new_without_default, reason = "a default value must not change the mask of a thread")]
    pub fn new() -> Masked {
        let signals = set(&SIGNALS);
        let before = mask(SIG_BLOCK, &signals);
        let _ = BEFORE.set(before);
        Masked(())
    }

    /// Lets this thread receive them.
    pub fn lift(&self) {
        restore();
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether a signal is ignored. multi-sync ignores none itself.
pub fn signal_is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    ignored.is_some_and(|ignored| ignored & (1 << (signal - 1)) != 0)
}

/// Restores mask and dispositions in a forked child that is about to execute its program. Until then the handlers of its parent would run in it, and write to a
/// pipe of the parent. This is async-signal-safe.
#[expect(unsafe_code, reason = "the disposition of a signal is set")]
pub(super) fn restore_in_child() {
    for signal in SIGNALS {
        // SAFETY: neither of the two dispositions has a handler.
        unsafe {
            if libc::signal(signal, libc::SIG_DFL) == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
    }
    restore();
}

fn restore() {
    if let Some(before) = BEFORE.get() {
        mask(SIG_SETMASK, before);
    }
}

#[expect(unsafe_code, reason = "sigemptyset and sigaddset fill a set")]
fn set(signals: &[c_int]) -> sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initializes the set, and sigaddset gets it after that.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Returns the previous mask.
#[expect(unsafe_code, reason = "pthread_sigmask gets pointers")]
fn mask(how: c_int, signals: &sigset_t) -> sigset_t {
    let mut before = set(&[]);
    // SAFETY: both sets are initialized and live.
    unsafe { libc::pthread_sigmask(how, ptr::from_ref(signals), ptr::from_mut(&mut before)) };
    before
}
