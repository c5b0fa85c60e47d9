//! The packer: decides which units share a bucket, and when a bucket is full.

use std::sync::{Mutex, MutexGuard};

use crate::error::Result;
use crate::rsync::command::argument_cost;
use crate::scan::{Limits, Unit, Weight};

use super::{Bucket, BucketDir, Content, Place};

/// Packs units into buckets in the order in which they come. Several threads use it at once.
///
/// Each unit is in exactly one bucket. A bucket is within the limits, and its arguments are within `argument_limit`, unless it contains a single unit. Units
/// that are packed as a group stay together.
#[derive(Debug)]
pub struct Packer<'a> {
    argument_limit: usize,
    singles_apart: bool,
    dir: &'a BucketDir,
    open: Mutex<Opened>,
}

/// The buckets that are being filled: one for each kind of units.
#[derive(Debug)]
struct Opened {
    limits: Limits,
    next_id: u64,
    kinds: [Open; 4],
}

impl Opened {
    fn of(&mut self, exposed: bool, singles: bool) -> (&mut Open, &mut u64) {
        (&mut self.kinds[usize::from(exposed) * 2 + usize::from(singles)], &mut self.next_id)
    }
}

/// One unit of a group that must stay together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The rsync argument.
    pub argument: Vec<u8>,
    /// Its weight.
    pub weight: Weight,
    /// Where it lies.
    pub place: Place,
}

#[derive(Debug, Default)]
struct Open {
    arguments: Vec<u8>,
    weight: Weight,
    units: u64,
    place: Place,
    singles: bool,
}

impl<'a> Packer<'a> {
    /// A packer that writes into `dir`. `argument_limit` is in bytes, with what each argument costs a new process; it is `usize::MAX` for lists that are
    /// not arguments of a process.
    pub fn new(limits: Limits, argument_limit: usize, dir: &'a BucketDir) -> Self {
        let open = Mutex::new(Opened { limits, next_id: 0, kinds: Default::default() });
        Packer { argument_limit, singles_apart: false, dir, open }
    }

    /// Sets other limits for all units that come from now on.
    pub fn limit(&self, limits: Limits) {
        self.lock().limits = limits;
    }

    /// Numbers buckets from `id` upwards.
    #[must_use]
    pub(crate) fn starting_at(self, id: u64) -> Self {
        self.lock().next_id = id;
        self
    }

    /// If `apart`, single names do not share a bucket with subtrees.
    #[must_use]
    pub fn singles_apart(mut self, apart: bool) -> Self {
        self.singles_apart = apart;
        self
    }

    /// Packs units of one directory: `prefix` and the unit's name make the argument. Returns the buckets that were closed by this, often none.
    ///
    /// # Errors
    /// A bucket file could not be written; the run cannot go on.
    ///
    /// ```
    /// use std::num::NonZero;
    /// use multi_sync::{bucket::{BucketDir, Packer, Place}, scan::{Limits, Unit, Weight}};
    ///
    /// let dir = BucketDir::create(None, &[], None).unwrap();
    /// let limits = Limits { entries: NonZero::new(2).unwrap(), bytes: NonZero::<u64>::MAX };
    /// let packer = Packer::new(limits, 1 << 20, &dir);
    /// let unit = |name| Unit { name, weight: Weight { entries: 1, bytes: 10 } };
    /// let closed = packer.pack(b"./d/", Place::default(), [unit(b"a"), unit(b"b"), unit(b"c")].into_iter()).unwrap();
    /// assert_eq!(closed.len(), 1);
    /// assert_eq!(dir.read(&closed[0]).unwrap(), b"./d/a\0./d/b\0");
    /// assert_eq!(packer.finish().unwrap()[0].units, 1); // what is left: ./d/c
    /// ```
    pub fn pack<'u>(&self, prefix: &[u8], place: Place, units: impl Iterator<Item = Unit<'u>>) -> Result<Vec<Bucket>> {
        let mut closed = Vec::new();
        let mut opened = self.lock();
        let limits = opened.limits;
        for unit in units {
            let singles = self.singles_apart && unit.weight.entries == 1;
            let (open, next_id) = opened.of(place.exposed, singles);
            let argument = [prefix, unit.name];
            if !limits.hold(unit.weight) {
                // Such a unit gets a bucket of its own at once, and the bucket of its neighbours stays open.
                let mut alone = Open { singles, ..Open::default() };
                alone.add(argument, unit.weight, place);
                closed.push(self.close(&mut alone, next_id)?);
                continue;
            }
            if open.units > 0 && !self.fits(limits, open, unit.weight, argument_cost(prefix.len() + unit.name.len())) {
                closed.push(self.close(open, next_id)?);
            }
            open.add(argument, unit.weight, place);
            open.singles = singles;
        }
        Ok(closed)
    }

    /// Packs units that must stay together whatever the limits, such as the names of one inode. Returns closed buckets, as [`Packer::pack`] does.
    ///
    /// # Errors
    /// As [`Packer::pack`].
    pub fn pack_group(&self, members: &[GroupMember]) -> Result<Vec<Bucket>> {
        let mut group = Open::default();
        for member in members {
            group.add([&member.argument, b""], member.weight, member.place);
        }
        let mut closed = Vec::new();
        let mut opened = self.lock();
        let limits = opened.limits;
        let (open, next_id) = opened.of(group.place.exposed, self.singles_apart);
        if open.units > 0 && !self.fits(limits, open, group.weight, group.argument_bytes()) {
            closed.push(self.close(open, next_id)?);
        }
        open.merge(&group);
        open.singles = self.singles_apart;
        Ok(closed)
    }

    /// Closes the remaining buckets: at most one for each kind of units.
    ///
    /// # Errors
    /// As [`Packer::pack`].
    pub fn finish(&self) -> Result<Vec<Bucket>> {
        let mut opened = self.lock();
        let mut closed = Vec::new();
        let Opened { next_id, kinds, .. } = &mut *opened;
        for open in kinds.iter_mut().filter(|open| open.units > 0) {
            closed.push(self.close(open, next_id)?);
        }
        Ok(closed)
    }

    fn lock(&self) -> MutexGuard<'_, Opened> {
        self.open.lock().expect("a thread that packs panicked")
    }

    fn fits(&self, limits: Limits, open: &Open, weight: Weight, argument_bytes: usize) -> bool {
        limits.hold(open.weight + weight) && open.argument_bytes() + argument_bytes <= self.argument_limit
    }

    fn close(&self, open: &mut Open, next_id: &mut u64) -> Result<Bucket> {
        let id = *next_id;
        self.dir.write(id, &open.arguments)?;
        *next_id += 1;
        let bucket = Bucket {
            id,
            weight: open.weight,
            units: open.units,
            argument_bytes: open.argument_bytes(),
            spine_before: open.place.spine_before,
            exposed: open.place.exposed,
            singles: open.singles,
            content: Content::of(&open.arguments),
        };
        open.arguments.clear();
        *open = Open { arguments: std::mem::take(&mut open.arguments), ..Open::default() };
        Ok(bucket)
    }
}

impl Open {
    /// Adds a unit, whose argument comes in two parts.
    fn add(&mut self, argument: [&[u8]; 2], weight: Weight, place: Place) {
        self.count(weight, 1, place);
        argument.into_iter().for_each(|part| self.arguments.extend_from_slice(part));
        self.arguments.push(0);
    }

    fn merge(&mut self, other: &Open) {
        self.count(other.weight, other.units, other.place);
        self.arguments.extend_from_slice(&other.arguments);
    }

    fn count(&mut self, weight: Weight, units: u64, place: Place) {
        self.weight += weight;
        self.units += units;
        self.place.spine_before = self.place.spine_before.max(place.spine_before);
        self.place.exposed |= place.exposed;
    }

    fn argument_bytes(&self) -> usize {
        // `argument_cost(0)` counts the NUL of each argument, but `arguments` already contains it.
        self.arguments.len() + self.units as usize * argument_cost(0) - self.units as usize
    }
}
