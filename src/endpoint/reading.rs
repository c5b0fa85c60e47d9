//! Which words name another machine. This is only the grammar; nothing is checked here.

use super::DaemonForm;

/// How rsync reads a word, before anything is checked. A test asks rsync itself about random words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading<'a> {
    Local,
    Shell {
        machine: Machine<'a>,
        path: &'a [u8],
    },
    Daemon {
        form: DaemonForm,
        machine: Machine<'a>,
        /// The digits after the colon, possibly none.
        port: Option<&'a [u8]>,
        /// Module and path, without the slash that ends the host of a URL.
        rest: &'a [u8],
    },
    /// `rsync://` without `[user@]host[:port]` after it: rsync falls back to a host called `rsync`.
    BrokenUrl,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Machine<'a> {
    pub user: Option<&'a [u8]>,
    pub host: &'a [u8],
}

impl<'a> Reading<'a> {
    /// Reads a word.
    pub fn of(word: &'a [u8]) -> Self {
        const SCHEME: &[u8] = b"rsync://";
        match word.split_at_checked(SCHEME.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(SCHEME) => {
                Self::url(rest).unwrap_or(Reading::BrokenUrl)
            }
            _ => Self::colon(word).unwrap_or(Reading::Local),
        }
    }

    fn url(word: &'a [u8]) -> Option<Self> {
        let (machine, rest) = Machine::split(word)?;
        let (port, rest) = match rest.strip_prefix(b":") {
            Some(rest) => {
                let (digits, rest) = rest.split_at(rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
                (Some(digits), rest)
            }
            None => (None, rest),
        };
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix(b"/")? };
        Some(Reading::Daemon { form: DaemonForm::Url, machine, port, rest })
    }

    fn colon(word: &'a [u8]) -> Option<Self> {
        let (machine, rest) = Machine::split(word)?;
        let path = rest.strip_prefix(b":")?;
        Some(match path.strip_prefix(b":") {
            Some(rest) => Reading::Daemon { form: DaemonForm::DoubleColon, machine, port: None, rest },
            None => Reading::Shell { machine, path },
        })
    }
}

impl<'a> Machine<'a> {
    /// Splits `[user@]host` from what follows: a colon, a slash or nothing. `None` if there is an opening bracket that does not enclose the whole host: rsync
    /// does not see a machine then.
    fn split(word: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut start = 0;
        let mut end = word.len();
        for (index, byte) in word.iter().enumerate() {
            match byte {
                b'@' => start = index + 1,
                b'[' if index == start => {
                    let inside = &word[index + 1..];
                    let length = inside.iter().position(|byte| matches!(byte, b']' | b'/'))?;
                    let (host, rest) = (&inside[..length], inside[length..].strip_prefix(b"]")?);
                    let ended = matches!(rest, [] | [b':' | b'/', ..]);
                    return (ended && !host.is_empty()).then_some((Machine { user: user(word, start), host }, rest));
                }
                b'[' => return None,
                b'/' | b':' => {
                    end = index;
                    break;
                }
                _ => {}
            }
        }
        Some((Machine { user: user(word, start), host: &word[start..end] }, &word[end..]))
    }
}

/// The text before the `@` that ends just before `start`.
fn user(word: &[u8], start: usize) -> Option<&[u8]> {
    Some(&word[..start.checked_sub(1)?])
}
