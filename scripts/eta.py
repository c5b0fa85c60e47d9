#!/usr/bin/env python3
"""Records how far the expected end of runs is off: two shapes, each fresh, with nothing to do, half done, and with one huge file.

usage: scripts/eta.py PROGRAM OUT [SLOWFS.c]

PROGRAM is asked once a second (`status --json`) while it copies from a file system where each look-up takes some time (SLOWFS.c, see
compare.sh --slow; without it from the folder itself) with a limited bandwidth, so that runs last for half a minute whatever else the machine does.
OUT gets a file of all looks (looks.csv) and the table of errors (table.md).
"""

import csv
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

DELAY_US = 2000
# Where nothing is to do in few files, so that the run is not over before anything can be said.
IDLE_DELAY_US = 12000
KIB, MIB = 1 << 10, 1 << 20
# Directories at each level, files in each of the last ones, and their mean size.
SHAPES = {
    "6,000 small files": dict(fan_out=(20, 15), files=20, size=6 * KIB, spread=0.3, limit="1500k", idle_delay=DELAY_US),
    "800 files of lognormal size": dict(fan_out=(10, 8), files=10, size=150 * KIB, spread=1.5, limit="6m", idle_delay=IDLE_DELAY_US),
}
KINDS = ["fresh", "nothing to do", "half done", "one huge file"]


def make(folder, shape, numbers):
    def fill(folder, fan_out):
        os.makedirs(folder)
        if not fan_out:
            for number in range(shape["files"]):
                size = int(numbers.lognormvariate(0, shape["spread"]) * shape["size"])
                with open(f"{folder}/f{number}", "wb") as file:
                    file.write(os.urandom(min(size, 8 * MIB)))
            return
        for number in range(numbers.randint(fan_out[0] // 2, 3 * fan_out[0] // 2)):
            fill(f"{folder}/d{number}", fan_out[1:])

    fill(folder, shape["fan_out"])


def weight(folder):
    return sum(os.path.getsize(os.path.join(top, name)) for top, _, names in os.walk(folder) for name in names)


def copy(program, work, source, options, words, stop_at=None):
    """Copies, and gives what was expected each second, and how long it took. Ends it when `stop_at` of it is done."""
    runs = f"{work}/runs"
    command = [program, *words] if words else [program, "-p", "4", "-f", "100", "--scan-threads", "2", "-b", runs, "-r", options, f"{source}/", f"{work}/dest"]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    looks, ended = [], []
    threading.Thread(target=lambda: (process.wait(), ended.append(time.monotonic() - began)), daemon=True).start()
    while process.poll() is None:
        time.sleep(max(0.0, 1 - (time.monotonic() - began) % 1))
        found = [entry.path for entry in os.scandir(runs)]
        if not found:
            continue
        before = time.monotonic() - began
        asked = subprocess.run([program, "status", "--json", found[0]], capture_output=True, text=True)
        status = json.loads(asked.stdout) if asked.returncode == 0 else {}
        live = status.get("live")
        if not live:
            continue
        eta = live["eta"]
        # What it says is as old as it says.
        looks.append({
            "at": round(before - live["age"], 2),
            "scanned": status["scanned"],
            "percent": live["percent"],
            **{name: round(eta[name], 2) if eta else "" for name in ("likely", "low", "high")},
        })
        done, expected = status["done"]["bytes"], (live["expected"] or {}).get("bytes") or 0
        if stop_at and expected and status["scanned"] and done >= stop_at * expected:
            process.terminate()
            process.wait()
            return looks, None, found[0]
    while not ended:
        time.sleep(0.01)
    took = ended[0]
    if process.returncode != 0:
        sys.exit(f"{command}: {process.stderr.read()}")
    return looks, took, None


def record(program, work, shape, kind, slow):
    numbers = random.Random(7)
    make(f"{work}/tree", shape, numbers)
    if kind == "one huge file":
        top = sorted(os.listdir(f"{work}/tree"))
        with open(f"{work}/tree/{top[len(top) // 2]}/huge", "wb") as file:
            for _ in range(weight(f"{work}/tree") // 2 // MIB):
                file.write(os.urandom(MIB))
    os.makedirs(f"{work}/runs")
    source = f"{work}/tree"
    if slow:
        source = f"{work}/slow"
        os.makedirs(source)
        environment = dict(os.environ, SLOWFS_SOURCE=f"{work}/tree", SLOWFS_DELAY_US=str(shape["idle_delay"] if kind == "nothing to do" else DELAY_US))
        subprocess.run([slow, "-o", "max_threads=64", source], env=environment, check=True)
    try:
        options = f"-a --bwlimit={shape['limit']}"
        if kind == "nothing to do":
            subprocess.run(["rsync", "-a", f"{work}/tree/", f"{work}/dest"], check=True)
            options = "-a"
        if kind == "half done":
            _, _, run = copy(program, work, source, options, None, stop_at=0.5)
            looks, took, _ = copy(program, work, source, options, ["resume", run])
        else:
            looks, took, _ = copy(program, work, source, options, None)
        return looks, took
    finally:
        if slow:
            subprocess.run(["fusermount3", "-u", source], check=True)


def error(looks, at, took):
    """Of the end that was expected at this time, in parts of the whole time."""
    known = [look for look in looks if look["at"] >= at and look["likely"] != ""]
    return abs(known[0]["at"] + known[0]["likely"] - took) / took if known else None


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    program, out = map(os.path.abspath, sys.argv[1:3])
    os.makedirs(out, exist_ok=True)
    work = tempfile.mkdtemp(prefix="multi-sync-eta-")
    slow = None
    if len(sys.argv) == 4:
        slow = f"{work}/slowfs"
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], capture_output=True, text=True, check=True).stdout.split()
        subprocess.run(["cc", "-O2", "-o", slow, sys.argv[3], *flags], check=True)
    rows, all_looks = [], []
    percent = lambda part: "-" if part is None else f"{100 * part:.0f} %"
    try:
        for name, shape in SHAPES.items():
            for kind in KINDS:
                place = f"{work}/run"
                looks, took = record(program, place, shape, kind, slow)
                shutil.rmtree(place)
                all_looks += [{"shape": name, "kind": kind, "took": round(took, 2), **look} for look in looks]
                scan = next((look["at"] for look in looks if look["scanned"]), took)
                known = [look for look in looks if look["likely"] != ""]
                inside = [look["at"] + look["low"] <= took <= look["at"] + look["high"] for look in known]
                percents = [look["percent"] for look in looks if look["percent"] is not None]
                assert percents == sorted(percents), (name, kind, percents)
                first = next((look["at"] for look in known), None)
                rows.append((name, kind, took, scan, first, error(looks, scan / 2, took), error(looks, took / 4, took), error(looks, took / 2, took), len(inside), sum(inside)))
                print(rows[-1], flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    with open(f"{out}/looks.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, all_looks[0].keys())
        writer.writeheader()
        writer.writerows(all_looks)
    with open(f"{out}/table.md", "w") as file:
        file.write("| shape | run | took | scan | first end after | off at half of the scan | at a quarter of the run | at half | looks | end in the range |\n")
        file.write("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
        for name, kind, took, scan, first, of_scan, quarter, half, looks, inside in rows:
            first = "-" if first is None else f"{first:.0f} s"
            file.write(f"| {name} | {kind} | {took:.0f} s | {scan:.0f} s | {first} | {percent(of_scan)} | {percent(quarter)} | {percent(half)} | {looks} | {percent(inside / looks if looks else None)} |\n")
        median = lambda at: percent(statistics.median(row[at] for row in rows if row[at] is not None))
        looks, inside = sum(row[8] for row in rows), sum(row[9] for row in rows)
        file.write(f"| all | median | | | | {median(5)} | {median(6)} | {median(7)} | {looks} | {percent(inside / looks)} |\n")


if __name__ == "__main__":
    main()
