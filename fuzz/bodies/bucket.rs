//! What is packed comes out of the bucket files: each argument once and in order, within the limits, and groups in one piece.

use std::collections::VecDeque;
use std::num::NonZero;

use multi_sync::bucket::{Bucket, BucketDir, GroupMember, Packer, Place, arguments};
use multi_sync::harness::rsync::command::argument_cost;
use multi_sync::scan::{Limits, Unit, Weight};

/// Takes the input as a bucket file, and as limits followed by calls of a packer.
pub fn check(data: &[u8]) {
    reads_back(data);
    let mut input = Input(data);
    let first = input.byte();
    let apart = first >= 128;
    let limits = Limits {
        entries: NonZero::new(1 + u64::from(first % 16)).unwrap(),
        bytes: NonZero::new(1 << (input.byte() % 64)).unwrap(),
    };
    let argument_limit = usize::from(input.byte()) * 4;
    let dir = BucketDir::create(None, &[], None).unwrap();
    let packer = Packer::new(limits, argument_limit, &dir).singles_apart(apart);
    let mut model = Model { limits, argument_limit, dir: &dir, packed: 0, next_id: 0, streams: Default::default() };
    while !input.0.is_empty() {
        let closed = if input.byte().is_multiple_of(2) {
            let prefix = input.name();
            let place = input.place();
            let units: Vec<_> = (0..input.byte() % 6).map(|_| (model.tagged(input.name()), input.weight())).collect();
            for (name, weight) in &units {
                let single = apart && weight.entries == 1;
                model.expect(vec![([&prefix, &name[..]].concat(), *weight)], place, single, !limits.hold(*weight));
            }
            packer.pack(&prefix, place, units.iter().map(|(name, weight)| Unit { name, weight: *weight }))
        } else {
            let members: Vec<_> = (0..input.byte() % 6)
                .map(|_| GroupMember {
                    argument: model.tagged(input.name()),
                    weight: input.weight(),
                    place: input.place(),
                })
                .collect();
            let place = Place {
                spine_before: members.iter().map(|member| member.place.spine_before).max().unwrap_or_default(),
                exposed: members.iter().any(|member| member.place.exposed),
            };
            if !members.is_empty() {
                model.expect(members.iter().map(|m| (m.argument.clone(), m.weight)).collect(), place, apart, false);
            }
            packer.pack_group(&members)
        };
        closed.unwrap().into_iter().for_each(|bucket| model.closed(bucket));
    }
    packer.finish().unwrap().into_iter().for_each(|bucket| model.closed(bucket));
    for stream in &model.streams {
        assert!(stream.queue.is_empty() && stream.alone.is_empty(), "lost: {stream:?}");
    }
    let path = dir.path().to_owned();
    dir.remove().unwrap();
    assert!(!path.exists());
}

/// A file that is torn at its end still gives all that is in it.
fn reads_back(file: &[u8]) {
    let seen: Vec<&[u8]> = arguments(file).collect();
    assert!(seen.iter().all(|argument| !argument.contains(&0)));
    assert_eq!(seen.join(&0), file.strip_suffix(b"\0").unwrap_or(file));
    assert_eq!(seen.is_empty(), file.is_empty());
}

/// What must come out.
struct Model<'a> {
    limits: Limits,
    argument_limit: usize,
    dir: &'a BucketDir,
    packed: u32,
    next_id: u64,
    /// Units in exposed places and others do not mix, nor do single names and subtrees if they are kept apart.
    streams: [Stream; 4],
}

#[derive(Debug, Default)]
struct Stream {
    queue: VecDeque<Together>,
    /// Units that exceed the limits, which do not wait for others.
    alone: VecDeque<Together>,
}

/// A unit, or a group.
#[derive(Debug)]
struct Together {
    arguments: Vec<Vec<u8>>,
    entries: u64,
    bytes: u128,
    spine_before: u32,
}

impl Model<'_> {
    /// Makes a name different from all others.
    fn tagged(&mut self, mut name: Vec<u8>) -> Vec<u8> {
        self.packed += 1;
        name.extend_from_slice(format!(" {}", self.packed).as_bytes());
        name
    }

    fn expect(&mut self, members: Vec<(Vec<u8>, Weight)>, place: Place, single: bool, alone: bool) {
        let stream = &mut self.streams[index(place.exposed, single)];
        let together = Together {
            entries: members.iter().map(|(_, weight)| weight.entries).sum(),
            bytes: members.iter().map(|(_, weight)| u128::from(weight.bytes)).sum(),
            arguments: members.into_iter().map(|(argument, _)| argument).collect(),
            spine_before: place.spine_before,
        };
        if alone { &mut stream.alone } else { &mut stream.queue }.push_back(together);
    }

    fn closed(&mut self, bucket: Bucket) {
        assert_eq!(bucket.id, self.next_id);
        self.next_id += 1;
        let file = self.dir.read(&bucket).unwrap();
        assert_eq!(std::fs::read(self.dir.file(bucket.id)).unwrap(), file);
        assert!(file.ends_with(b"\0"));
        let mut rest: Vec<&[u8]> = arguments(&file).collect();
        assert_eq!(rest.len() as u64, bucket.units, "{bucket:?}");
        assert_eq!(rest.iter().map(|argument| argument_cost(argument.len())).sum::<usize>(), bucket.argument_bytes);

        let stream = &mut self.streams[index(bucket.exposed, bucket.singles)];
        let is_next = |queue: &VecDeque<Together>, rest: &[&[u8]]| {
            queue.front().is_some_and(|next| next.arguments.first().is_some_and(|argument| argument == rest[0]))
        };
        let alone = is_next(&stream.alone, &rest);
        let queue = if alone { &mut stream.alone } else { &mut stream.queue };
        let mut taken = Vec::new();
        while !rest.is_empty() {
            assert!(is_next(queue, &rest), "{bucket:?}: {rest:?} instead of {:?}", queue.front());
            let together = queue.pop_front().unwrap();
            assert!(rest.len() >= together.arguments.len(), "{bucket:?} holds only a part of {together:?}");
            let (own, others) = rest.split_at(together.arguments.len());
            assert_eq!(own, together.arguments);
            rest = others.to_vec();
            taken.push(together);
        }
        assert!(!alone || taken.len() == 1, "{bucket:?}");

        let weight = weight(taken.iter());
        assert_eq!(bucket.weight, weight);
        assert_eq!(Some(bucket.spine_before), taken.iter().map(|together| together.spine_before).max());
        let fits =
            |weight: Weight, argument_bytes: usize| self.limits.hold(weight) && argument_bytes <= self.argument_limit;
        assert!(taken.len() == 1 || fits(weight, bucket.argument_bytes), "{bucket:?} is not within {:?}", self.limits);
        // It was closed because the next would not have fitted, or at the end.
        if let Some(next) = stream.queue.front().filter(|_| !alone) {
            let more: usize = next.arguments.iter().map(|argument| argument_cost(argument.len())).sum();
            let both = self::weight(taken.iter().chain([next]));
            assert!(!fits(both, bucket.argument_bytes + more), "{bucket:?} has room for {next:?}");
        }
    }
}

/// Of the stream of such units.
fn index(exposed: bool, single: bool) -> usize {
    usize::from(exposed) * 2 + usize::from(single)
}

/// The sum, which stops at the largest number of bytes.
fn weight<'a>(all: impl Iterator<Item = &'a Together>) -> Weight {
    let (entries, bytes) = all.fold((0, 0), |(entries, bytes), one| (entries + one.entries, bytes + one.bytes));
    Weight { entries, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
}

/// Reads the input piece by piece; at its end there are only zeros.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn name(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte() % 32);
        // Only a NUL cannot be in a name.
        (0..length).map(|_| self.byte().max(1)).collect()
    }

    fn weight(&mut self) -> Weight {
        let (entries, bytes) = (self.byte(), self.byte());
        Weight { entries: u64::from(entries % 20), bytes: u64::from(bytes) << (entries % 57) }
    }

    fn place(&mut self) -> Place {
        let byte = self.byte();
        Place { spine_before: u32::from(byte / 2), exposed: byte % 2 == 1 }
    }
}
