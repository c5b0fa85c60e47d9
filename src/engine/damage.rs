//! Random damage to a run directory: files are cut, changed, exchanged, removed or added. A resumed run must then either end with an error, or treat as done
//! only what was recorded as done, launch only names that were found, and scan the rest again. If something had failed, it must either repeat that or show it
//! in its exit code.
//!
//! `DAMAGES=100000 cargo test --lib damage` tries more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use crate::bucket::{self, Bucket, BucketDir, Packer, Place};
use crate::rsync::exit;
use crate::run_dir::Asked;
use crate::run_dir::journal::{Journal, Name, Record};
use crate::scan::{Limits, Unit, Weight};

use super::Ledger;
use super::ledger::{Known, bucket_record};

const DAMAGES: u64 = 3000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

/// A run that was killed twice: the files of its directory, and the truth about it.
struct World {
    files: BTreeMap<PathBuf, Vec<u8>>,
    asked: Asked,
    units: BTreeSet<Vec<u8>>,
    done: BTreeSet<Vec<u8>>,
    failed: BTreeSet<Vec<u8>>,
}

impl World {
    fn make(parent: &Path, letter: &str) -> World {
        let buckets = BucketDir::create(Some(parent), &[], None).unwrap();
        let dir = buckets.path();
        let asked = Asked::new(&["-a", "src/", "D"].map(OsString::from), Path::new("/here"), "3.5.0".into());
        asked.write(dir, true).unwrap();
        let limits = Limits { entries: NonZero::new(3).unwrap(), bytes: NonZero::<u64>::MAX };
        let names: Vec<String> = (0..24).map(|n| format!("{letter}{n}")).collect();
        let pack = |from: u64, names: &[String]| -> Vec<Bucket> {
            let packer = Packer::new(limits, 1 << 20, &buckets).starting_at(from);
            let units =
                names.iter().map(|name| Unit { name: name.as_bytes(), weight: Weight { entries: 1, bytes: 9 } });
            let mut packed = packer.pack(b"./d/", Place::default(), units).unwrap();
            packed.extend(packer.finish().unwrap());
            packed
        };
        let done = |ids: &[u64], code| Record::Done {
            launch: ids[0],
            code,
            sender_failed: false,
            again: false,
            buckets: ids.to_vec(),
        };
        let started = |ids: &[u64]| Record::Started { launch: ids[0], buckets: ids.to_vec() };
        // The run is killed during the scan: 0 is done, 1 has failed, 2 and 3 will be packed again.
        let (mut journal, _) = Journal::open(dir, asked.run()).unwrap();
        let first = pack(0, &names[..12]);
        for bucket in &first {
            journal.append(&bucket_record(bucket)).unwrap();
        }
        let name = Name::new(format!("{letter}4").into_bytes());
        let failed = Record::Failed {
            phase: "copy".into(),
            code: exit::PARTIAL,
            buckets: vec![1],
            names: vec![(name.clone(), name)],
        };
        for record in [started(&[0]), done(&[0], 0), started(&[1]), failed, done(&[1], exit::PARTIAL), started(&[2])] {
            journal.append(&record).unwrap();
        }
        drop(journal);
        // The run is killed when everything was found.
        let (mut journal, _) = Journal::open(dir, asked.run()).unwrap();
        let second = pack(4, &names[6..]);
        for bucket in &second {
            journal.append(&bucket_record(bucket)).unwrap();
        }
        let scanned = Record::Scanned { entries: 24, bytes: 216 };
        for record in [started(&[4]), scanned, done(&[4], 0), started(&[5, 6]), done(&[5, 6], 0), started(&[7])] {
            journal.append(&record).unwrap();
        }
        drop(journal);
        let of =
            |bucket: &Bucket| bucket::arguments(&buckets.read(bucket).unwrap()).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let whole = [&first[0], &second[0], &second[1], &second[2]];
        let mut files = BTreeMap::new();
        let mut todo = vec![dir.to_owned()];
        while let Some(folder) = todo.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    todo.push(path);
                } else {
                    files.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
                }
            }
        }
        World {
            files,
            asked,
            units: names.iter().map(|name| format!("./d/{name}").into_bytes()).collect(),
            done: whole.into_iter().flat_map(of).collect(),
            failed: of(&first[1]).into_iter().collect(),
        }
    }

    /// Decides what a resumed run would do with these files. An error says why that would be wrong.
    fn judge(&self, dir: &Path) -> Result<&'static str, String> {
        let Ok(asked) = Asked::read(dir) else { return Ok("no plan") };
        if asked != self.asked {
            return Err(format!("another command line: {asked:?}"));
        }
        let buckets = BucketDir::open(dir, &[]).unwrap();
        let opened = Ledger::open(dir, asked.run(), true).and_then(|mut ledger| {
            ledger.check(&buckets, false)?;
            Ok(ledger)
        });
        let Ok(ledger) = opened else { return Ok("no journal") };
        let Ok(known) = Known::of(ledger.before(), &buckets) else { return Ok("no bucket") };
        let says_so = ledger.before().done.values().any(|code| *code == exit::PARTIAL);
        let is_done = |unit: &Vec<u8>, launched: &BTreeSet<Vec<u8>>| match known.complete {
            Some(_) => !launched.contains(unit),
            None => known.is_done(&[unit]),
        };
        let mut launched = BTreeSet::new();
        for bucket in known.complete.iter().flat_map(|complete| &complete.buckets) {
            let Ok(file) = buckets.read(bucket) else { return Ok("no bucket") };
            launched.extend(bucket::arguments(&file).map(<[u8]>::to_vec));
        }
        if let Some(unknown) = launched.difference(&self.units).next() {
            return Err(format!("a name that was not found: {}", unknown.escape_ascii()));
        }
        for unit in self.units.iter().filter(|unit| is_done(unit, &launched)) {
            if !(self.done.contains(unit) || says_so && self.failed.contains(unit)) {
                return Err(format!("taken for done: {}", unit.escape_ascii()));
            }
        }
        Ok(if known.complete.is_some() { "goes on" } else { "scans again" })
    }
}

/// Damages a file or two, and says how.
fn damage(random: &mut Random, files: &mut BTreeMap<PathBuf, Vec<u8>>, other: &World) -> String {
    let names: Vec<PathBuf> = files.keys().cloned().collect();
    // Every second damage concerns the journal.
    let journal = PathBuf::from(crate::run_dir::layout::JOURNAL);
    let name = if random.below(2) == 0 { journal } else { names[random.below(names.len())].clone() };
    let second = names[random.below(names.len())].clone();
    let bytes = files[&name].clone();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let (at, line, to) = (random.below(bytes.len()), random.below(lines.len()), random.below(lines.len()));
    let kind = random.below(13);
    let mut whole = bytes.clone();
    match kind {
        0 => whole.truncate(at),
        1 => whole[at..].iter_mut().take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        2 => {
            let length = random.below(64);
            whole[at..].iter_mut().take(length).for_each(|byte| *byte = 0);
        }
        3 => {
            files.insert(name.clone(), files[&second].clone());
            files.insert(second.clone(), bytes.clone());
            return format!("{name:?} and {second:?} exchanged");
        }
        4 => {
            files.remove(&name);
            return format!("{name:?} removed");
        }
        5 => whole = files[&second].clone(),
        6 => whole.extend(&files[&second]),
        7 => whole = other.files.get(&name).cloned().unwrap_or_default(),
        8 => whole.extend(other.files.get(&name).into_iter().flatten()),
        9 => whole = [&lines[..line], &lines[(line + 1).min(lines.len())..]].concat().concat(),
        10 => {
            whole = [&lines[..line], &lines[line.min(lines.len() - 1)..=line.min(lines.len() - 1)], &lines[line..]]
                .concat()
                .concat()
        }
        11 => {
            let mut lines = lines.clone();
            lines.swap(line, to);
            whole = lines.concat();
        }
        _ => {
            let length = random.below(40);
            whole.drain(at..(at + length).min(bytes.len()));
        }
    }
    files.insert(name.clone(), whole);
    format!("{name:?}: kind {kind} at byte {at}, line {line} to {to}, {second:?}")
}

#[test]
fn whatever_is_damaged_nothing_is_taken_for_done_that_is_not() {
    let count = std::env::var("DAMAGES").map_or(DAMAGES, |text| text.parse().expect("DAMAGES is a number"));
    // Many files are written that are read only once, so that memory is preferred.
    let shm = Path::new("/dev/shm");
    let above = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() };
    let above = above.unwrap();
    let (world, other) = (World::make(above.path(), "u"), World::make(above.path(), "o"));
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..count {
        let mut random = Random(seed);
        let mut files = world.files.clone();
        let mut how = Vec::new();
        for _ in 0..=random.below(3) {
            if files.len() > 1
                && files.contains_key(Path::new(crate::run_dir::layout::JOURNAL))
                && files.values().all(|file| !file.is_empty())
            {
                how.push(damage(&mut random, &mut files, &other));
            }
        }
        let dir = tempfile::tempdir_in(above.path()).unwrap();
        for (name, bytes) in &files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        // With the plan of the other run, this is the other run, and nothing else of the first one may be used.
        let is_other = Asked::read(dir.path()).is_ok_and(|asked| asked == other.asked);
        match if is_other { &other } else { &world }.judge(dir.path()) {
            Ok(end) => *seen.entry(end).or_default() += 1,
            Err(wrong) => panic!("seed {seed}: {wrong}\n{}", how.join("\n")),
        }
    }
    println!("{count} damages: {seen:?}");
    // Every way to end must occur in at least one of 20 cases. Otherwise the damage is too weak, or too strong, to test anything.
    let often = |end: &&str| seen.get(*end).is_some_and(|cases| cases * 20 >= count);
    assert!(count < 1000 || ["goes on", "scans again", "no plan", "no journal"].iter().all(often), "{seen:?}");
}
