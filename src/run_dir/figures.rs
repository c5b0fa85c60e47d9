//! What a running process says of its progress, for who asks from outside.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::report::Progress;

use super::layout::{NEW_PROGRESS, PROGRESS};

/// Puts this progress in the place of what was there. It saves nobody any work: the disk need not have it, and that it cannot be written is no
/// error.
pub fn note_progress(dir: &Path, progress: &Progress) {
    let text = serde_json::to_vec(progress).expect("progress is plain data");
    let new = dir.join(NEW_PROGRESS);
    let _ = fs::write(&new, text).and_then(|()| fs::rename(&new, dir.join(PROGRESS)));
}

/// The last that was written, if there is any, and when that was.
pub fn noted_progress(dir: &Path) -> Option<(Progress, SystemTime)> {
    let path = dir.join(PROGRESS);
    let progress = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    Some((progress, fs::metadata(&path).and_then(|found| found.modified()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Weight;
    use std::time::Duration;

    #[test]
    fn progress_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(noted_progress(dir.path()), None);
        for entries in [1, 2] {
            let done = Weight { entries, bytes: 7 };
            let left = Some(Duration::from_millis(1500));
            let progress = Progress { done, left, running: 3, ..Progress::default() };
            note_progress(dir.path(), &progress);
            assert_eq!(noted_progress(dir.path()).map(|(progress, _)| progress), Some(progress));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(dir.path().join(PROGRESS), "{").unwrap();
        assert_eq!(noted_progress(dir.path()), None);
    }
}
