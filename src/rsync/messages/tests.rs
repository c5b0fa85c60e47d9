//! Lines as rsync 3.5.0 and 3.2.7 print them (they do not differ unless noted), and some of 3.1, which does not name the speaker.

use super::*;
use About::*;
use Form::{InModule, InTransfer, Path};
use Side::{Generator, Receiver, Sender, Unknown};

type Expected<'a> = (&'a [u8], Side, About, Option<u32>, &'a [(&'a [u8], Form)]);

fn check(rows: &[Expected<'_>]) {
    for (line, side, about, errno, names) in rows {
        let shown = String::from_utf8_lossy(line);
        let message = read(line).unwrap_or_else(|| panic!("{shown}"));
        assert_eq!((message.side, message.about, message.errno), (*side, *about, *errno), "{shown}");
        let found = message.names();
        let found: Vec<(&[u8], Form)> = found.iter().map(|name| (&name.bytes[..], name.form)).collect();
        assert_eq!(found, *names, "{shown}");
    }
}

#[test]
fn each_message_has_its_side_its_meaning_and_its_name() {
    check(&[
        (
            br#"rsync: [sender] link_stat "/w/s/none" failed: No such file or directory (2)"#,
            Sender,
            LookedUp,
            Some(2),
            &[(b"/w/s/none", Path)],
        ),
        (
            br#"rsync: [sender] opendir "/w/s/b" failed: Permission denied (13)"#,
            Sender,
            List,
            Some(13),
            &[(b"/w/s/b", Path)],
        ),
        (
            br#"rsync: [generator] opendir "/w/d/b" failed: Not a directory (20)"#,
            Generator,
            There,
            Some(20),
            &[(b"/w/d/b", Path)],
        ),
        (
            br#"rsync: [sender] readlink_stat("/s/l") failed: Permission denied (13)"#,
            Sender,
            List,
            Some(13),
            &[(b"/s/l", Path)],
        ),
        (br#"rsync: [sender] readdir("/s/d"): Input/output error (5)"#, Sender, List, Some(5), &[(b"/s/d", Path)]),
        (
            br#"rsync: [sender] send_files failed to open "/s/f": Permission denied (13)"#,
            Sender,
            File,
            Some(13),
            &[(b"/s/f", Path)],
        ),
        (
            br#"rsync: [sender] read errors mapping "/s/f": Input/output error (5)"#,
            Sender,
            File,
            Some(5),
            &[(b"/s/f", Path)],
        ),
        (br#"file has vanished: "/s/f""#, Sender, Vanished, None, &[(b"/s/f", Path)]),
        (br#"directory has vanished: "/s/d""#, Sender, Vanished, None, &[(b"/s/d", Path)]),
        (br#"symlink has no referent: "/s/l""#, Sender, List, None, &[(b"/s/l", Path)]),
        (b"skipping overly long name: a/nnn", Sender, List, None, &[(b"a/nnn", InTransfer)]),
        (b"filename overflows max-path len by 7: a/b/ccc", Sender, List, None, &[(b"a/b/ccc", InTransfer)]),
        (
            b"[sender] cannot convert filename: a/\\#377 (Invalid or incomplete multibyte or wide character)",
            Sender,
            List,
            None,
            &[(b"a/\xff", InTransfer)],
        ),
        (
            br#"rsync: [generator] recv_generator: mkdir "/w/d/a/b" failed: Permission denied (13)"#,
            Generator,
            Directory,
            Some(13),
            &[(b"/w/d/a/b", Path)],
        ),
        (
            br#"rsync: [generator] recv_generator: failed to stat "/d/a/f": Too many levels of symbolic links (40)"#,
            Generator,
            There,
            Some(40),
            &[(b"/d/a/f", Path)],
        ),
        (
            br#"rsync: [Receiver] mkdir "D2" (in few2) failed: File exists (17)"#,
            Receiver,
            Dest,
            Some(17),
            &[(b"D2", InModule)],
        ),
        (
            br#"rsync: [receiver] mkstemp "/d/a/.f1.Fvzw2s" failed: Permission denied (13)"#,
            Receiver,
            Entry,
            Some(13),
            &[(b"/d/a/.f1.Fvzw2s", Path)],
        ),
        (
            br#"rsync: [receiver] rename "/d/a/.f1.OV35fp" -> "a/f1": Operation not permitted (1)"#,
            Receiver,
            Entry,
            Some(1),
            &[(b"a/f1", InTransfer)],
        ),
        (
            br#"rsync: [receiver] rename "a/.f1.OV35fp" (in mod) -> "a/f1": Operation not permitted (1)"#,
            Receiver,
            Entry,
            Some(1),
            &[(b"a/f1", InTransfer)],
        ),
        (
            br#"rsync: [receiver] rename failed for "/d/a/f1" (from a/.~tmp~/f1): Operation not permitted (1)"#,
            Receiver,
            Entry,
            Some(1),
            &[(b"/d/a/f1", Path)],
        ),
        (
            br#"rsync: [generator] symlink "/d/a/l" -> "tgt" failed: Permission denied (13)"#,
            Generator,
            Entry,
            Some(13),
            &[(b"/d/a/l", Path)],
        ),
        (
            br#"rsync: [generator] link "/d/c/h" => a/f1 failed: Too many links (31)"#,
            Generator,
            Entry,
            Some(31),
            &[(b"/d/c/h", Path)],
        ),
        // 3.2.7 creates even a new one under a temporary name.
        (
            br#"rsync: [generator] mknod "/d/a/.p.8948" failed: Permission denied (13)"#,
            Generator,
            Entry,
            Some(13),
            &[(b"/d/a/.p.8948", Path)],
        ),
        (
            br#"rsync: [generator] delete_file: unlink(a/z/k) failed: Permission denied (13)"#,
            Generator,
            Deletion,
            Some(13),
            &[(b"a/z/k", InTransfer)],
        ),
        (
            br#"rsync: [receiver] open "/d/f" failed: Permission denied (13)"#,
            Receiver,
            Content,
            Some(13),
            &[(b"/d/f", Path)],
        ),
        (
            br#"rsync: [receiver] write failed on "/m/big": No space left on device (28)"#,
            Receiver,
            Content,
            Some(28),
            &[(b"/m/big", Path)],
        ),
        (
            br#"rsync: [receiver] backup mkdir /w/bak/a failed: Permission denied (13)"#,
            Receiver,
            Entry,
            Some(13),
            &[(b"/w/bak/a", InTransfer)],
        ),
        (
            br#"rsync: [generator] failed to set times on "/d/o": Operation not permitted (1)"#,
            Generator,
            Times,
            Some(1),
            &[(b"/d/o", Path)],
        ),
        (
            br#"rsync: [receiver] chown "/d/.o.Ab12Cd" failed: Operation not permitted (1)"#,
            Receiver,
            Attributes,
            Some(1),
            &[(b"/d/.o.Ab12Cd", Path)],
        ),
        (
            br#"rsync: [receiver] rsync_xal_set: lsetxattr("/d/f","user.x") failed: Operation not supported (95)"#,
            Receiver,
            Attributes,
            Some(95),
            &[(b"/d/f", Path)],
        ),
        (b"could not make way for new regular file: a/f1", Generator, InTheWay, None, &[(b"a/f1", InTransfer)]),
        (b"could not make way for new directory: c", Generator, Blocked, None, &[(b"c", InTransfer)]),
        (b"ERROR: a/f failed verification -- update discarded.", Receiver, Content, None, &[(b"a/f", InTransfer)]),
        (b"skipping non-regular file \"a/p\"", Unknown, Skipped, None, &[(b"a/p", InTransfer)]),
        (b"IO error encountered -- skipping file deletion", Sender, Follows, None, &[]),
        (b"*** Skipping any contents from this failed directory ***", Generator, Follows, None, &[]),
        (b"@ERROR: max connections (2) reached -- try again later", Receiver, NoPlace, None, &[]),
        (b"rsync: connection unexpectedly closed (8 bytes received so far) [sender]", Unknown, Other, None, &[]),
        // 3.1 does not name the speaker.
        (
            br#"rsync: mkstemp "/d/.f.Ab12Cd" failed: Permission denied (13)"#,
            Receiver,
            Entry,
            Some(13),
            &[(b"/d/.f.Ab12Cd", Path)],
        ),
        (br#"rsync: opendir "/s/d" failed: Permission denied (13)"#, Unknown, List, Some(13), &[(b"/s/d", Path)]),
    ]);
}

#[test]
fn names_decide_nothing() {
    check(&[
        (
            br#"rsync: [sender] send_files failed to open "/[receiver] x/f [generator] mkdir "a" failed: x (13)": Input/output error (5)"#,
            Sender,
            File,
            Some(5),
            &[(br#"/[receiver] x/f [generator] mkdir "a" failed: x (13)"#, Path)],
        ),
        (
            br#"rsync: [generator] recv_generator: mkdir "/d/di" failed: x (1)" failed: Permission denied (13)"#,
            Generator,
            Directory,
            Some(13),
            &[(br#"/d/di" failed: x (1)"#, Path)],
        ),
        (
            br#"rsync: [receiver] mkstemp "/d/a/." -> ".DK5Ssd" failed: Permission denied (13)"#,
            Receiver,
            Entry,
            Some(13),
            &[(br#"/d/a/." -> ".DK5Ssd"#, Path)],
        ),
        // With such names the line is ambiguous, so it has to be checked which of them exists.
        (
            br#"rsync: [generator] symlink "/d/sl" -> "x" -> "t" failed: Permission denied (13)"#,
            Generator,
            Entry,
            Some(13),
            &[(b"/d/sl", Path), (br#"/d/sl" -> "x"#, Path)],
        ),
        (
            br#"rsync: [generator] delete_file: unlink(a) failed: y (2)) failed: Permission denied (13)"#,
            Generator,
            Deletion,
            Some(13),
            &[(b"a) failed: y (2)", InTransfer)],
        ),
        // In a locale with single-byte characters, and in one with UTF-8.
        (br#"file has vanished: "/s/caf\#303\#251 \#377\#012\#134#012""#, Sender, Vanished, None, &[(b"/s/caf\xc3\xa9 \xff\n\\#012", Path)]),
        (
            "file has vanished: \"/s/café \\#377\tx\"".as_bytes(),
            Sender,
            Vanished,
            None,
            &[(b"/s/caf\xc3\xa9 \xff\tx", Path)],
        ),
    ]);
}

#[test]
fn what_others_say_is_not_rsyncs() {
    for line in [
        "Warning: Permanently added 'h' (ED25519) to the list of known hosts.",
        "bash: warning: setlocale: LC_ALL: cannot change locale (de_DE)",
        "** WARNING: connection is not using a post-quantum key exchange algorithm.",
        "Welcome! rsync: [sender] link_stat \"x\" failed: No such file or directory (2)",
        "",
    ] {
        assert!(read(line.as_bytes()).is_none(), "{line}");
    }
}

#[test]
fn the_last_line_is_known_by_its_code() {
    let partial = b"rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1394) [sender=3.5.0]";
    assert!(is_summary_of(partial, &[23, 24]) && !is_summary_of(partial, &[24]));
    assert!(!is_summary_of(
        b"rsync: [sender] link_stat \"(code 23) at \" failed: No such file or directory (2)",
        &[23]
    ));
}

#[test]
fn what_says_that_the_way_has_ended_is_told_from_what_names_a_failure() {
    for line in [
        "[sender] io timeout after 2 seconds -- exiting",
        "io timeout after 60 seconds -- exiting",
        "rsync: connection unexpectedly closed (1066 bytes received so far) [sender]",
        "rsync: [sender] write error: Broken pipe (32)",
        "rsync: [generator] safe_write failed to write 4 bytes to socket: Connection reset by peer (104)",
        "rsync error: timeout in data send/receive (code 30) at io.c(197) [sender=3.5.0]",
        "rsync error: unexplained error (code 255) at io.c(232) [sender=3.5.0]",
        "client_loop: send disconnect: Broken pipe",
        "Timeout, server 127.0.0.33 not responding.",
    ] {
        assert!(breaks_off(line.as_bytes()), "{line}");
    }
    for line in [
        "rsync: [sender] link_stat \"/s/io timeout after 2 seconds -- exiting\" failed: No such file or directory (2)",
        "rsync: [receiver] write failed on \"/d/f\": No space left on device (28)",
        "rsync: [sender] read errors mapping \"/s/f\": Connection timed out (110)",
        "rsync error: some files/attrs were not transferred (see previous errors) (code 23) at main.c(1394) [sender=3.5.0]",
        "rsync error: error in file IO (code 11) at receiver.c(380) [receiver=3.5.0]",
        "file has vanished: \"/s/f\"",
    ] {
        assert!(!breaks_off(line.as_bytes()), "{line}");
    }
}
