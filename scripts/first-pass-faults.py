#!/usr/bin/env python3
"""Tries what may go wrong while a first pass makes files, with random trees, and looks at what is left.

usage: first-pass-faults.py MULTI-SYNC FOLDER KIND CASES [SEED [SECONDS]]

KIND: change  files of the source are written, moved and removed while it runs
      kill    SIGKILL at a random moment, and then the same once more
      full    a destination without room (root)
      eio     reads or writes fail at random, below an overlay (root; FAILING_FS: tests/it/support/failing_fs.c, built)
      swap    directories of the source and of the destination change places with links to elsewhere (root)

What must hold at the end: no file of DEST that rsync would take for done (size, and time in seconds) has other content than the source, or, where
the source changed, had at some time; a directory that a killed run has made has its mode; no temporary file is left unless it was killed; nothing from elsewhere arrives and nothing there changes; and
the same command once more, when all is quiet, gives the source byte by byte, with modes, owners and times. Exits with 1 if that fails.
"""
import ctypes, hashlib, os, random, re, shutil, signal, stat, subprocess, sys, threading, time

OLD = 1_000_000_000
TEMPORARY = re.compile(rb'^\..+\.[A-Za-z0-9]{6}$')
libc = ctypes.CDLL(None, use_errno=True)


def exchange(one, other):
    return libc.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), 2)


def fill(root, rng, files):
    os.makedirs(root)
    dirs = [root]
    for at in range(rng.randrange(3, 25)):
        dirs.append(os.path.join(rng.choice(dirs), f'd{at}'))
        os.mkdir(dirs[-1])
    for at in range(files):
        path = os.path.join(rng.choice(dirs), f'f{at}')
        size = rng.choice([0, 0, 1, rng.randrange(5000), rng.randrange(5000), rng.randrange(140_000), rng.randrange(300_000)])
        if rng.random() < 0.01:
            size = 3_000_000
        with open(path, 'wb') as file:
            file.write(rng.randbytes(size))
        os.chmod(path, rng.choice([0o644, 0o600, 0o755, 0o4755, 0o444]))
        if os.getuid() == 0 and rng.random() < 0.2:
            os.chown(path, rng.randrange(3) * 1000, 1000)
        os.utime(path, ns=(OLD * 10**9 + at, OLD * 10**9 + at))
    for at, dir in enumerate(dirs):
        os.chmod(dir, rng.choice([0o755, 0o700, 0o2775]))
    for dir in reversed(dirs):
        os.utime(dir, (OLD, OLD))
    return dirs


def walk(root):
    """Names with what is known of each."""
    found = {}
    for dir, dirs, files in os.walk(root):
        for name in ['', *files, *(d for d in dirs if os.path.islink(os.path.join(dir, d)))]:
            path = os.path.join(dir, name) if name else dir
            found[os.path.relpath(path, root)] = (path, os.lstat(path))
    return found


def content(path):
    with open(path, 'rb') as file:
        return hashlib.blake2b(file.read(), digest_size=16).digest()


def differences(source, dest):
    one, other = walk(source), walk(dest)
    out = [f'only on one side: {name}' for name in sorted(one.keys() ^ other.keys())]
    for name in one.keys() & other.keys():
        (p, a), (q, b) = one[name], other[name]
        # Of a directory or link that has the right second rsync does not look at the fraction.
        fraction = 1 if stat.S_ISREG(a.st_mode) else 10**9
        if (a.st_mode, a.st_uid, a.st_gid, a.st_mtime_ns // fraction) != (b.st_mode, b.st_uid, b.st_gid, b.st_mtime_ns // fraction):
            out.append(f'attributes: {name}')
        if stat.S_ISREG(a.st_mode) and stat.S_ISREG(b.st_mode) and content(p) != content(q):
            out.append(f'content: {name}')
    return out


def believed(source, dest):
    """Files that rsync would pass over, and that are wrong."""
    out = []
    one = walk(source)
    for name, (q, b) in walk(dest).items():
        if name not in one or not stat.S_ISREG(b.st_mode):
            continue
        p, a = one[name]
        if stat.S_ISREG(a.st_mode) and (a.st_size, int(a.st_mtime)) == (b.st_size, int(b.st_mtime)) and content(p) != content(q):
            out.append(f'taken for done: {name}')
    return out


class Mutator(threading.Thread):
    """Writes, moves and removes; each change has a time of its own, as changes that rsync can see have."""

    def __init__(self, root, rng):
        super().__init__()
        self.root, self.rng, self.over, self.at = root, rng, False, 0

    def run(self):
        names = [path for path, found in walk(self.root).values() if stat.S_ISREG(found.st_mode)]
        while not self.over:
            path, what = self.rng.choice(names), self.rng.random()
            self.at += 1
            try:
                size = os.lstat(path).st_size
                if what < 0.6:
                    # Often of the same size: only its time tells.
                    with open(path, 'r+b', buffering=0) as file:
                        file.write(self.rng.randbytes(size if what < 0.4 else self.rng.randrange(size + 1)))
                        if what >= 0.5:
                            file.truncate(self.rng.randrange(size + 1))
                    os.utime(path, (OLD + 1000 + self.at, OLD + 1000 + self.at))
                elif what < 0.7:
                    os.unlink(path)
                elif what < 0.85:
                    new = path + 'n'
                    with open(new, 'wb') as file:
                        file.write(self.rng.randbytes(size))
                    os.utime(new, (OLD + 1000 + self.at, OLD + 1000 + self.at))
                    os.rename(new, path)
                else:
                    dir = os.path.dirname(path)
                    if dir != self.root:
                        os.rename(dir, dir + 'm')
                        if what < 0.95:
                            os.rename(dir + 'm', dir)
            except OSError:
                pass
            time.sleep(self.rng.random() * 0.002)


class Swapper(threading.Thread):
    def __init__(self, pairs):
        super().__init__()
        self.pairs, self.over = pairs, False

    def run(self):
        rng, out = random.Random(1), {pair: False for pair in self.pairs}
        while not self.over:
            for pair in self.pairs:
                if exchange(*pair) == 0:
                    out[pair] = not out[pair]
            time.sleep(rng.choice([0, 0.0002, 0.002]))
        # One below another is reached when that is back.
        for _ in range(len(out)):
            for pair, swapped in out.items():
                if swapped and exchange(*pair) == 0:
                    out[pair] = False


def main():
    program, folder, kind, cases = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    seed = int(sys.argv[5]) if len(sys.argv) > 5 else random.randrange(10**9)
    print(f'{kind}: {cases} cases from seed {seed}', flush=True)
    end = time.monotonic() + float(sys.argv[6]) if len(sys.argv) > 6 else float('inf')
    os.umask(0o022)
    failed, codes, made_in, tried = 0, {}, 0, 0
    for case in range(seed, seed + cases):
        if time.monotonic() > end:
            break
        tried += 1
        rng = random.Random(case)
        work = os.path.join(folder, f'case-{os.getpid()}')
        source, dest, runs = (os.path.join(work, name) for name in ('src', 'dst', 'runs'))
        os.makedirs(runs)
        dirs = fill(source, rng, rng.randrange(40, 400))
        os.mkdir(dest)
        options = rng.choice(['-a', '-aH', '-aHAX', '-aS', '-a --numeric-ids', '-rpt'])
        words = [program, '-p', rng.choice('123'), '-f', rng.choice(['7', '30', '1000']), '--first-pass=on', '--stats', '-b', runs]
        tail = ['-r', options]
        mounts, server, helper, problems = [], None, None, []
        from_, to = source, dest
        elsewhere = os.path.join(work, 'elsewhere')
        if kind == 'full':
            subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={rng.randrange(40, 3000)}k', 'none', dest], check=True)
            mounts.append(dest)
        elif kind == 'eio':
            side = rng.choice(['src', 'dst'])
            path = lambda name: os.path.join(work, name)
            for name in ('mount', 'overlay', 'store', 'store/upper', 'store/work', 'low', 'upper', 'work'):
                os.mkdir(path(name))
            mount, over = path('mount'), path('overlay')
            env = dict(os.environ, FAILING_SOURCE=source if side == 'src' else path('store'), FAILING_PER_MILLE=str(rng.choice([3, 30, 200])))
            server = subprocess.Popen([os.environ.get('FAILING_FS', 'failing_fs'), '-f', mount], env=env)
            while not os.path.ismount(mount):
                time.sleep(0.005)
            low, high = (mount, work) if side == 'src' else (path('low'), mount)
            subprocess.run(['mount', '-t', 'overlay', '-o', f'lowerdir={low},upperdir={high}/upper,workdir={high}/work', 'overlay', over], check=True)
            mounts += [over, mount]
            if side == 'src':
                from_ = over
            else:
                to, dest = over, path('store/upper')
        elif kind == 'swap':
            os.makedirs(elsewhere + '/d0')
            for name in ('secret', 'd0/secret', 'f0', 'f1', 'f2'):
                with open(os.path.join(elsewhere, name), 'wb') as file:
                    file.write(b'nobody should see this')
                os.utime(os.path.join(elsewhere, name), (OLD, OLD))
            before = {name: content(path) if stat.S_ISREG(found.st_mode) else found.st_mode
                      for name, (path, found) in walk(elsewhere).items()}
            pairs = []
            for at, dir in enumerate(rng.sample(dirs[1:], min(3, len(dirs) - 1))):
                link = os.path.join(work, f'link{at}')
                # rsync follows those of who copies.
                os.symlink(elsewhere, link)
                os.lchown(link, 1234, 1234)
                pairs.append((dir, link))
            # The directory at DEST appears while it runs.
            link = os.path.join(work, 'link-dst')
            os.symlink(elsewhere, link)
            os.lchown(link, 1234, 1234)
            pairs.append((os.path.join(dest, 'd0'), link))
            helper = Swapper(pairs)
        elif kind == 'change':
            helper = Mutator(source, random.Random(case + 1))
        if helper:
            helper.start()
        log = open(os.path.join(work, 'log'), 'wb')
        run = subprocess.Popen([*words, *tail, from_ + '/', to + '/'], stdout=subprocess.PIPE, stderr=log, start_new_session=True)
        if kind == 'kill':
            time.sleep(rng.random() * rng.choice([0.05, 0.2, 0.4, 1.5]))
            os.killpg(run.pid, signal.SIGKILL)
        said = run.communicate()[0]
        made_in += b'Made by the first pass' in said
        codes[run.returncode] = codes.get(run.returncode, 0) + 1
        if kind == 'kill':
            # Its guardian ends the rsyncs that it had started.
            while subprocess.run(['pgrep', '-f', '--', dest + '/'], stdout=subprocess.DEVNULL).returncode == 0:
                time.sleep(0.02)
        if helper:
            helper.over = True
            helper.join()
        if kind == 'kill':
            # Each thread may have been at one.
            mode = lambda name: stat.S_IMODE(os.lstat(os.path.join(source, name)).st_mode) | 0o700
            closed = [name for name, (path, found) in walk(dest).items() if stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) not in (mode(name), mode(name) & 0o777) and name != '.']
            if len(closed) > int(words[2]):
                problems.append(f'without their modes: {closed}')
        problems += believed(source, dest)
        left = [name for name in walk(dest) if TEMPORARY.match(os.fsencode(os.path.basename(name)))]
        # An rsync leaves one whose directory is elsewhere when it removes it.
        if left and kind not in ('kill', 'swap'):
            problems.append(f'left: {left}')
        if kind == 'swap':
            after = {name: content(path) if stat.S_ISREG(found.st_mode) else found.st_mode
                     for name, (path, found) in walk(elsewhere).items()}
            if after != before:
                problems.append('elsewhere has changed')
            for name, (path, found) in walk(dest).items():
                if os.path.basename(name) == 'secret' or stat.S_ISREG(found.st_mode) and found.st_size == 22 and open(path, 'rb').read() == b'nobody should see this':
                    problems.append(f'from elsewhere: {name}')
        for mount in mounts:
            subprocess.run(['mount', '-o', 'remount,size=400m', mount] if kind == 'full' else ['umount', mount], check=True)
        if server:
            server.wait()
        time.sleep(0.02)
        resumes = [os.path.join(runs, name) for name in os.listdir(runs) if os.path.exists(os.path.join(runs, name, 'plan.json'))]
        again = [program, '--resume', resumes[0]] if resumes and kind == 'kill' and rng.random() < 0.7 else [*words, *tail, source + '/', dest + '/']
        once = subprocess.run(again, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if kind in ('change', 'swap', 'eio', 'full') or once.returncode:
            # What is gone from the source stays at DEST without deletion, and so does what SIGKILL left of a temporary name.
            once = subprocess.run(['rsync', *options.split(), '--delete', source + '/', dest + '/'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if once.returncode:
            problems.append(f'once more: {once.returncode}: {once.stdout.decode(errors="replace")}')
        wrong = differences(source, dest)
        if options == '-rpt':
            wrong = [text for text in wrong if not text.startswith('attributes')]
        if kind == 'kill':
            wrong = [text for text in wrong if not (text.startswith('only') and TEMPORARY.match(os.fsencode(os.path.basename(text))))]
        problems += wrong
        if kind == 'full':
            subprocess.run(['umount', dest], check=True)
        if problems:
            failed += 1
            print(f'seed {case} {options} code {run.returncode}: {problems[:5]}', flush=True)
        log.close()
        shutil.rmtree(work)
    print(f'{kind}: {tried} cases, {made_in} with a finished first pass, {failed} wrong; exit codes {dict(sorted(codes.items(), key=str))}')
    sys.exit(failed > 0)


main()
