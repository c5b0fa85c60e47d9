//! What a simulation is told, and what it tells.

/// What is made up.
#[derive(Debug, Clone)]
pub struct Site {
    /// How many hosts.
    pub hosts: usize,
    /// rsyncs at once on each.
    pub slots: usize,
    /// How many times longer work takes on the first hosts; on the others once.
    pub slow: Vec<f64>,
    /// Seconds that a launch takes by itself, that an entry takes, and a byte.
    pub launch: f64,
    /// See `launch`.
    pub entry: f64,
    /// See `launch`.
    pub byte: f64,
    /// The real time of a bucket is that of the model times a factor that nobody knows before: the spread of its logarithm.
    pub misjudged: f64,
    /// Each so many seconds a host is lost.
    pub lost_each: Option<f64>,
    /// Until that is noticed, and until the host is back.
    pub noticed_after: f64,
    /// See `noticed_after`.
    pub back_after: f64,
    /// The part of launches that has to be repeated: by turns because of an entry, and because its connection broke.
    pub repeated: f64,
    /// Entries that the scan finds in a second.
    pub scan_rate: f64,
    /// Buckets for each split directory.
    pub buckets_a_directory: u64,
    /// Where chance begins.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// What the scan found.
    pub buckets: u64,
    /// See `buckets`.
    pub entries: u64,
    /// See `buckets`.
    pub bytes: u64,
    /// Seconds from the beginning to the end of the last launch.
    pub makespan: f64,
    /// No schedule is shorter: all work at the speed of all hosts that are there, and the longest bucket at that of the fastest.
    pub bound: f64,
    /// When nothing waited any more, and when the last launch that copies ended.
    pub drained: f64,
    /// See `drained`.
    pub copied: f64,
    /// Launches, and those that were lost or repeated.
    pub launches: u64,
    /// See `launches`.
    pub repeated: u64,
    /// Seconds of work that had to be done again.
    pub lost_work: f64,
    /// Messages that the coordinator has heard.
    pub events: u64,
    /// Times that it has looked at what it knows.
    pub looks: u64,
    /// Bytes of the journal.
    pub journal: u64,
}
