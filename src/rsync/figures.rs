//! The figures of `--stats`: reads the block that rsync prints, and adds up the blocks of several rsyncs.

/// Entries by kind, as rsync counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Regular files.
    pub reg: u64,
    /// Directories.
    pub dir: u64,
    /// Symbolic links.
    pub link: u64,
    /// Devices.
    pub dev: u64,
    /// Sockets and FIFOs.
    pub special: u64,
}

impl Counts {
    /// The number of all entries.
    pub fn total(&self) -> u64 {
        self.named().into_iter().map(|(_, count)| count).sum()
    }

    /// The counts, each with rsync's name for it.
    pub fn named(&self) -> [(&'static str, u64); 5] {
        let Counts { reg, dir, link, dev, special } = *self;
        [("reg", reg), ("dir", dir), ("link", link), ("dev", dev), ("special", special)]
    }

    /// Reads `6 (reg: 3, dir: 3)`.
    fn read(text: &str) -> Option<Counts> {
        let total = leading_number(text)?;
        let mut counts = Counts::default();
        let kinds = text.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
        for kind in kinds.map_or("", |(kinds, _)| kinds).split(", ").filter(|kind| !kind.is_empty()) {
            let (name, count) = kind.split_once(": ")?;
            let count = leading_number(count)?;
            match name {
                "reg" => counts.reg = count,
                "dir" => counts.dir = count,
                "link" => counts.link = count,
                "dev" => counts.dev = count,
                _ => counts.special += count,
            }
        }
        // The rest is counted as files, for an rsync that does not print the kinds.
        counts.reg += total.saturating_sub(counts.total());
        Some(counts)
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.reg += other.reg;
        self.dir += other.dir;
        self.link += other.link;
        self.dev += other.dev;
        self.special += other.special;
    }
}

/// The sums that rsync prints with `--stats`, of one launch or added over many. The fields are described in rsync's words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// "Number of files".
    pub files: Counts,
    /// "Number of created files".
    pub created: Counts,
    /// "Number of deleted files".
    pub deleted: Counts,
    /// "Number of regular files transferred".
    pub transferred: u64,
    /// "Total file size", bytes.
    pub total_size: u64,
    /// "Total transferred file size", bytes.
    pub transferred_bytes: u64,
    /// "Literal data", bytes.
    pub literal: u64,
    /// "Matched data", bytes.
    pub matched: u64,
    /// "File list size", bytes.
    pub list_size: u64,
    /// "File list generation time", milliseconds.
    pub list_made: u64,
    /// "File list transfer time", milliseconds.
    pub list_sent: u64,
    /// "Total bytes sent".
    pub sent: u64,
    /// "Total bytes received".
    pub received: u64,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Figures) {
        self.files += other.files;
        self.created += other.created;
        self.deleted += other.deleted;
        self.transferred += other.transferred;
        self.total_size += other.total_size;
        self.transferred_bytes += other.transferred_bytes;
        self.literal += other.literal;
        self.matched += other.matched;
        self.list_size += other.list_size;
        self.list_made += other.list_made;
        self.list_sent += other.list_sent;
        self.sent += other.sent;
        self.received += other.received;
    }
}

impl Figures {
    /// The sums over launches, each with rsync's name for it, in rsync's order.
    pub fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("Number of created files", self.created.total()),
            ("Number of deleted files", self.deleted.total()),
            ("Number of regular files transferred", self.transferred),
            ("Total transferred file size", self.transferred_bytes),
            ("Literal data", self.literal),
            ("Matched data", self.matched),
            ("Total bytes sent", self.sent),
            ("Total bytes received", self.received),
        ]
    }

    /// Without the entries that each launch found, so that only the changes remain.
    #[must_use]
    pub fn of_changes(self) -> Figures {
        Figures { files: Counts::default(), total_size: 0, ..self }
    }

    /// Takes a line of the block. Returns `None` if the line is not part of it, otherwise whether it was understood.
    pub(super) fn take(&mut self, label: &str, rest: &str) -> Option<bool> {
        let counts = match label {
            "Number of files" => Some(&mut self.files),
            "Number of created files" => Some(&mut self.created),
            "Number of deleted files" => Some(&mut self.deleted),
            _ => None,
        };
        if let Some(counts) = counts {
            return Some(Counts::read(rest).map(|read| *counts = read).is_some());
        }
        let field = match label {
            "Number of regular files transferred" => &mut self.transferred,
            "Total file size" => &mut self.total_size,
            "Total transferred file size" => &mut self.transferred_bytes,
            "Literal data" => &mut self.literal,
            "Matched data" => &mut self.matched,
            "File list size" => &mut self.list_size,
            "File list generation time" => {
                self.list_made = milliseconds(rest);
                return Some(true);
            }
            "File list transfer time" => {
                self.list_sent = milliseconds(rest);
                return Some(true);
            }
            "Total bytes sent" => &mut self.sent,
            "Total bytes received" => &mut self.received,
            _ => return None,
        };
        Some(leading_number(rest).map(|number| *field = number).is_some())
    }
}

fn milliseconds(text: &str) -> u64 {
    let seconds = text.split(' ').next().and_then(|number| number.replace(',', "").parse::<f64>().ok());
    (seconds.unwrap_or(0.0) * 1000.0).round() as u64
}

/// A number in digits, possibly with separators, but not in units (`--human-readable`).
pub(super) fn leading_number(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(text.len());
    let rounded = text[end..].starts_with(|c: char| c == '.' || c.is_alphabetic());
    if rounded { None } else { text[..end].replace(',', "").parse().ok() }
}
