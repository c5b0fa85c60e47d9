#!/usr/bin/env python3
"""Interleaved rounds of scans and copies with builds of multi-sync that differ in the C library and the allocator.

    measure.py ROUNDS TREE SMALL NAME=PROGRAM... >measured.csv

TREE is surveyed (`survey`), and scanned with bucket files (`-d`); SMALL is copied to a new directory beside it with `-p 2`. Times are
those of wait4(2): wall, user and system seconds, of a copy with its rsyncs.
"""
import os, shutil, subprocess, sys, time

rounds, tree, small = int(sys.argv[1]), sys.argv[2], sys.argv[3]
programs = [word.split("=", 1) for word in sys.argv[4:]]
scratch = os.path.join(os.path.dirname(small), "scratch")
environment = dict(os.environ, XDG_STATE_HOME=os.path.join(scratch, "state"), TMPDIR=scratch)


def once(words):
    child = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    begin = time.monotonic()
    _, status, used = os.wait4(child.pid, 0)
    wall = time.monotonic() - begin
    return wall, used.ru_utime, used.ru_stime, used.ru_maxrss, os.waitstatus_to_exitcode(status)


print("work,round,build,wall,user,system,peak_kib,code,load")
for at in range(rounds + 1):
    for work in ("survey", "scan", "copy"):
        for name, program in programs[at % len(programs):] + programs[:at % len(programs)]:
            shutil.rmtree(scratch, ignore_errors=True)
            os.makedirs(scratch)
            words = {
                "survey": [program, "survey", "-p", "2", tree],
                "scan": [program, "-d", "-p", "2", "-b", scratch, tree, os.path.join(scratch, "none")],
                "copy": [program, "-p", "2", "rsync", "-a", small + "/", os.path.join(scratch, "copy") + "/"],
            }[work]
            got = once(words)
            # The first round warms up.
            if at:
                print(work, at, name, *(f"{value:.4f}" for value in got[:3]), got[3], got[4], os.getloadavg()[0], sep=",", flush=True)
shutil.rmtree(scratch, ignore_errors=True)
