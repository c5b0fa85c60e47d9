//! The input of a simulation, and its result.

/// The made-up site.
#[derive(Debug, Clone)]
pub struct Site {
    /// The number of hosts.
    pub hosts: usize,
    /// The number of rsyncs at once on each host.
    pub slots: usize,
    /// How many times longer work takes on the first hosts. For all others this is 1.
    pub slow: Vec<f64>,
    /// The seconds that a launch takes besides its work, that an entry takes, and that a byte takes.
    pub launch: f64,
    /// See `launch`.
    pub entry: f64,
    /// See `launch`.
    pub byte: f64,
    /// The real time of a bucket is that of the model times an unpredictable factor. This is the standard deviation of the factor's logarithm.
    pub misjudged: f64,
    /// A host is lost each time this many seconds have passed.
    pub lost_each: Option<f64>,
    /// The seconds until the loss is noticed, and until the host is back.
    pub noticed_after: f64,
    /// See `noticed_after`.
    pub back_after: f64,
    /// The part of the launches that have to be repeated, alternately because of an entry and because of a broken connection.
    pub repeated: f64,
    /// The entries that the scan finds per second.
    pub scan_rate: f64,
    /// The number of buckets per split directory.
    pub buckets_a_directory: u64,
    /// The seed of the pseudo-random numbers.
    pub seed: u64,
}

/// The result.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// What the scan found.
    pub buckets: u64,
    /// See `buckets`.
    pub entries: u64,
    /// See `buckets`.
    pub bytes: u64,
    /// The seconds from the start to the end of the last launch.
    pub makespan: f64,
    /// No schedule could be shorter: all work at the speed of all available hosts, or the longest bucket on the fastest host.
    pub bound: f64,
    /// When nothing waited any more, and when the last launch that copies ended.
    pub drained: f64,
    /// See `drained`.
    pub copied: f64,
    /// The launches, and those of them that were lost or repeated.
    pub launches: u64,
    /// See `launches`.
    pub repeated: u64,
    /// The seconds of work that had to be done again.
    pub lost_work: f64,
    /// The messages that the coordinator received.
    pub events: u64,
    /// How often the coordinator computed the progress.
    pub looks: u64,
    /// The size of the journal in bytes.
    pub journal: u64,
}
