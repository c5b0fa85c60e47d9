#!/usr/bin/env python3
"""Runs rsync's own test suite with `multi-sync -p 3 -f 3 rsync` in the place of rsync.

    scripts/rsync-suite.py [OPTIONS] SOURCE [TEST...]

SOURCE is a source tree of rsync that is configured and built (`./configure && make && make check-progs`); nothing is fetched. TEST is the
name of a test, or a pattern of names; all by default. What each test is expected to do is in tests/rsync-suite/VERSION, a line each:

    pass several NAME            at least one of its copies goes through several rsyncs
    pass one     NAME            it copies from here, and one rsync does each copy
    pass none    NAME            it pulls, or runs servers only: those are left to rsync
    race several NAME            it passes, or is skipped because what it waits for did not happen in time
    fail several NAME  reason    it fails, because of this
    skip -       NAME            it does not run here with one rsync either

What fails or is skipped against the list is run again with that one rsync: what it does not pass either is told, and does not count. The exit
code is 0 if nothing else was unexpected, and nothing was left behind; 1 if something was; 2 if the suite could not run.
"""

import argparse
import ctypes
import fnmatch
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = ("pass", "race", "fail", "skip")
ROUTES = ("several", "one", "none", "-")
OURS = ("-p", "3", "-f", "3")
# What copies nothing from here.
OTHER = ("--version", "--help", "--list-only", "--server", "--daemon")
SAID = re.compile(r"(PASS|FAIL|ERROR|SKIP|XFAIL)\s+(\S+)(.*)")
PR_SET_CHILD_SUBREAPER = 36


class Trouble(Exception):
    """The suite cannot be run."""


class Expected:
    """A line of the list."""

    def __init__(self, result, route, reason=""):
        self.result, self.route, self.reason = result, route, reason


def read_list(path):
    """The list as a dictionary by name."""
    tests = {}
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        raise Trouble(f"there is no list {path}: make one with --write-list, and give each failure its reason") from None
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(None, 3)
        if len(words) < 3 or words[0] not in RESULTS or words[1] not in ROUTES:
            raise Trouble(f"{path}:{number}: expected `{'|'.join(RESULTS)} {'|'.join(ROUTES)} NAME [REASON]`")
        result, route, name = words[:3]
        reason = words[3] if len(words) > 3 else ""
        if result == "fail" and not reason:
            raise Trouble(f"{path}:{number}: {name} fails without a reason")
        if name in tests:
            raise Trouble(f"{path}:{number}: {name} is there twice")
        tests[name] = Expected(result, route, reason)
    return tests


def version_of(rsync):
    """The version of the rsync that was built."""
    try:
        said = subprocess.run([rsync, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Trouble(f"{rsync} does not run ({error}): build it with ./configure && make && make check-progs") from None
    found = re.match(r"rsync +version v?(\S+)", said)
    if not found:
        raise Trouble(f"{rsync} --version does not tell its version")
    return found[1]


def script(path, *lines):
    """Writes a shell script."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(("#!/bin/sh",) + lines) + "\n")
    path.chmod(0o755)


class Places:
    """The folders of a run, which are gone afterwards."""

    def __init__(self, multi_sync, rsync):
        # What is made below it may be looked at by other users, and sockets have short names.
        self.top = Path(tempfile.mkdtemp(prefix="suite."))
        self.top.chmod(0o755)
        self.temporary = self.top / "tmp"
        self.temporary.mkdir()
        self.temporary.chmod(0o1777)
        self.runs = self.top / "runs"
        self.log = self.top / "log"
        self.log.touch()
        self.log.chmod(0o666)
        log = shlex.quote(str(self.log))
        # The one that tests start, and the rsync that it starts: each says so, and becomes the program.
        self.rsync = self.top / "bin" / "rsync"
        real = self.top / "real" / "rsync"
        script(
            self.rsync,
            # Which of them has started an rsync: its own number may belong to another process later.
            'export RSYNC_SUITE_RUN="$$ ${scratchdir##*/}"',
            f'echo "begin $RSYNC_SUITE_RUN" >>{log}',
            f'exec {shlex.join([str(multi_sync), *OURS, str(real)])} "$@"',
        )
        script(
            real,
            "what=copies last=-",
            "for word; do",
            f"    case $word in {'|'.join(OTHER)}) what=other ;; esac",
            "    before=$last last=$word",
            "done",
            # Options come first in the suite, so that this is the last source.
            "case $before in -* | rsync://*) what=other ;; *:*) case ${before%%:*} in */*) ;; *) what=other ;; esac ;; esac",
            # The place where multi-sync copies nothing to, to learn what rules leave.
            "case $last in /nonexistent/) what=other ;; esac",
            # What has the number of the first has taken its place, and does all of it.
            f'[ $$ != "${{RSYNC_SUITE_RUN%% *}}" ] || [ $what = other ] || what=does',
            f'echo "$what $RSYNC_SUITE_RUN" >>{log}',
            f'exec {shlex.quote(str(rsync))} "$@"',
        )

    def routes(self):
        """Which way the copies of each test went."""
        of, launches = {}, {}
        for line in self.log.read_text(errors="replace").splitlines():
            what, run, test = (line.split(" ", 2) + ["", ""])[:3]
            if what == "begin":
                launches[run, test] = 0
            elif what in ("copies", "does"):
                launches[run, test] = launches.get((run, test), 0) + (what == "copies")
                if launches[run, test] > 1 or test not in of:
                    of[test] = "several" if launches[run, test] > 1 else "one"
        return of

    def left(self):
        """What runs of multi-sync have left where they keep such things."""
        return [str(path) for path in self.temporary.iterdir() if path.name.startswith("multi-sync")]

    def remove(self):
        """Also what tests have made unreadable."""
        subprocess.run(["chmod", "-R", "u+rwX", str(self.top)], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.top, ignore_errors=True)


def children():
    """Processes whose parent is this one: those of the suite that have lost theirs."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            words = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.append((int(stat.parent.name), words))
    return found


def end_strays():
    """Ends what has outlived the suite, and tells what it was."""
    # What was told to end may take a moment.
    deadline = time.monotonic() + 5
    while (strays := children()) and time.monotonic() < deadline:
        time.sleep(0.1)
    told = [words for _, words in strays]
    while strays := children():
        for pid, _ in strays:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return told


def run_suite(args, build, places, rsync, tests):
    """The result of each test, as the suite tells them one by one."""
    command = [sys.executable, str(args.source / "runtests.py"), f"--rsync-bin={rsync}", f"--srcdir={args.source}"]
    command += [f"--tooldir={build}", f"--parallel={args.parallel}", f"--timeout={args.timeout}"]
    if args.race_timeout:
        command.append(f"--race-timeout={args.race_timeout}")
    environment = {**os.environ, "scratchbase": str(places.top), "TMPDIR": str(places.temporary)}
    environment["XDG_STATE_HOME"] = str(places.runs)
    results = {}
    suite = subprocess.Popen(
        command + tests, env=environment, stdout=subprocess.PIPE, text=True, errors="replace", start_new_session=True
    )
    try:
        for line in suite.stdout:
            print(line, end="", flush=True)
            if found := SAID.match(line):
                results[found[2]] = {"PASS": "pass", "SKIP": "skip"}.get(found[1], "fail")
        code = suite.wait()
    except BaseException:
        os.killpg(suite.pid, signal.SIGKILL)
        suite.wait()
        raise
    if not results:
        raise Trouble(f"runtests.py told no result, exit code {code}")
    return results


def against(expected, results):
    """What failed, or was skipped, and should have passed."""
    allowed = {"pass": (), "race": ("skip",), "fail": ("fail",), "skip": ("skip",)}
    wanted = lambda name: allowed[expected[name].result] if name in expected else ("skip",)
    return {name for name, result in results.items() if result != "pass" and result not in wanted(name)}


def judge(expected, results, routes, with_one):
    """Prints how the results compare, and says whether nothing is unexpected."""
    named = lambda of: {name for name, result in results.items() if result == of}
    passed, failed = named("pass"), named("fail")
    not_ours = {name for name in with_one if with_one[name] != "pass"}
    unexpected = against(expected, results) - not_ours
    known = {name for name, line in expected.items() if line.result == "fail"}
    missing = set(expected) - set(results)
    route = lambda name: routes.get(name, "none")
    moved = {name for name in passed | failed if name in expected and route(name) != expected[name].route}
    copies = {name for name in passed | failed if route(name) != "none"}
    several = {name for name in copies if route(name) == "several"}

    def tell(title, names, each=lambda name: ""):
        if names:
            print(f"{title}:")
            for name in sorted(names):
                print(f"    {name}{each(name)}")

    print()
    tell("failed as expected", failed & known, lambda name: f": {expected[name].reason}")
    tell("one rsync does not pass it here either", not_ours, lambda name: f": {with_one[name]}")
    tell("in no list", set(results) - set(expected))
    tell("copies went another way", moved, lambda name: f": {route(name)} instead of {expected[name].route}")
    tell("passed unexpectedly", passed & known, lambda name: f": listed as {expected[name].reason}")
    tell("expected, but did not run", missing)
    tell("skipped, though one rsync passes it", unexpected - failed)
    tell("failed unexpectedly", unexpected & failed)
    print(
        f"{len(passed)} passed, {len(failed & known)} failed as expected, {len(unexpected)} failed unexpectedly, "
        f"{len(passed & known)} passed unexpectedly, {len(named('skip') - unexpected)} skipped"
    )
    print(
        f"{len(copies)} copy from here, of which {len(copies & passed)} passed; "
        f"{len(several)} with several rsyncs, of which {len(several & passed)} passed"
    )
    return not unexpected and not missing


def write_list(path, version, expected, results, routes):
    """What happened as the new list; reasons that are known stay."""
    with path.open("w") as out:
        out.write(f"# rsync {version}: what its tests do with multi-sync. scripts/rsync-suite.py says what the words mean.\n")
        for name, result in sorted(results.items()):
            known = expected.get(name)
            if known and known.result == "race" and result in ("pass", "skip"):
                out.write(f"race {known.route:7} {name}\n")
                continue
            way = "-" if result == "skip" else routes.get(name, "none")
            reason = f"  {known.reason if known else ''}" if result == "fail" else ""
            out.write(f"{result} {way:7} {name}{reason}\n")


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="SOURCE", type=Path)
    parser.add_argument("tests", metavar="TEST", nargs="*")
    parser.add_argument("--build", metavar="DIR", type=Path, help="where it was built, if not in SOURCE")
    parser.add_argument("--list", metavar="FILE", type=Path, help="the list of expected results")
    parser.add_argument("--write-list", action="store_true", help="write what happened to all tests into the list")
    parser.add_argument("-j", "--parallel", metavar="N", type=int, default=2, help="tests at once (2)")
    parser.add_argument("--timeout", metavar="SECONDS", type=int, default=600, help="for one test (600)")
    parser.add_argument("--race-timeout", metavar="SECONDS", type=float, help="for one test that tries to win a race")
    return parser.parse_intermixed_args()


def main():
    args = parse()
    args.source = args.source.resolve()
    build = (args.build or args.source).resolve()
    multi_sync = Path(os.environ.get("MULTI_SYNC", PROJECT / "target/release/multi-sync")).resolve()
    for needed, remedy in (
        (args.source / "runtests.py", "give the source tree of rsync 3.5 or newer"),
        (build / "rsync", "build it there, with ./configure && make && make check-progs"),
        (multi_sync, "build it with make, or say in MULTI_SYNC where it is"),
    ):
        if not needed.is_file():
            raise Trouble(f"there is no {needed}: {remedy}")
    version = version_of(build / "rsync")
    path = args.list or PROJECT / "tests/rsync-suite" / version
    expected = read_list(path) if path.exists() or not args.write_list else {}
    # What has lost its parent comes to us.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(2))
    places = Places(multi_sync, build / "rsync")
    try:
        results = run_suite(args, build, places, places.rsync, args.tests)
        routes = places.routes()
        again = against(expected, results)
        with_one = run_suite(args, build, places, build / "rsync", sorted(again)) if again else {}
    finally:
        strays = end_strays()
        left = places.left()
        places.remove()
    if args.write_list and not args.tests:
        write_list(path, version, expected, results, routes)
    if args.tests:
        expected = {name: line for name, line in expected.items() if any(fnmatch.fnmatch(name, test) for test in args.tests)}
    good = judge(expected, results, routes, with_one)
    for words in strays:
        print(f"still ran: {words}")
    for name in left:
        print(f"left behind: {name}")
    return 0 if good and not strays and not left else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Trouble as trouble:
        print(f"rsync-suite: {trouble}", file=sys.stderr)
        sys.exit(2)
