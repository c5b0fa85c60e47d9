#!/usr/bin/env python3
"""Compares a first pass with one rsync and with tools that only copy: fresh copies on one machine, in interleaved rounds. Each result of the first round is
compared with the source byte by byte, with modes, owners and times; what differs is said, and is no result.

usage: first-pass.py MULTI-SYNC FOLDER ROUNDS SHAPES OUT.json [TOOLS]

SHAPES, with commas: empty (50,000 empty files in 500 directories), lognormal (20,000 files, 1.1 GB), flat (300,000 empty files in one directory), large
(one file of LARGE bytes, default 2 GiB), or PATH (a tree that is there). TOOLS, with commas: rsync, off, on, cp, tar, fpsync, rclone, and before (the
program in BEFORE, with a first pass); all that are installed. FROM=FOLDER: sources are made there instead, for a source on another file system.
PROCESSES (default 2) is -p. KEEP=yes: destinations are removed at the end of a shape only; ext4 looks at each inode that was removed within the last
minutes and does not take it (`recently_deleted`), which costs more than all else. The clock, and the processor time of all processes, are in OUT, and a table is printed.
"""
import filecmp, glob, json, os, platform, random, resource, shutil, stat, statistics, subprocess, sys, time

program, where, rounds, shapes, out = sys.argv[1], os.path.abspath(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(','), sys.argv[5]
before, processes = os.environ.get('BEFORE'), os.environ.get('PROCESSES', '2')
sources = os.environ.get('FROM', where)
words = '-a --numeric-ids'


def multi_sync(path, wish):
    return lambda s, d: [path, '-p', processes, f'--first-pass={wish}', '-r', words, s + '/', d + '/']


tools = {
    'rsync': lambda s, d: ['rsync', *words.split(), s + '/', d + '/'],
    'off': multi_sync(program, 'off'),
    'on': multi_sync(program, 'on'),
    'cp': lambda s, d: ['cp', '-a', s + '/.', d],
    'tar': lambda s, d: ['sh', '-c', f'cd {s} && tar cf - . | tar xpf - -C {d} --same-owner --numeric-owner'],
}
if before:
    tools['before'] = multi_sync(before, 'on')
if shutil.which('fpsync'):
    # It copies directories as cpio does, files 1,000 at a time.
    tools['fpsync'] = lambda s, d: ['fpsync', '-m', 'cpio', '-n', processes, '-f', '1000', '-t', where + '/fpsync', s + '/', d + '/']
if shutil.which('rclone'):
    tools['rclone'] = lambda s, d: ['rclone', 'copy', '--config', '/dev/null', '--metadata', '--create-empty-src-dirs', '--transfers', '4', s, d]
if len(sys.argv) > 6:
    tools = {name: tools[name] for name in sys.argv[6].split(',')}


def generate(kind):
    if kind.startswith('/'):
        return kind
    rng, source = random.Random(5), f'{sources}/src-{kind}'
    if os.path.exists(source):
        return source
    os.makedirs(source)
    if kind == 'empty':
        for dir in range(500):
            path = f'{source}/d{dir // 25}/e{dir % 25}'
            os.makedirs(path)
            for file in range(100):
                os.mknod(f'{path}/f{file}')
    elif kind == 'flat':
        for file in range(300_000):
            os.mknod(f'{source}/f{file}')
    elif kind == 'lognormal':
        block = os.urandom(1 << 20) * 66
        for file in range(20_000):
            path = f'{source}/d{file % 20}/e{file % 200}'
            os.makedirs(path, exist_ok=True)
            size, begin = min(int(rng.lognormvariate(8.5, 2.2)), 60 << 20), rng.randrange(1 << 20)
            with open(f'{path}/f{file}', 'wb') as handle:
                handle.write(block[begin:begin + size])
    elif kind == 'large':
        block, left = os.urandom(1 << 20), int(os.environ.get('LARGE', 2 << 30))
        with open(f'{source}/file', 'wb') as handle:
            at = 0
            while left > 0:
                part = (block[at % 1000:] + block[:at % 1000])[:left]
                handle.write(part)
                left, at = left - len(part), at + 1
    else:
        sys.exit(f'there is no shape {kind}')
    subprocess.run(['find', source, '-exec', 'touch', '-h', '-d', '@1000000000.123456789', '{}', '+'], check=True)
    os.sync()
    return source


def differences(source, dest):
    """How many entries differ, and one of them."""
    found, count = '', 0
    for dir, dirs, files in os.walk(source):
        other = dest + dir[len(source):]
        if not os.path.isdir(other) or set(os.listdir(other)) != {*dirs, *files}:
            return 10**9, f'names in {other}'
        for name in [*files, *dirs, '.']:
            one, two = os.path.join(dir, name), os.path.join(other, name)
            a, b = os.lstat(one), os.lstat(two)
            same = (a.st_mode, a.st_uid, a.st_gid, a.st_mtime_ns) == (b.st_mode, b.st_uid, b.st_gid, b.st_mtime_ns)
            if stat.S_ISREG(a.st_mode):
                same &= a.st_size == b.st_size and (a.st_size == 0 or filecmp.cmp(one, two, shallow=False))
            elif stat.S_ISLNK(a.st_mode):
                same &= os.readlink(one) == os.readlink(two)
            if not same:
                count, found = count + 1, two
    return count, found


def spent():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def timed(command):
    began, had = time.monotonic(), spent()
    code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    return round(time.monotonic() - began, 4), round(spent() - had, 4), code


def save():
    machine = dict(kernel=platform.release(), processors=os.cpu_count(), load=os.getloadavg(), processes=processes)
    names = {program: 'multi-sync', before: 'older multi-sync'}
    shown = {name: ' '.join(names.get(word, word) for word in command('SRC', 'DST')) for name, command in tools.items()}
    with open(out, 'w') as handle:
        json.dump(dict(machine=machine, commands=shown, rounds=results), handle, indent=1)


os.makedirs(where, exist_ok=True)
results, keep = [], os.environ.get('KEEP') == 'yes'
for kind in shapes:
    source, name = generate(kind), os.path.basename(kind)
    for turn in range(rounds):
        for tool, command in tools.items():
            dest = f'{where}/dst{turn}-{tool}' if keep else f'{where}/dst'
            subprocess.run(['rm', '-rf', dest, where + '/fpsync'])
            os.mkdir(dest)
            # What one tool has left to write is not the next one's work.
            os.sync()
            seconds, cpu, code = timed(command(source, dest))
            row = dict(shape=name, tool=tool, round=turn, seconds=seconds, cpu=cpu, code=code, load=os.getloadavg()[0])
            if turn == 0:
                row['different'], row['example'] = differences(source, dest)
            if tool in ('rsync', 'off', 'on', 'before'):
                row['again'], row['again_cpu'], _ = timed(command(source, dest))
            results.append(row)
        save()
    of = lambda tool, what: statistics.median(row[what] for row in results if (row['shape'], row['tool']) == (name, tool))
    print(f'{name}, {rounds} rounds: clock s, /rsync, processor s, /rsync, second run s, /rsync, its processor s, /rsync')
    for tool in tools:
        line = f'  {tool:8}'
        for what in ('seconds', 'cpu', 'again', 'again_cpu'):
            if what.startswith('again') and tool not in ('rsync', 'off', 'on', 'before'):
                continue
            line += f' {of(tool, what):8.3f} {of(tool, what) / max(of("rsync", what), 1e-9):5.2f}' if 'rsync' in tools else f' {of(tool, what):8.3f}'
        first = next(row for row in results if (row['shape'], row['tool']) == (name, tool))
        differ = f'  differs: {first["different"]}, {first["example"].split("/dst")[-1]}' if first['different'] else ''
        print(line + (f' code {first["code"]}' if first['code'] else '') + differ, flush=True)
    subprocess.run(['rm', '-rf', *glob.glob(f'{where}/dst*'), where + '/fpsync'])
