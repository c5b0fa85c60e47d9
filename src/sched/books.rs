//! The books: which work is open, and how each piece of work was settled. A complete run has nothing open.

use std::collections::{HashMap, HashSet};

/// A piece of work that has to be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Task {
    /// Copy this bucket.
    Copy(u64),
    /// Delete extraneous entries in the subtrees of this bucket.
    Clean(u64),
    /// Remove the single names of this bucket from the source.
    Remove(u64),
    /// Delete in the part of the split directories that begins here, or set their attributes.
    Part(usize),
}

/// Why a task is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    /// The task was left out, and the user was not told.
    SkippedSilently,
}

/// Proof that nothing is open. Only [`Books::close`] creates it.
#[derive(Debug, PartialEq)]
pub(crate) struct Closed(());

#[derive(Debug, Default)]
pub(crate) struct Books {
    open: HashMap<Task, State>,
    /// Buckets of which some names were left out. They are not complete, whatever their launch reports.
    cut: HashSet<u64>,
}

impl Books {
    pub fn open(&mut self, tasks: impl IntoIterator<Item = Task>) {
        self.open.extend(tasks.into_iter().map(|task| (task, State::Waiting)));
    }

    pub fn starts(&mut self, tasks: impl IntoIterator<Item = Task>) {
        for task in tasks {
            self.open.entry(task).and_modify(|state| *state = State::Running);
        }
    }

    /// The tasks are done, whatever the exit code of the launch.
    pub fn done(&mut self, tasks: impl IntoIterator<Item = Task>) {
        for task in tasks {
            self.open.remove(&task);
        }
    }

    /// Nothing of these tasks can be launched. `told` means that the user knows why.
    pub fn skip(&mut self, tasks: impl IntoIterator<Item = Task>, told: bool) {
        for task in tasks {
            if told {
                self.open.remove(&task);
            } else {
                self.open.insert(task, State::SkippedSilently);
            }
        }
    }

    /// Closes the books of a run that has ended.
    ///
    /// # Errors
    /// A message that says what is still open.
    pub fn close(&self) -> Result<Closed, String> {
        self.complaint().map_or(Ok(Closed(())), Err)
    }

    /// A single rsync has done everything.
    pub fn settle_all(&mut self) {
        self.open.clear();
    }

    pub fn cut(&mut self, bucket: u64) {
        self.cut.insert(bucket);
    }

    pub fn is_cut(&self, bucket: u64) -> bool {
        self.cut.contains(&bucket)
    }

    /// How many buckets are still to be copied.
    pub fn buckets_left(&self) -> u64 {
        self.open.keys().filter(|task| matches!(task, Task::Copy(_))).count() as u64
    }

    /// What is still open in a run that is about to end as complete; `None` if nothing is.
    fn complaint(&self) -> Option<String> {
        let count = |is: &dyn Fn(&Task) -> bool| self.open.keys().filter(|task| is(task)).count();
        let parts = count(&|task| matches!(task, Task::Part(_)));
        let (buckets, other) = (self.buckets_left(), self.open.len() - parts);
        (!self.open.is_empty()).then(|| {
            format!(
                "{} buckets were not accounted for ({buckets} of them not copied), and {parts} parts of the split directories: this is an \
                 error in multi-sync, and the copy is not complete",
                other
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_done_nor_told_is_reported() {
        let mut books = Books::default();
        assert_eq!(books.complaint(), None);
        books.open((0..4).map(Task::Copy));
        books.starts([Task::Copy(0), Task::Copy(1)]);
        books.done([Task::Copy(0)]);
        books.skip([Task::Copy(2)], true);
        books.skip([Task::Copy(3)], false);
        assert_eq!(books.buckets_left(), 2);
        assert!(books.complaint().unwrap().starts_with("2 buckets were not accounted for (2 of them not copied)"));
        // A bucket that comes again is done again.
        books.open([Task::Copy(3)]);
        books.done([Task::Copy(1), Task::Copy(3)]);
        assert_eq!((books.complaint(), books.buckets_left()), (None, 0));
        books.open([Task::Part(0), Task::Clean(2)]);
        assert!(
            books.complaint().unwrap().contains("1 buckets were not accounted for (0 of them not copied), and 1 parts")
        );
        books.settle_all();
        assert_eq!(books.complaint(), None);
    }

    #[test]
    fn a_bucket_that_was_cut_stays_so() {
        let mut books = Books::default();
        books.cut(7);
        books.done([Task::Copy(7)]);
        assert!(books.is_cut(7) && !books.is_cut(8));
    }
}
