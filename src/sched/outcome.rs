//! What follows from the end of a launch: an ordered table, of which the first row that applies decides.

use crate::error::EXIT_FILE_IO;
use crate::rsync::exit::{self, Class};
use crate::rsync::options::Delete;
use crate::shell;
use crate::supervise::Ended;

use super::input::{Ending, NotLaunched, Report};
use super::slots::State;
use super::work::Work;

/// How often an rsync that was killed or ran out of memory is tried again, at most.
pub(crate) const BROKEN_RETRIES: u32 = 1;
/// So often in a row one launch is turned away for which there should be a place, before that is an error; and before anything has worked.
const LONGEST_TURN: u32 = 20;
const FIRST_TURNS: u32 = 2;

/// A remote shell could not connect.
const CONNECTION: u8 = 255;
/// rsync's codes for a broken connection to a daemon and a broken protocol stream, and for something that the other side does not support.
const SOCKET: u8 = 10;
const STREAM: u8 = 12;
const UNSUPPORTED: u8 = 4;

/// Who ended a launch that was lost with its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// The way to the host.
    Connection,
    /// The rsync there.
    Rsync,
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing: its work is done otherwise already.
    Nothing,
    /// It has done nothing although it was started ahead: its work waits again, and no launch is started ahead any more.
    NotAhead,
    /// No rsync was started.
    NotLaunched(NotLaunched),
    /// Launches that wait make place for it.
    MakePlace,
    /// Fewer run at once from now on, and it comes again.
    TakeTurns,
    /// Its work waits again.
    PutBack,
    /// The run cannot go on: the executor has the error.
    Abort,
    /// Its host is set aside, and its work is done elsewhere.
    Elsewhere(u8, Whose),
    /// One ordinary rsync does it all.
    FallBack,
    /// What failed may have passed: once more.
    OnceMore,
    /// The run has failed.
    Fail(u8),
    /// Again after a pause, so often at most.
    Again { code: u8, most: u32 },
    /// Again at once: a pause has ended it, which is no failure of anybody.
    AgainAfterPause(u8),
    /// The same, and all read whole lists from now on.
    AgainWithWholeLists(u8),
    /// The same, and fewer run at once.
    AgainWithFewer(u8),
    /// One rsync, which deletes as it copies, does what is left.
    MakeRoom,
    /// It is done, with this code.
    Settle(u8),
}

impl Outcome {
    /// The launch has had its say: what it complained of counts.
    pub fn is_heard(self) -> bool {
        self.counts() || self == Outcome::OnceMore
    }

    /// What it could not do counts.
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

/// All that the table looks at.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    pub work: &'a Work,
    pub state: State,
    pub crowded: bool,
    /// It was stopped in a pause.
    pub held: bool,
    pub report: &'a Report,
    /// The run ends.
    pub stopping: bool,
    /// One rsync does it all since a server has refused more.
    pub fell_back: bool,
    /// Launches that have not ended.
    pub others: usize,
    pub on_hosts: bool,
    /// There are other hosts or addresses.
    pub elsewhere: bool,
    /// Launches in a row that were not let in although no other ran.
    pub turned_away: u32,
    pub dest_made: bool,
    pub dest_is_local: bool,
    /// Launches of this run up to now.
    pub launches: u64,
    /// Several have begun something that one can end.
    pub may_fall_back: bool,
    /// It may be repeated, and was not yet.
    pub may_repeat: bool,
    /// There may be room if one rsync deletes as it copies.
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

    /// The exit code it ended with, as rsync means it. 255 is ssh's word for the way to the host; an rsync that cannot reach DEST has it too.
    pub fn raw_code(&self) -> u8 {
        match self.ended() {
            Some(Ended::Code(shell::FOR_255)) if self.on_hosts => CONNECTION,
            Some(ended) => ended.code(),
            None => exit::OK,
        }
    }

    /// The exit code that counts, by what its messages mean.
    pub fn code(&self) -> u8 {
        let said = &self.report.said;
        let mut code = self.raw_code();
        if code == exit::OK && matches!(self.work, Work::Create(_)) && said.skipped {
            code = exit::PARTIAL;
        }
        if code == exit::PARTIAL && said.gone {
            code = exit::VANISHED;
        }
        // What is in the place of a directory would have made way for it.
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

    /// It comes to directories after something was written into them.
    pub fn sets_times(&self) -> bool {
        matches!(self.work, Work::Attributes(_) | Work::Delete(_) | Work::Clean(_))
    }

    /// A bucket of which the receiving side may not do something gets it done when it is alone.
    pub fn is_denied(&self, as_root: bool) -> bool {
        matches!(self.work, Work::Copy(_)) && self.report.said.denied && !as_root
    }

    /// What it complained of and was held back came to nothing: a repair says it again if it still holds, and of times that were right before
    /// something was written into a directory of another user one rsync says nothing either: it sets them once more at its end, and
    /// does not mind if it may not (rsync 3.5.0, `touch_up_dirs`).
    pub fn came_to_nothing(&self) -> bool {
        let repaired = self.raw_code() == exit::PARTIAL && !self.stopping;
        if self.sets_times() { self.report.said.times_in_vain } else { repaired }
    }

    /// Something of the source could not be read. With --delete-after rsync knows of files that could not be read before it deletes; otherwise it
    /// has deleted by then.
    pub fn sender_failed(&self) -> bool {
        let after = self.deletes == Some(Delete::After);
        let said = &self.report.said;
        self.code() == exit::PARTIAL && (said.list_failed || after && said.file_failed)
    }
}

/// A row: its name, and what it decides if it applies.
pub(crate) type Rule = (&'static str, fn(&Case<'_>) -> Option<Outcome>);

/// The outcome of a launch that has ended.
pub(crate) fn outcome(rules: &[Rule], case: &Case<'_>) -> Outcome {
    let decided = rules.iter().find_map(|(_, rule)| rule(case));
    // The last row applies always.
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
    ("settled", settled),
    ("connection lost", connection_lost),
    ("broken off", broken_off),
    ("no room", no_room),
    ("fatal", |case| Some(Outcome::Fail(case.code()))),
];

/// A launch that was started ahead has ended before it could begin; or it is a program in the place of rsync that does not hand on what it
/// reads, and all went well with no file.
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

/// How others end is of no interest.
fn after_fallback(case: &Case<'_>) -> Option<Outcome> {
    (case.fell_back && !case.work.is_everything()).then_some(Outcome::Nothing)
}

fn crowded_out(case: &Case<'_>) -> Option<Outcome> {
    (case.report.said.no_place && case.crowded && !case.stopping).then_some(Outcome::MakePlace)
}

/// It was not let in while others of this run had their places: no more than these run at once from now on, and it is no failure. The other side may
/// not have noticed yet that the last one is gone; if that lasts too long it is somebody else's place.
fn turned_away(case: &Case<'_>) -> Option<Outcome> {
    let limit = if case.dest_made { LONGEST_TURN } else { FIRST_TURNS };
    let may = !case.work.is_everything() && !case.on_hosts && (case.others > 0 || case.turned_away < limit);
    (case.report.said.no_place && !case.stopping && may).then_some(Outcome::TakeTurns)
}

/// Sources are found by their paths from now on.
fn out_of_reach(case: &Case<'_>) -> Option<Outcome> {
    (case.report.said.out_of_reach && !case.stopping).then_some(Outcome::PutBack)
}

fn failed_to_start(case: &Case<'_>) -> Option<Outcome> {
    (case.report.ending == Ending::Failed).then_some(Outcome::Abort)
}

fn not_started(case: &Case<'_>) -> Option<Outcome> {
    (case.ended() == Some(Ended::NotStarted)).then_some(Outcome::Nothing)
}

/// What waits for a launch that is stopped may give it up: rsync's `--timeout`, that of a daemon, a server that asks whether anybody is there. One
/// rsync that does everything is not begun anew.
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
    // The end of the time of --stop-at is no loss.
    let in_time = code != exit::TIMEOUT || !case.stops_itself;
    let broke_off = exit::breaks_off(code);
    let of_host = broke_off && in_time || (shell::NO_SCRIPT..=127).contains(&code);
    of_host.then_some(Outcome::Elsewhere(code, whose))
}

/// A server that allows no more than what one ordinary rsync sends: a daemon that refuses options, a login whose command is fixed
/// (authorized_keys(5), `command=`). It refuses what nobody has typed, such as `--relative`. Then the one rsync does it that the user would have
/// started, which says itself if even that is refused.
fn refused(case: &Case<'_>) -> Option<Outcome> {
    let code = case.raw_code();
    let first = matches!(case.work, Work::Create(_)) && !case.dest_made;
    // The other machine's rsync has ended because of it.
    let broke_off = code == STREAM && case.report.said.refused;
    let answer = matches!(code, exit::USAGE | exit::PROTOCOL | UNSUPPORTED) || broke_off;
    // A daemon that refuses `--files-from` says so, and reads nothing more.
    let hangs_up = first && code == SOCKET && case.report.said.refused;
    let is_refusal =
        answer && (first || case.report.said.refused) || hangs_up || first && code == STREAM && case.launches == 1;
    let may = case.may_fall_back && !case.dest_is_local && !case.stopping && !case.work.is_everything();
    (is_refusal && may).then_some(Outcome::FallBack)
}

/// Where rsync would do something twice, it does not come again.
fn transient(case: &Case<'_>) -> Option<Outcome> {
    let may = case.raw_code() == exit::PARTIAL && matches!(case.work, Work::Copy(_)) && case.may_repeat;
    (may && !case.stopping && case.report.said.transient).then_some(Outcome::OnceMore)
}

/// Launches that start or end after that time fail because of it.
fn time_is_over(case: &Case<'_>) -> Option<Outcome> {
    let code = case.code();
    let late = code == exit::TIMEOUT || case.launches > 1 && code == exit::USAGE;
    (case.stops_itself && late).then_some(Outcome::Fail(exit::TIMEOUT))
}

fn list_lost(case: &Case<'_>) -> Option<Outcome> {
    let lost = case.report.said.lost_list && !case.work.is_everything();
    // Whatever it says of itself, it has not done its work.
    let code = if exit::is_settled(case.code()) { STREAM } else { case.code() };
    lost.then_some(Outcome::AgainWithWholeLists(code))
}

fn parent_lost(case: &Case<'_>) -> Option<Outcome> {
    let lost = case.code() == exit::PROTOCOL && case.report.said.lost_parent;
    lost.then_some(Outcome::Again { code: exit::PROTOCOL, most: u32::MAX })
}

fn settled(case: &Case<'_>) -> Option<Outcome> {
    let code = case.code();
    exit::is_settled(code).then_some(Outcome::Settle(code))
}

/// What refused so many may take fewer.
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

    /// For each row: it decides this case, and no row before it does.
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
        let rows: [(&str, Case<'_>, Outcome); 21] = [
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
        // The remote shell's own code is kept apart where launches run on hosts.
        let of_rsync = report(shell::FOR_255, Symptoms::default());
        let on_host = Case { on_hosts: true, elsewhere: true, ..case(&copy, &of_rsync) };
        assert_eq!(outcome(RULES, &on_host), Outcome::Elsewhere(CONNECTION, Whose::Rsync));
    }
}
