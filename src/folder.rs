//! The configuration folder of the Python tool of this name: one file each for what is copied, where to, and by which hosts.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use multi_sync::command::entry::Printable;
use multi_sync::{Error, Result};

/// What is requested, by arguments or by these files.
pub struct Typed {
    /// SRC.
    pub sources: Vec<OsString>,
    /// DEST.
    pub destination: OsString,
    /// The parent of the bucket directory.
    pub buckets: Option<PathBuf>,
    /// The file that names the hosts; it may not exist.
    pub hosts_file: Option<OsString>,
}

impl Typed {
    /// Reads the files of the Python tool of this name.
    pub fn from_folder(folder: &Path, buckets: Option<PathBuf>) -> Result<Typed> {
        let lines = |name: &str, names: &[&str]| {
            let path = folder.join(name);
            let remedy = format!("write {} into it, a line each", names.join(" and "));
            let text = std::fs::read(&path).map_err(|cause| Error::io("read", &path, cause).remedy(&remedy).exit(1))?;
            let mut lines: Vec<OsString> = text
                .split(|byte| *byte == b'\n')
                .map(|line| OsStr::from_bytes(line.trim_ascii()).to_owned())
                .filter(|line| !line.is_empty() && !line.as_bytes().starts_with(b"#"))
                .collect();
            if lines.len() != names.len() {
                let place = lines.len().min(names.len()) + 1;
                let shown = Printable::path(&path).to_string();
                let what = match names.get(lines.len()) {
                    Some(missing) => format!("{shown}, line {place}: {missing} is missing"),
                    None => format!("{shown}, line {place}: nothing is expected after {}", names[names.len() - 1]),
                };
                return Err(Error::usage(what).remedy(remedy));
            }
            lines.reverse();
            Ok(lines)
        };
        let mut paths = lines("src_dest_path.txt", &["the source", "the destination"])?;
        let (source, destination) = (paths.pop().unwrap_or_default(), paths.pop().unwrap_or_default());
        let named = folder.join("buckets_path.txt");
        let buckets = match buckets {
            None if named.exists() => {
                lines("buckets_path.txt", &["the parent of the bucket directory"])?.pop().map(PathBuf::from)
            }
            typed => typed,
        };
        let hosts_file = Some(folder.join("src_ips_hosts.txt").into_os_string());
        Ok(Typed { sources: vec![source], destination, buckets, hosts_file })
    }
}
