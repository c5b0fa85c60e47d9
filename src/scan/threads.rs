//! How many threads read a tree: one per core, and more if the threads mostly wait for another machine or another process.

use std::num::NonZero;
use std::path::Path;

use super::Root;

/// The number of threads for file systems whose data come from elsewhere. With 1 ms for each lookup (`scripts/compare.sh --slow --scan-threads N`), 5,000
/// files in one directory took 3.4 s with 2 threads, 1.1 s with 8, 0.7 s with 16, 0.4 s with 32, 64 and 128. More would not help, and a server has other
/// clients too.
const WAITING: NonZero<usize> = NonZero::new(32).unwrap();

/// File systems whose data come over a network or from another process: magic numbers from statfs(2), or from the list in `stat -f` of coreutils.
const ELSEWHERE: [u32; 24] = [
    0x0000_6969, // NFS
    0x0000_517b, // SMB
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x0bd0_0bd0, // Lustre
    0x4750_4653, // GPFS
    0x00c3_6400, // Ceph
    0x1983_0326, // BeeGFS
    0x6573_5546, // FUSE, virtiofs
    0x0102_1997, // 9p
    0x5346_414f, // OpenAFS
    0x6b41_4653, // AFS
    0x7375_7245, // Coda
    0x0000_564c, // NCP
    0xaad7_aaea, // PanFS
    0x2003_0528, // OrangeFS
    0xbeef_dead, // StorNext
    0x7461_636f, // OCFS2
    0x0116_1970, // GFS2
    0x6163_6673, // ACFS
    0xbacb_acbc, // VMware shared folders
    0x786f_4256, // VirtualBox shared folders
    0x7c7c_6673, // Parallels shared folders
    0x1803_1977, // WekaFS
];

/// The default number of threads for a scan of these roots.
pub fn usual_threads<'r>(roots: impl IntoIterator<Item = &'r Root>) -> NonZero<usize> {
    let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let waits = |root: &Root| is_elsewhere(&root.path());
    if roots.into_iter().any(waits) { cores.max(WAITING) } else { cores }
}

/// Whether the data at this path come over a network or from another process.
pub fn is_elsewhere(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| ELSEWHERE.contains(&(found.f_type as u32)))
}
