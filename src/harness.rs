//! The test kit, the benchmark, and internals for tests: for the tests, benches, fuzz targets, examples and scripts of this package. This is not part of the
//! public API, and changes without notice.

use crate::bucket::{Bucket, Content};
use crate::scan::Weight;

/// A bucket without a file, for tests that only need weights.
pub fn bucket(id: u64, weight: Weight, spine_before: u32) -> Bucket {
    let content = Content::default();
    Bucket { id, weight, units: 10, argument_bytes: 400, spine_before, exposed: false, singles: false, content }
}

pub mod bench {
    pub use crate::bench::*;
}
pub mod config {
    pub use crate::config::{Config, DEFAULT_FILES, DEFAULT_SIZE};
}
pub mod cost {
    pub use crate::cost::CostModel;
}
pub mod endpoint {
    pub use crate::endpoint::{Destination, Form, Source, Target};
}
pub mod engine {
    pub use crate::engine::{Control, Ledger, run, run_recorded};
}
pub mod entry {
    pub use crate::entry::{Kind, Printable};
}
pub mod error {
    pub use crate::error::{EXIT_FILE_IO, EXIT_IPC, EXIT_USAGE};
}
pub mod far {
    pub use crate::far::*;
    pub use crate::supervise::{Invocation, Stop, Supervisor};
}
pub mod first_pass {
    pub use crate::first_pass::{Role, can_be_apart, listed};
}
pub mod guard {
    pub use crate::guard::{counting, keeping};
}
pub mod hosts {
    pub use crate::hosts::{Agents, Way, parse_list};
}
pub mod journal {
    pub use crate::run_dir::journal::*;
}
pub mod names {
    pub use crate::names::fold;
}
pub mod plan {
    pub use crate::plan::fallback::listed as fallback_rules;
    pub use crate::plan::{Plan, Strategy};
}
pub mod queue {
    pub use crate::queue::{Coalesce, Queue};
}
pub mod recheck {
    pub use crate::recheck::options;
}
pub mod report {
    pub use crate::report::{Event, Summary};
}
pub mod rsync {
    pub mod command {
        pub use crate::rsync::command::{LookedAt, argument_cost, looked_at};
    }
    pub mod exit {
        pub use crate::rsync::exit::RunCode;
    }
    pub mod filter {
        pub use crate::rsync::filter::{Filters, unescape};
    }
    pub mod listing {
        pub use crate::rsync::listing::{Line, read, read_link};
    }
    pub mod messages {
        pub use crate::rsync::messages::{Message, Side, read};
    }
    pub mod options {
        pub use crate::rsync::options::*;
    }
}
pub mod run_dir {
    pub use crate::run_dir::Asked;
    pub use crate::run_dir::layout::JOURNAL;
}
pub mod selftest {
    pub use crate::selftest::*;
}
pub mod simulation {
    pub use crate::engine::simulation::{Chance, Figures, Site, run};
}
pub mod size {
    pub use crate::size::{Size, human, human_rate, parse_count};
}
pub mod survey {
    pub use crate::scan::Watch;
    pub use crate::survey::{Report, Request, run};
}
pub mod treegen {
    pub use crate::treegen::*;
}
pub mod trial {
    pub use crate::trial::*;
}
pub mod verify {
    pub use crate::verify::*;
}
