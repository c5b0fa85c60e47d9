//! The script of a batch job, in the form that sbatch reads.

use std::ffi::{OsStr, OsString};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use multi_sync::command::batch::Batch;
use multi_sync::command::shell::quote;

/// The exit code of a job whose node does not see the run directory: rsync's code for input files that cannot be selected.
pub const UNSEEN: u8 = 3;

/// What the job asks of Slurm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The number of nodes.
    pub nodes: NonZero<usize>,
    /// How many rsyncs run at once on all of them together, if given.
    pub rsyncs: Option<NonZero<usize>>,
    /// The partition.
    pub partition: Option<String>,
    /// The time limit, as sbatch reads it.
    pub time: Option<String>,
    /// Further arguments for sbatch.
    pub sbatch: Vec<String>,
}

impl Script {
    /// The script of a job that continues the run in `dir`.
    pub fn of_run(&self, program: &Path, dir: &Path) -> Vec<u8> {
        let batch = Batch::of(dir);
        let mut text = self.head(&["/dev/null"]);
        text.extend(b"# sbatch of this file continues the run; multi-sync status --follow shows its progress\n");
        let mut line = |parts: &[&[u8]]| {
            text.extend(parts.concat());
            text.push(b'\n');
        };
        let word = |path: &Path| quote(path.as_os_str());
        // This is checked first, because some shells end with a code of their own if they cannot write.
        line(&[b"[ -d ", &word(dir), b" ] || exit ", UNSEEN.to_string().as_bytes()]);
        line(&[b"exec >>", &word(&batch.output()), b" 2>&1 </dev/null || exit 3"]);
        line(&[b"echo \"$SLURM_JOB_ID\" >", &word(&batch.id())]);
        line(&[
            b"[ -x ",
            &word(program),
            b" ] || echo \"there is no multi-sync on $(uname -n), where the job begins\"",
        ]);
        line(&[b"exec ", &word(program), b" --requeue --resume ", &word(dir)]);
        text
    }

    /// The script of a job that begins a run with these arguments in `cwd`. The user may edit it before submitting it.
    pub fn of_copy(&self, program: &Path, words: &[OsString], cwd: &Path) -> Vec<u8> {
        let mut text = self.head(&[]);
        text.extend(b"# what the copy needs, such as module load rsync, goes here\n");
        text.extend(
            [b"cd ".as_slice(), &quote(cwd.as_os_str()), b" || exit 3\nexec ", &quote(program.as_os_str())].concat(),
        );
        text.extend(b" --requeue");
        for word in words {
            text.push(b' ');
            text.extend(plain_or_quoted(word));
        }
        text.push(b'\n');
        text
    }

    fn head(&self, output: &[&str]) -> Vec<u8> {
        let mut text = format!("#!/bin/sh\n# written by multi-sync {}\n", env!("CARGO_PKG_VERSION")).into_bytes();
        let mut line = |word: String| text.extend([b"#SBATCH ", &escaped(&word)[..], b"\n"].concat());
        line("--job-name=multi-sync".into());
        line(format!("--nodes={}", self.nodes));
        if let Some(rsyncs) = self.rsyncs {
            let nodes = self.nodes.get();
            line(format!("--ntasks-per-node={}", rsyncs.get().div_ceil(nodes)));
        }
        self.partition.iter().for_each(|name| line(format!("--partition={name}")));
        self.time.iter().for_each(|time| line(format!("--time={time}")));
        // The job survives the death of a node, and if it is queued again, its output is appended.
        ["--no-kill", "--requeue", "--open-mode=append"].into_iter().for_each(|word| line(word.into()));
        output.iter().for_each(|file| line(format!("--output={file}")));
        if !self.sbatch.is_empty() {
            let words: Vec<Vec<u8>> = self.sbatch.iter().map(|word| escaped(word)).collect();
            text.extend([b"#SBATCH ", &words.join(&b' ')[..], b"\n"].concat());
        }
        text
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_./=:,@+".contains(&byte)
}

/// Quotes a word for an `#SBATCH` line. Inside double quotes only a backslash and the closing quote are special there.
fn escaped(word: &str) -> Vec<u8> {
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.as_bytes().to_vec();
    }
    format!("\"{}\"", word.replace('\\', r"\\").replace('"', "\\\"")).into_bytes()
}

fn plain_or_quoted(word: &OsStr) -> Vec<u8> {
    let bytes = word.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(|byte| is_plain(*byte)) { bytes.to_vec() } else { quote(word) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script {
        Script {
            nodes: NonZero::new(4).unwrap(),
            rsyncs: NonZero::new(30),
            partition: Some("dtn".into()),
            time: Some("24:00:00".into()),
            sbatch: ["--account=x y", "#z", "a\"\\b"].map(String::from).to_vec(),
        }
    }

    #[test]
    fn words_of_sbatch_keep_their_meaning() {
        let text = String::from_utf8(script().of_run(Path::new("/bin/multi-sync"), Path::new("/r/it's"))).unwrap();
        for line in [
            "#SBATCH --nodes=4",
            "#SBATCH --ntasks-per-node=8",
            "#SBATCH --partition=dtn",
            "#SBATCH --time=24:00:00",
            "#SBATCH --output=/dev/null",
            r##"#SBATCH "--account=x y" "#z" "a\"\\b""##,
            r"[ -d '/r/it'\''s' ] || exit 3",
            r"exec >>'/r/it'\''s/job.out' 2>&1 </dev/null || exit 3",
            r"exec '/bin/multi-sync' --requeue --resume '/r/it'\''s'",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn a_script_that_begins_a_run_has_all_its_words() {
        let words = ["-p", "4", "-r", "-a --delete", "", "a\nb"].map(OsString::from);
        let one = Script { rsyncs: None, partition: None, time: None, sbatch: Vec::new(), ..script() };
        let text = String::from_utf8(one.of_copy(Path::new("/b"), &words, Path::new("/w d"))).unwrap();
        assert!(text.ends_with("cd '/w d' || exit 3\nexec '/b' --requeue -p 4 -r '-a --delete' '' 'a\nb'\n"), "{text}");
        assert!(!text.contains("--ntasks") && !text.contains("--output"), "{text}");
    }
}
