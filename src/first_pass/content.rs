//! Copies the content of a file: shared (reflink), copied by the kernel, or read and written.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, SeekFrom, copy_file_range, fadvise, ftruncate, ioctl_ficlone, seek};
use rustix::io::{Errno, Result, pread, pwrite};

use super::Watch;
use super::pace::{LOOK_EVERY, Pace};

/// The number of bytes that are read and written at once.
const BUFFER: usize = 256 << 10;
/// The number of bytes that the kernel is asked to copy in one call, at first and at most. If a call takes longer than `LONG_TIME`, the next one gets fewer,
/// because a request to stop is only seen between two calls. Copying 8 GiB on ext4, from the page cache, took 8.6 s with 16 MiB per call and 6.2 s with 256 MiB
/// (medians of 4).
const RANGE: usize = 16 << 20;
const LONGEST_RANGE: usize = 1 << 30;
const LONG_TIME: Duration = Duration::from_millis(250);
/// For smaller files, a further system call costs more than it saves.
const LEAST_RANGE: u64 = 128 << 10;
/// From this size on, the kernel is advised to read ahead.
const LONG: u64 = 1 << 20;
/// The unit in which file systems allocate: only whole blocks of zeros, at multiples of this offset, become holes.
const BLOCK: u64 = 4096;

/// The ways of copying that work between this source and this destination, as far as found out.
#[derive(Debug)]
pub struct Ways {
    share: AtomicBool,
    range: AtomicBool,
}

impl Default for Ways {
    fn default() -> Ways {
        Ways { share: AtomicBool::new(true), range: AtomicBool::new(true) }
    }
}

/// What a thread needs for copying.
pub struct Hand<'a> {
    buffer: Box<[MaybeUninit<u8>]>,
    ways: &'a Ways,
    pace: Option<&'a Pace>,
    watch: &'a dyn Watch,
}

impl<'a> Hand<'a> {
    pub fn new(ways: &'a Ways, pace: Option<&'a Pace>, watch: &'a dyn Watch) -> Hand<'a> {
        let most = pace.map_or(BUFFER, Pace::most).min(BUFFER);
        Hand { buffer: Box::new_uninit_slice(most), ways, pace, watch }
    }

    pub fn goes_on(&self) -> bool {
        self.watch.goes_on()
    }

    /// Copies a file of this size to an empty one, both from the beginning. `sparse`: zeros become holes. `holes`: the source has holes.
    ///
    /// # Errors
    /// The copy failed, the file has fewer bytes than `size`, or the run is ending.
    pub fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        size: u64,
        sparse: bool,
        holes: bool,
    ) -> Result<()> {
        if size == 0 {
            return Ok(());
        }
        // With a limit, files are neither shared nor copied by the kernel, because these bytes cannot be limited.
        let at_once = self.pace.is_none();
        if at_once && self.ways.share.load(Ordering::Relaxed) {
            match ioctl_ficlone(to, from) {
                Ok(()) => {
                    self.watch.made(0, size);
                    return Ok(());
                }
                Err(errno) => {
                    self.ways.share.store(false, Ordering::Relaxed);
                    if matches!(errno, Errno::NOSPC | Errno::DQUOT | Errno::IO) {
                        return Err(errno);
                    }
                }
            }
        }
        let mut copied = 0;
        if size >= LONG {
            // A failure does not matter, because this is only advice.
            let _ = fadvise(from, 0, None, Advice::Sequential);
        }
        if at_once && !sparse && size >= LEAST_RANGE && self.ways.range.load(Ordering::Relaxed) {
            copied = self.by_kernel(from, to, size)?;
        }
        if copied < size {
            self.by_hand(from, to, copied, size, sparse, holes)?;
        }
        Ok(())
    }

    /// Lets the kernel copy, and returns how many bytes it has copied.
    fn by_kernel(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Result<u64> {
        let mut copied = 0;
        let mut range = RANGE;
        while copied < size {
            if !self.goes_on() {
                return Err(Errno::CANCELED);
            }
            let (mut at, mut end) = (copied, copied);
            let wanted = (range as u64).min(size - copied) as usize;
            let began = Instant::now();
            match copy_file_range(from, Some(&mut at), to, Some(&mut end), wanted) {
                // Some file systems return 0 even before the end of the file.
                Ok(0) => break,
                Ok(count) => {
                    copied += count as u64;
                    self.watch.made(0, count as u64);
                    range = next_range(range, began.elapsed());
                }
                Err(Errno::INTR) => {}
                Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => return Err(errno),
                Err(_) => {
                    self.ways.range.store(false, Ordering::Relaxed);
                    break;
                }
            }
        }
        Ok(copied)
    }

    fn by_hand(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        begin: u64,
        size: u64,
        sparse: bool,
        holes: bool,
    ) -> Result<()> {
        let mut at = begin;
        let mut written = at;
        while at < size {
            if !self.goes_on() {
                return Err(Errno::CANCELED);
            }
            if sparse && holes {
                match seek(from, SeekFrom::Data(at)) {
                    Ok(data) => at = data,
                    // The rest of the file is a hole.
                    Err(Errno::NXIO) => break,
                    Err(_) => {}
                }
                if at >= size {
                    break;
                }
            }
            let wanted = self.buffer.len().min((size - at) as usize);
            let bytes: &[u8] = match pread(from, &mut self.buffer[..wanted], at) {
                Ok((bytes, _)) => bytes,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            if bytes.is_empty() {
                return Err(Errno::NODATA);
            }
            written = if sparse { write_sparse(to, bytes, at, written)? } else { write(to, bytes, at)? };
            at += bytes.len() as u64;
            self.watch.made(0, bytes.len() as u64);
            pay(self.pace, bytes.len(), self.watch)?;
        }
        if written < size { ftruncate(to, size) } else { Ok(()) }
    }
}

/// The size of the next call, after one of this size took this long.
fn next_range(range: usize, took: Duration) -> usize {
    if took > LONG_TIME {
        (range / 2).max(RANGE)
    } else if took < LONG_TIME / 2 {
        (range * 2).min(LONGEST_RANGE)
    } else {
        range
    }
}

/// Waits until the limit allows this many bytes.
fn pay(pace: Option<&Pace>, bytes: usize, watch: &dyn Watch) -> Result<()> {
    let Some(pace) = pace else { return Ok(()) };
    let until = Instant::now() + pace.take(bytes as u64, Instant::now());
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        if !watch.goes_on() {
            return Err(Errno::CANCELED);
        }
        std::thread::sleep(left.min(LOOK_EVERY));
    }
}

/// Writes all the bytes, and returns the offset of their end.
fn write(to: BorrowedFd<'_>, mut bytes: &[u8], mut at: u64) -> Result<u64> {
    while !bytes.is_empty() {
        match pwrite(to.as_fd(), bytes, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => {
                at += count as u64;
                bytes = bytes.get(count..).unwrap_or_default();
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(at)
}

/// Writes everything except blocks of zeros. `written` is the end of the data written before; returns its new value.
fn write_sparse(to: BorrowedFd<'_>, bytes: &[u8], at: u64, mut written: u64) -> Result<u64> {
    const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
    let mut rest = bytes;
    let mut place = at;
    while !rest.is_empty() {
        // Finds a sequence of blocks to write, and a block to skip after it.
        let mut full = 0;
        let mut skipped = 0;
        while full < rest.len() {
            let end = rest.len().min(full + (BLOCK - (place + full as u64) % BLOCK) as usize);
            let block = &rest[full..end];
            if *block == ZEROS[..block.len()] {
                skipped = block.len();
                break;
            }
            full = end;
        }
        if full > 0 {
            written = write(to, &rest[..full], place)?;
        }
        rest = &rest[full + skipped..];
        place += (full + skipped) as u64;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::sync::atomic::AtomicU64;

    use super::*;

    struct All;

    impl Watch for All {
        fn goes_on(&self) -> bool {
            true
        }
        fn made(&self, _: u64, _: u64) {}
    }

    /// Copies these bytes to a new file, and returns its content and the number of 512-byte blocks that it occupies.
    fn copied(bytes: &[u8], sparse: bool, ways: &Ways, pace: Option<&Pace>) -> (Vec<u8>, u64) {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, bytes).unwrap();
        let (source, target) = (File::open(&from).unwrap(), File::create(&to).unwrap());
        let mut hand = Hand::new(ways, pace, &All);
        hand.copy(source.as_fd(), target.as_fd(), bytes.len() as u64, sparse, true).unwrap();
        (fs::read(&to).unwrap(), target.metadata().unwrap().blocks())
    }

    #[test]
    fn every_way_copies_the_same() {
        let by_hand = || Ways { share: AtomicBool::new(false), range: AtomicBool::new(false) };
        let mut large = vec![b'x'; BUFFER + 5000];
        large[BLOCK as usize * 2..BLOCK as usize * 9].fill(0);
        large.resize(3 * BUFFER, 0);
        let mut odd = vec![0; 10_000];
        odd[4095] = 1;
        let pace = Pace::new(std::num::NonZero::new(100 << 20).unwrap());
        for bytes in [&b""[..], b"x", &[0; 4096], &[0; 5000], &odd, &large] {
            for ways in [Ways::default(), by_hand()] {
                for sparse in [false, true] {
                    assert_eq!(copied(bytes, sparse, &ways, None).0, bytes, "{} {sparse} {ways:?}", bytes.len());
                    assert_eq!(copied(bytes, sparse, &ways, Some(&pace)).0, bytes, "{} {sparse}", bytes.len());
                }
            }
        }
        let (full, few) = (copied(&large, false, &by_hand(), None).1, copied(&large, true, &by_hand(), None).1);
        assert!(full == 0 || few < full, "{few} of {full} blocks");
    }

    #[test]
    fn the_kernel_is_asked_for_no_more_than_it_copies_in_a_moment() {
        let (fast, right, slow) = (LONG_TIME / 10, LONG_TIME / 2, LONG_TIME * 4);
        assert_eq!([fast, right, slow].map(|took| next_range(4 * RANGE, took)), [8 * RANGE, 4 * RANGE, 2 * RANGE]);
        assert_eq!(next_range(RANGE, slow), RANGE);
        assert_eq!(next_range(LONGEST_RANGE, fast), LONGEST_RANGE);
    }

    #[test]
    fn a_source_with_holes_is_copied_with_them_if_that_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let source = File::create_new(&from).unwrap();
        source.write_all_at(b"middle", 5 << 20).unwrap();
        source.set_len(9 << 20).unwrap();
        let (source, target) = (File::open(&from).unwrap(), File::create(&to).unwrap());
        let ways = Ways { share: AtomicBool::new(false), range: AtomicBool::new(false) };
        Hand::new(&ways, None, &All).copy(source.as_fd(), target.as_fd(), 9 << 20, true, true).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
    }

    #[test]
    fn what_is_shorter_than_it_was_or_not_wanted_any_more_is_an_error() {
        struct For(AtomicU64);
        impl Watch for For {
            fn goes_on(&self) -> bool {
                self.0.fetch_sub(1, Ordering::Relaxed) > 1
            }
            fn made(&self, _: u64, _: u64) {}
        }
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::write(&from, vec![1; 3 * BUFFER]).unwrap();
        let source = File::open(&from).unwrap();
        let ways = Ways { share: AtomicBool::new(false), range: AtomicBool::new(false) };
        let target = || File::create(dir.path().join("to")).unwrap();
        let mut hand = Hand::new(&ways, None, &All);
        assert_eq!(hand.copy(source.as_fd(), target().as_fd(), 1 << 20, false, false), Err(Errno::NODATA));
        let watch = For(AtomicU64::new(2));
        let mut hand = Hand::new(&ways, None, &watch);
        assert_eq!(hand.copy(source.as_fd(), target().as_fd(), 3 * BUFFER as u64, false, false), Err(Errno::CANCELED));
    }
}
