//! The books: what is still to be done, and by what it was settled. A run that came to its end has nothing open.

use std::collections::{HashMap, HashSet};

/// Work that has to be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Task {
    /// This bucket is to be copied.
    Copy(u64),
    /// In the subtrees of this bucket is to be deleted.
    Clean(u64),
    /// The single names of this bucket are to be removed from the source.
    Remove(u64),
    /// In the part of the spine that begins here is to be deleted, or its attributes are to be set.
    Part(usize),
}

/// What is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    /// Left out, and nobody was told.
    SkippedSilently,
}

/// Nothing is open. Only [`Books::close`] makes it.
#[derive(Debug, PartialEq)]
pub(crate) struct Closed(());

#[derive(Debug, Default)]
pub(crate) struct Books {
    open: HashMap<Task, State>,
    /// Buckets of which names were left out: whatever their launch says, they are not complete.
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

    /// Done, with whatever code.
    pub fn done(&mut self, tasks: impl IntoIterator<Item = Task>) {
        for task in tasks {
            self.open.remove(&task);
        }
    }

    /// Nothing of it can be launched; `told` if the user was told so.
    pub fn skip(&mut self, tasks: impl IntoIterator<Item = Task>, told: bool) {
        for task in tasks {
            if told {
                self.open.remove(&task);
            } else {
                self.open.insert(task, State::SkippedSilently);
            }
        }
    }

    /// Closes the books of a run that came to its end.
    ///
    /// # Errors
    /// Something is open: says what.
    pub fn close(&self) -> Result<Closed, String> {
        self.complaint().map_or(Ok(Closed(())), Err)
    }

    /// One rsync has done everything.
    pub fn settle_all(&mut self) {
        self.open.clear();
    }

    pub fn cut(&mut self, bucket: u64) {
        self.cut.insert(bucket);
    }

    pub fn is_cut(&self, bucket: u64) -> bool {
        self.cut.contains(&bucket)
    }

    /// Buckets that are still to be copied.
    pub fn buckets_left(&self) -> u64 {
        self.open.keys().filter(|task| matches!(task, Task::Copy(_))).count() as u64
    }

    /// What is wrong with a run that thinks that it came to its end; `None` if nothing is.
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
        // It comes again, and is done.
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
