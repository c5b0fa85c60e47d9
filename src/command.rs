//! The parts of the library that the command `multi-sync` uses in addition to [`job`](crate::job): it reads sizes, hosts and rsync's options as the library
//! does, and prints names as it does. This is not part of the public API, and changes without notice.

pub mod batch {
    pub use crate::hosts::{JobState, PATIENCE};
    pub use crate::job::status::{Followed, FollowedEnd, News, finished, follow};
    pub use crate::job::submitted::{Prepared, prepare, take_back};
    pub use crate::run_dir::Batch;
}
pub mod config {
    pub use crate::config::{
        Config, DEFAULT_FILES, DEFAULT_HOST_TIMEOUT, DEFAULT_RETRIES, DEFAULT_RSYNC, DEFAULT_SIZE, Depth, MOST_THREADS,
        PROGRAM, largest_processes, most_processes,
    };
}
pub mod endpoint {
    pub use crate::endpoint::{Addresses, Destination, Ends, Source};
}
pub mod entry {
    pub use crate::entry::{Printable, as_json};
}
pub mod exit {
    pub use crate::rsync::exit::{INTERRUPTED, IPC, OK, PARTIAL, USAGE, meaning};
}
pub mod far {
    pub use crate::far::serve;
}
pub mod hosts {
    pub use crate::hosts::{Host, Wanted, parse_file, parse_list, reach};
}
pub mod options {
    pub use crate::guard::refuse as refuse_limit;
    pub use crate::recheck::options as asking;
    pub use crate::rsync::options::{Aliases, Class, CommandLine, Opt, Options, nearest, similar, specs};
}
pub mod outlet {
    pub use crate::outlet::{Outlet, ReportFile, USUAL_INTERVAL};
}
pub mod report {
    pub use crate::report::Summary;
    pub use crate::report::progress::{ProgressLine, line};
}
pub mod runs {
    pub use crate::job::set::set;
    pub use crate::job::status::{Form, list, of};
    pub use crate::job::what_to_type;
    pub use crate::run_dir::{Keep, find, forget, list as below, word};
    pub use crate::state::place;
}
pub mod shell {
    pub use crate::rsync::command::{Invocation, Quoted};
    pub use crate::shell::quote;
}
pub mod size {
    pub use crate::size::{Size, human, parse_count};
}
pub mod steer {
    pub use crate::steer::{Request, Timetable, until};
}
pub mod supervise {
    pub use crate::supervise::{Ended, Guardian, Masked, Stop, Supervisor, signal_is_ignored};
}
pub mod temporary {
    pub use crate::temporary::usual;
}
pub mod thread {
    pub use crate::thread::{refused, start};
}
