//! What follows from the end of a launch: an ordered table, in which the first row that applies decides.

use crate::error::EXIT_FILE_IO;
use crate::rsync::exit::{self, Class};
use crate::rsync::options::Delete;
use crate::shell;
use crate::supervise::Ended;

use super::input::{Ending, NotLaunched, Report};
use super::slots::State;
use super::work::Work;

/// How often an rsync that was killed or ran out of memory is retried at most.
pub(crate) const BROKEN_RETRIES: u32 = 1;
/// A launch may be turned away this many times in a row although the run has no other connection, before that is an error. The second value applies before any
/// launch has succeeded.
const LONGEST_TURN: u32 = 20;
const FIRST_TURNS: u32 = 2;

/// The exit code of a remote shell that could not connect.
const CONNECTION: u8 = 255;
/// rsync's codes for a broken connection to a daemon, for a broken protocol stream, and for something that the other side does not support.
const SOCKET: u8 = 10;
const STREAM: u8 = 12;
const UNSUPPORTED: u8 = 4;

/// What ended a launch that was lost with its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The connection to the host.
    Connection,
    /// The rsync on the host.
    Rsync,
}

/// What is done about the end of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing: its work is already done in another way.
    Nothing,
    /// The launch was started ahead and has done nothing. Its work waits again, and no more launches are started ahead.
    NotAhead,
    /// No rsync was started.
    NotLaunched(NotLaunched),
    /// The launches that were started ahead are dismissed to make room for this one.
    MakePlace,
    /// From now on fewer launches run at once, and the work waits again.
    TakeTurns,
    /// The work waits again.
    PutBack,
    /// The run cannot continue; the engine has the error.
    Abort,
    /// The host is set aside, and its work is done elsewhere.
    Elsewhere(u8, Whose),
    /// One ordinary rsync does everything.
    FallBack,
    /// The failures may have passed, so that the work is done once more.
    OnceMore,
    /// The run has failed.
    Fail(u8),
    /// The work is retried after a pause, at most this many times.
    Again { code: u8, most: u32 },
    /// The work is retried at once: a pause ended the launch, which is nobody's failure.
    AgainAfterPause(u8),
    /// The work is retried, and from now on all launches read their lists as a whole.
    AgainWithWholeLists(u8),
    /// The work is retried, and fewer launches run at once.
    AgainWithFewer(u8),
    /// One rsync, which deletes as it copies, does the rest.
    MakeRoom,
    /// The work is done, with this exit code.
    Settle(u8),
}

impl Outcome {
    /// Whether the complaints of the launch are printed.
    pub fn is_heard(self) -> bool {
        self.counts() || self == Outcome::OnceMore
    }

    /// Whether the failures of the launch count.
    pub fn counts(self) -> bool {
        matches!(
            self,
            Outcome::Fail(_)
                | Outcome::Again { .. }
                | Outcome::AgainWithWholeLists(_)
                | Outcome::AgainWithFewer(_)
                | Outcome::MakeRoom
                | Outcome::Settle(_)
        )
    }
}

/// Everything that the table depends on.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub work: &'a Work,
    pub state: State,
    pub crowded: bool,
    /// The launch was stopped in a pause.
    pub held: bool,
    pub report: &'a Report,
    /// The run is ending.
    pub stopping: bool,
    /// One rsync does everything because a server has refused more.
    pub fell_back: bool,
    /// The launches that have not ended.
    pub others: usize,
    pub on_hosts: bool,
    /// There are other hosts or addresses.
    pub elsewhere: bool,
    /// How many launches in a row were turned away although no other one was running.
    pub turned_away: u32,
    pub dest_made: bool,
    pub dest_is_local: bool,
    /// The launches of this run so far.
    pub launches: u64,
    /// One rsync can finish what several have begun.
    pub may_fall_back: bool,
    /// The work may be repeated, and was not repeated yet.
    pub may_repeat: bool,
    /// There may be enough room if one rsync deletes as it copies.
    pub may_make_room: bool,
    pub stops_itself: bool,
    pub pretends: bool,
    pub deletes: Option<Delete>,
}

impl Case<'_> {
    fn ended(&self) -> Option<Ended> {
        match self.report.ending {
            Ending::Ended(ended) => Some(ended),
            Ending::NotLaunched(_) | Ending::Failed => None,
        }
    }

    /// The exit code of rsync. 255 is reserved for the connection to a host, so that an rsync on a host that itself ends with 255, because it cannot reach
    /// DEST, is reported with another code, which is translated here.
    pub fn raw_code(&self) -> u8 {
        match self.ended() {
            Some(Ended::Code(shell::FOR_255)) if self.on_hosts => CONNECTION,
            Some(ended) => ended.code(),
            None => exit::OK,
        }
    }

    /// The exit code that counts, after a look at the messages.
    pub fn code(&self) -> u8 {
        let said = &self.report.said;
        let mut code = self.raw_code();
        if code == exit::OK && matches!(self.work, Work::Create(_)) && said.skipped {
            code = exit::PARTIAL;
        }
        if code == exit::PARTIAL && said.gone {
            code = exit::VANISHED;
        }
        // In a real run, a directory would have replaced what is in its place.
        let looks_below = matches!(self.work, Work::Delete(_) | Work::Clean(_)) && said.only_below_files;
        let pretends = self.pretends && !self.work.is_everything();
        if code == exit::PARTIAL && pretends && (looks_below || said.only_below_loops) {
            code = exit::OK;
        }
        if code == exit::PARTIAL && self.sets_times() && said.times_in_vain {
            code = exit::OK;
        }
        code
    }

    /// Whether the launch sets times of directories after something was written into them.
    pub fn sets_times(&self) -> bool {
        matches!(self.work, Work::Attributes(_) | Work::Delete(_) | Work::Clean(_))
    }

    /// Whether the receiving side was denied access and copying the bucket alone may succeed.
    pub fn is_denied(&self, as_root: bool) -> bool {
        matches!(self.work, Work::Copy(_)) && self.report.said.denied && !as_root
    }

    /// Whether the complaints that were held back are dropped. A repair reports its own. A denied attempt to set times in a directory of another user is not
    /// reported if the times had been right before the launch wrote into it: one rsync sets them again at its end and ignores a failure, too (rsync 3.5.0,
    /// `touch_up_dirs`).
    pub fn came_to_nothing(&self) -> bool {
        let repaired = self.raw_code() == exit::PARTIAL && !self.stopping;
        if self.sets_times() { self.report.said.times_in_vain } else { repaired }
    }

    /// Whether something in the source could not be read in a way that must prevent deletion. With `--delete-after`, rsync knows of unreadable files before it
    /// deletes; otherwise it has deleted by then.
    pub fn sender_failed(&self) -> bool {
        let after = self.deletes == Some(Delete::After);
        let said = &self.report.said;
        self.code() == exit::PARTIAL && (said.list_failed || after && said.file_failed)
    }
}

/// A row: its name, and a function that returns an outcome if the row applies.
pub(crate) type Rule = (&'static str, fn(&Case<'_>) -> Option<Outcome>);

/// The outcome of a launch that has ended.
pub(crate) fn outcome(rules: &[Rule], case: &Case<'_>) -> Outcome {
    let decided = rules.iter().find_map(|(_, rule)| rule(case));
    // The last row always applies.
    decided.unwrap_or(Outcome::Fail(case.code()))
}

pub(crate) const RULES: &[Rule] = &[
    ("idle prestart", idle_prestart),
    ("not launched", not_launched),
    ("after the fallback", after_fallback),
    ("crowded out", crowded_out),
    ("turned away", turned_away),
    ("out of reach", out_of_reach),
    ("failed to start", failed_to_start),
    ("stopped before it started", not_started),
    ("ended by a pause", ended_by_a_pause),
    ("host lost", host_lost),
    ("refused by the server", refused),
    ("transient failure", transient),
    ("time is over", time_is_over),
    ("list lost", list_lost),
    ("parent lost", parent_lost),
    ("count lost", count_lost),
    ("settled", settled),
    ("connection lost", connection_lost),
    ("broken off", broken_off),
    ("no room", no_room),
    ("fatal", |case| Some(Outcome::Fail(case.code()))),
];

/// A launch that was started ahead ended before it could begin. Or it succeeded and transferred no file: then it may be a program in place of rsync that does
/// not pass on its input.
fn idle_prestart(case: &Case<'_>) -> Option<Outcome> {
    let launched = !matches!(case.report.ending, Ending::NotLaunched(_));
    let in_order = case.ended().is_some_and(|ended| ended.code() == exit::OK);
    let nothing = !case.report.begun || in_order && case.report.said.no_files;
    match case.state {
        State::Dismissed => Some(Outcome::Nothing),
        State::Prestarted if launched => Some(Outcome::NotAhead),
        State::Working { prestarted: true } | State::Draining { prestarted: true } | State::Releasing => {
            (launched && nothing).then_some(Outcome::NotAhead)
        }
        _ => None,
    }
}

fn not_launched(case: &Case<'_>) -> Option<Outcome> {
    match case.report.ending {
        Ending::NotLaunched(why) => Some(Outcome::NotLaunched(why)),
        Ending::Failed | Ending::Ended(_) => None,
    }
}

/// After the fallback, it does not matter how the other launches end.
fn after_fallback(case: &Case<'_>) -> Option<Outcome> {
    (case.fell_back && !case.work.is_everything()).then_some(Outcome::Nothing)
}

fn crowded_out(case: &Case<'_>) -> Option<Outcome> {
    (case.report.said.no_place && case.crowded && !case.stopping).then_some(Outcome::MakePlace)
}

/// The launch was turned away while other launches of this run had connections: from now on no more than these run at once, which is not a failure. If no other
/// launch runs, the other side may not have noticed the end of the last one yet; if that lasts too long, the connections belong to someone else.
fn turned_away(case: &Case<'_>) -> Option<Outcome> {
    let limit = if case.dest_made { LONGEST_TURN } else { FIRST_TURNS };
    let may = !case.work.is_everything() && !case.on_hosts && (case.others > 0 || case.turned_away < limit);
    (case.report.said.no_place && !case.stopping && may).then_some(Outcome::TakeTurns)
}

/// From now on, the paths of the sources are used.
fn out_of_reach(case: &Case<'_>) -> Option<Outcome> {
    (case.report.said.out_of_reach && !case.stopping).then_some(Outcome::PutBack)
}

fn failed_to_start(case: &Case<'_>) -> Option<Outcome> {
    (case.report.ending == Ending::Failed).then_some(Outcome::Abort)
}

fn not_started(case: &Case<'_>) -> Option<Outcome> {
    (case.ended() == Some(Ended::NotStarted)).then_some(Outcome::Nothing)
}

/// A launch that was stopped may have been given up by its peer: because of rsync's `--timeout`, the timeout of a daemon, or a server that checks whether its
/// client is alive. A single rsync that does everything is not restarted.
fn ended_by_a_pause(case: &Case<'_>) -> Option<Outcome> {
    let code = case.raw_code();
    let broke_off = exit::breaks_off(code);
    let may = case.held && !case.stopping && !case.stops_itself && !case.work.is_everything();
    (may && broke_off).then_some(Outcome::AgainAfterPause(code))
}

fn host_lost(case: &Case<'_>) -> Option<Outcome> {
    if !case.elsewhere || case.stopping {
        return None;
    }
    let whose = match case.ended() {
        Some(Ended::Code(CONNECTION)) => Whose::Connection,
        _ => Whose::Rsync,
    };
    let code = case.raw_code();
    // An rsync that ends at the time of `--stop-at` was not lost.
    let in_time = code != exit::TIMEOUT || !case.stops_itself;
    let broke_off = exit::breaks_off(code);
    let of_host = broke_off && in_time || (shell::NO_SCRIPT..=127).contains(&code);
    of_host.then_some(Outcome::Elsewhere(code, whose))
}

/// A server accepts only what one ordinary rsync sends: a daemon refuses options, or a login has a fixed command (authorized_keys(5), `command=`). It refuses
/// an option that the user did not type, such as `--relative`. Then the rsync that the user would have started does everything. If even that is refused, its
/// message says so.
fn refused(case: &Case<'_>) -> Option<Outcome> {
    let code = case.raw_code();
    let first = matches!(case.work, Work::Create(_)) && !case.dest_made;
    // The rsync of the other machine ended because of the refusal.
    let broke_off = code == STREAM && case.report.said.refused;
    let answer = matches!(code, exit::USAGE | exit::PROTOCOL | UNSUPPORTED) || broke_off;
    // A daemon that refuses `--files-from` says so, and closes the connection.
    let hangs_up = first && code == SOCKET && case.report.said.refused;
    let is_refusal =
        answer && (first || case.report.said.refused) || hangs_up || first && code == STREAM && case.launches == 1;
    let may = case.may_fall_back && !case.dest_is_local && !case.stopping && !case.work.is_everything();
    (is_refusal && may).then_some(Outcome::FallBack)
}

/// A failure that may pass. The work is not repeated if rsync would then do something twice.
fn transient(case: &Case<'_>) -> Option<Outcome> {
    let may = case.raw_code() == exit::PARTIAL && matches!(case.work, Work::Copy(_)) && case.may_repeat;
    (may && !case.stopping && case.report.said.transient).then_some(Outcome::OnceMore)
}

/// With `--stop-at`, launches that start or end after that time fail because of it.
fn time_is_over(case: &Case<'_>) -> Option<Outcome> {
    let code = case.code();
    let late = code == exit::TIMEOUT || case.launches > 1 && code == exit::USAGE;
    (case.stops_itself && late).then_some(Outcome::Fail(exit::TIMEOUT))
}

fn list_lost(case: &Case<'_>) -> Option<Outcome> {
    let lost = case.report.said.lost_list && !case.work.is_everything();
    // Even if rsync reports success, it has not done all its work.
    let code = if exit::is_settled(case.code()) { STREAM } else { case.code() };
    lost.then_some(Outcome::AgainWithWholeLists(code))
}

fn parent_lost(case: &Case<'_>) -> Option<Outcome> {
    let lost = case.code() == exit::PROTOCOL && case.report.said.lost_parent;
    lost.then_some(Outcome::Again { code: exit::PROTOCOL, most: u32::MAX })
}

fn count_lost(case: &Case<'_>) -> Option<Outcome> {
    let lost = case.code() == exit::PROTOCOL && case.report.said.lost_count;
    lost.then_some(Outcome::Again { code: exit::PROTOCOL, most: BROKEN_RETRIES })
}

fn settled(case: &Case<'_>) -> Option<Outcome> {
    let code = case.code();
    exit::is_settled(code).then_some(Outcome::Settle(code))
}

/// A server that refused this many connections may accept fewer.
fn connection_lost(case: &Case<'_>) -> Option<Outcome> {
    let code = case.code();
    (exit::class(code) == Class::Connection).then_some(Outcome::AgainWithFewer(code))
}

fn broken_off(case: &Case<'_>) -> Option<Outcome> {
    let code = case.code();
    (exit::class(code) == Class::Broken).then_some(Outcome::Again { code, most: BROKEN_RETRIES })
}

fn no_room(case: &Case<'_>) -> Option<Outcome> {
    (case.code() == EXIT_FILE_IO && case.may_make_room).then_some(Outcome::MakeRoom)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bucket::{Bucket, Content};
    use crate::scan::Weight;
    use crate::sched::{Findings, Symptoms};

    fn copy() -> Work {
        Work::Copy(vec![Bucket {
            id: 0,
            weight: Weight::default(),
            units: 1,
            argument_bytes: 1,
            spine_before: 0,
            exposed: false,
            singles: false,
            content: Content::default(),
        }])
    }

    fn report(code: u8, said: Symptoms) -> Report {
        let ending = Ending::Ended(Ended::Code(code));
        Report {
            ending,
            ran: Duration::ZERO,
            sent: None,
            after: Findings::default(),
            begun: true,
            was_held: false,
            said,
        }
    }

    fn case<'a>(work: &'a Work, report: &'a Report) -> Case<'a> {
        Case {
            work,
            state: State::Working { prestarted: false },
            crowded: false,
            held: false,
            report,
            stopping: false,
            fell_back: false,
            others: 0,
            on_hosts: false,
            elsewhere: false,
            turned_away: 0,
            dest_made: true,
            dest_is_local: false,
            launches: 3,
            may_fall_back: true,
            may_repeat: true,
            may_make_room: false,
            stops_itself: false,
            pretends: false,
            deletes: None,
        }
    }

    /// Each row decides its case, and no row before it does.
    #[test]
    fn each_row_decides_what_it_is_for() {
        let (copy, create) = (copy(), Work::Create(0..1));
        let ok = report(exit::OK, Symptoms::default());
        let partial = report(exit::PARTIAL, Symptoms::default());
        let said = |said: Symptoms, code| report(code, said);
        let no_place = said(Symptoms { no_place: true, ..Symptoms::default() }, 5);
        let out_of_reach = said(Symptoms { out_of_reach: true, ..Symptoms::default() }, exit::PARTIAL);
        let transient = said(Symptoms { transient: true, ..Symptoms::default() }, exit::PARTIAL);
        let list_lost = said(Symptoms { lost_list: true, ..Symptoms::default() }, STREAM);
        let parent_lost = said(Symptoms { lost_parent: true, ..Symptoms::default() }, exit::PROTOCOL);
        let count_lost = said(Symptoms { lost_count: true, ..Symptoms::default() }, exit::PROTOCOL);
        let refused = said(Symptoms { refused: true, ..Symptoms::default() }, exit::USAGE);
        let refused_there = said(Symptoms { refused: true, ..Symptoms::default() }, STREAM);
        let not_launched = Report { ending: Ending::NotLaunched(NotLaunched::Alone), ..ok.clone() };
        let failed = Report { ending: Ending::Failed, ..ok.clone() };
        let not_started = Report { ending: Ending::Ended(Ended::NotStarted), ..ok.clone() };
        let stalled = Report { ending: Ending::Ended(Ended::Stalled), ..ok.clone() };
        let killed = Report { ending: Ending::Ended(Ended::Signal(9)), ..ok.clone() };
        let [stream, shell, no_room, of_shell] = [STREAM, CONNECTION, EXIT_FILE_IO, shell::NO_DIRECTORY];
        let [stream, shell, no_room, of_shell] =
            [stream, shell, no_room, of_shell].map(|code| report(code, Symptoms::default()));
        let prestarted = Case { state: State::Prestarted, ..case(&copy, &ok) };
        let fell_back = Case { fell_back: true, ..case(&copy, &ok) };
        let crowded = Case { crowded: true, ..case(&copy, &no_place) };
        let lost = Case { on_hosts: true, elsewhere: true, ..case(&copy, &shell) };
        let paused = Case { held: true, on_hosts: true, elsewhere: true, ..case(&copy, &shell) };
        let over = Case { stops_itself: true, ..case(&copy, &stalled) };
        let full = Case { may_make_room: true, ..case(&copy, &no_room) };
        let again = |code, most| Outcome::Again { code, most };
        let rows: [(&str, Case<'_>, Outcome); 22] = [
            ("idle prestart", prestarted, Outcome::NotAhead),
            ("not launched", case(&copy, &not_launched), Outcome::NotLaunched(NotLaunched::Alone)),
            ("after the fallback", fell_back, Outcome::Nothing),
            ("crowded out", crowded, Outcome::MakePlace),
            ("turned away", case(&copy, &no_place), Outcome::TakeTurns),
            ("out of reach", case(&copy, &out_of_reach), Outcome::PutBack),
            ("failed to start", case(&copy, &failed), Outcome::Abort),
            ("stopped before it started", case(&copy, &not_started), Outcome::Nothing),
            ("ended by a pause", paused, Outcome::AgainAfterPause(CONNECTION)),
            ("host lost", lost, Outcome::Elsewhere(CONNECTION, Whose::Connection)),
            ("refused by the server", case(&copy, &refused), Outcome::FallBack),
            ("refused by the server", case(&copy, &refused_there), Outcome::FallBack),
            ("transient failure", case(&copy, &transient), Outcome::OnceMore),
            ("time is over", over, Outcome::Fail(exit::TIMEOUT)),
            ("list lost", case(&copy, &list_lost), Outcome::AgainWithWholeLists(STREAM)),
            ("parent lost", case(&copy, &parent_lost), again(exit::PROTOCOL, u32::MAX)),
            ("count lost", case(&copy, &count_lost), again(exit::PROTOCOL, BROKEN_RETRIES)),
            ("settled", case(&copy, &partial), Outcome::Settle(exit::PARTIAL)),
            ("connection lost", case(&copy, &stream), Outcome::AgainWithFewer(STREAM)),
            ("broken off", case(&copy, &killed), again(exit::TERMINATED, BROKEN_RETRIES)),
            ("no room", full, Outcome::MakeRoom),
            ("fatal", case(&create, &of_shell), Outcome::Fail(shell::NO_DIRECTORY)),
        ];
        let mut tested = rows.each_ref().map(|row| row.0).to_vec();
        tested.dedup();
        assert_eq!(tested, RULES.iter().map(|row| row.0).collect::<Vec<_>>());
        for (id, case, expected) in &rows {
            let first = RULES.iter().find_map(|(id, rule)| rule(case).map(|outcome| (*id, outcome)));
            assert_eq!(first, Some((*id, *expected)));
        }
    }

    #[test]
    fn what_a_launch_said_changes_what_its_code_means() {
        let (copy, create, attributes) = (copy(), Work::Create(0..1), Work::Attributes(0..1));
        let code = |work: &Work, code, said: Symptoms| case(work, &report(code, said)).code();
        let gone = Symptoms { gone: true, ..Symptoms::default() };
        assert_eq!(code(&copy, exit::PARTIAL, gone), exit::VANISHED);
        let skipped = || Symptoms { skipped: true, ..Symptoms::default() };
        assert_eq!(code(&create, exit::OK, skipped()), exit::PARTIAL);
        assert_eq!(code(&copy, exit::OK, skipped()), exit::OK);
        let in_vain = || Symptoms { times_in_vain: true, ..Symptoms::default() };
        assert_eq!(code(&attributes, exit::PARTIAL, in_vain()), exit::OK);
        let clean = Work::Clean(copy.buckets().to_vec());
        assert_eq!(code(&clean, exit::PARTIAL, in_vain()), exit::OK);
        assert_eq!(code(&copy, exit::PARTIAL, in_vain()), exit::PARTIAL);
        // On a host, 255 means the remote shell, so that an rsync that ended with 255 has another code.
        let of_rsync = report(shell::FOR_255, Symptoms::default());
        let on_host = Case { on_hosts: true, elsewhere: true, ..case(&copy, &of_rsync) };
        assert_eq!(outcome(RULES, &on_host), Outcome::Elsewhere(CONNECTION, Whose::Rsync));
    }
}
