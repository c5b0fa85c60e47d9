#!/usr/bin/env bash
# Compares multi-sync with plain rsync and other tools on this machine, in one run: interleaved rounds (A B C A B C ...), each result
# checked before its time counts. Prints a Markdown table; raw results and a description of the machine go to
# bench-data/runs/DATE-NAME/. Nothing is installed, and everything else it makes is removed.
set -euo pipefail
export LC_ALL=C
# sshd is not in the PATH of every user.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

usage() {
    cat <<'END'
usage: scripts/compare.sh [--copy] [--scan] [--slow] [--ssh] [--wan] [--hosts] [--hosts-slow] [--buckets] [--delete] [--links] [--pull-wan]
       [--pull-small] [--pull-ssh] [--pull-addresses] [OPTIONS]

What is compared; --copy if nothing is said:
  --copy         whole jobs, fresh and with nothing to do: rsync, multi-sync -p 1, -p 2, and -p N for each --processes,
                 and two rsyncs that somebody starts by hand with half of the names each
  --scan         scans: multi-sync -d, find -printf, fpart -L, fd (those that are installed), and bare system calls in one thread
  --slow         the same of 5,000 entries where each look-up takes 1 ms, as over a network (needs FUSE; see SLOWFS), with the
                 number of look-ups (needs strace)
  --ssh          20,000 files through an sshd of its own on the loopback network: rsync, multi-sync -p 4
  --wan          256 files of 640 KiB to an rsync daemon at the end of a long link (50 ms round trip, 256 KiB window; needs
                 WAN_PROXY and python3): rsync, multi-sync -p 4, -p 8
  --hosts        three source hosts (network namespaces, 100 Mbit/s each, an sshd in each) that push 120 MB to one rsync daemon:
                 multi-sync -p 3 on one of them, and many-to-one with all (needs root, ip and tc)
  --hosts-slow   three source hosts (mount namespaces) with a source each whose file system takes 1 ms an operation and eight at
                 once, 20,000 files: one of them and all, that scan what they copy, and all where this machine scans (needs root, FUSE)
  --buckets      what a run costs per bucket: 10,000, 100,000 and 1,000,000 buckets of one file, for an rsync that does nothing
  --delete       -a --delete where the destination has 100,000 files and 10,000 more: rsync, multi-sync -p 1, -p 2 ...
  --pull-wan     256 files of 640 KiB from an rsync daemon at the end of a long link, as --wan: rsync, multi-sync -p 4, -p 8
  --pull-small   20,000 files of 10 KiB from there: the same, and mprsync -j 8
  --pull-ssh     20,000 files from an sshd of its own on the loopback network, as --ssh: rsync, multi-sync -p 4, mprsync -j 4
  --pull-addresses  120 MB from three addresses of one machine, 100 Mbit/s each, as --hosts: multi-sync -p 3 through one of them and through all
  --links        -aH of 20 snapshots of 5,000 files that share what has not changed, fresh and with nothing to do: the same

Options:
  --processes N  one more multi-sync -p N (may be repeated)
  --peers        fpsync and msrsync3 too, if installed (they are slow)
  --cases LIST   trees of --copy: names of bench-data/NAME.json, with commas [empty-50k,lognormal-20k,linux-6.1]
  --scan-cases LIST  trees of --scan [bench-1m,flat-300k]
  --entries N    --scan: the trees N / 1000000 times as large
  --scan-threads N   of multi-sync -d [what it takes by itself]
  --scale X      trees of all but --scan and --slow X times as large (a manifest has no scale) [1]
  --rsync 'OPTS' options of rsync, of all but --scan, --slow, --buckets, --delete and --links [-aS --numeric-ids]
  --rounds N     [5]
  --dir DIR      where the trees are made [/dev/shm, else TMPDIR, else /tmp]
  --cold         drop the caches before each timed command (root; without effect on tmpfs)
  --minutes N    start nothing after N minutes [30]; no command may take longer than 5 minutes
  --name NAME    name of the run [host name]
  --out DIR      instead of bench-data/runs/DATE-NAME

Environment: BEFORE: an older multi-sync, which has a row "before ..." beside each row of the new one, but of --slow, --hosts and --buckets;
MULTI_SYNC (default target/release/multi-sync), MAKETREE, SAMETREE, BARESCAN (default target/release/examples/...), MANYBUCKETS;
`make compare` builds them. MPRSYNC: mprsync from PyPI (default: where it is found; without it its rows are left out). SLOWFS: the source of a FUSE file system that waits (default ../shared/tools/slowfs.c).
WAN_PROXY: a program that delays and limits TCP connections (default ../shared/tools/wan-proxy.py).
`scripts/setup.sh bench` installs what --scan and --slow can use. With the defaults --copy takes about 10 minutes, --scan 5, --slow 8,
--ssh 5, --wan 6, --hosts 4, --hosts-slow 10, --buckets 12, --delete 3,
--links 6, --pull-wan 6, --pull-small 6, --pull-ssh 6 and --pull-addresses 4 on two cores.
END
}

# Longest time of one command, in seconds.
cap=300
usual=(-aS --numeric-ids)
options=()
here=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
multi_sync=${MULTI_SYNC:-$target/release/multi-sync}
before=${BEFORE:-}
maketree=${MAKETREE:-$target/release/examples/maketree}
sametree=${SAMETREE:-$target/release/examples/sametree}
barescan=${BARESCAN:-$target/release/examples/barescan}
mprsync=${MPRSYNC:-mprsync}
manybuckets=${MANYBUCKETS:-$target/release/examples/manybuckets}
slowfs=${SLOWFS:-$here/../shared/tools/slowfs.c}
wan_proxy=${WAN_PROXY:-$here/../shared/tools/wan-proxy.py}
kinds=()
processes=(1 2)
peers=no
cases=empty-50k,lognormal-20k,linux-6.1
scan_cases=bench-1m,flat-300k
entries=1000000
scan_threads=
scale=1
rounds=5
dir=
cold=no
minutes=30
name=$(uname -n)
out=
work=
# What tools are told the source is, if it is on another machine.
pulled=
sshd_pid=
observed_pid=
wan_pids=()
spaces=()
# Processes that hold a mount namespace each.
holders=()
daemon_address=
mounted=

say() {
    printf 'compare: %s\n' "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

number() {
    [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 needs a number, not '$2'"
}

read_words() {
    while [ $# -gt 0 ]; do
        case $1 in
            --copy | --scan | --slow | --ssh | --wan | --hosts | --hosts-slow | --buckets | --delete | --links | --pull-wan | --pull-small | \
                --pull-ssh | --pull-addresses) kinds+=("${1#--}") ;;
            --peers) peers=yes ;;
            --cold) cold=yes ;;
            -h | --help) usage && exit 0 ;;
            --processes | --cases | --scan-cases | --entries | --scan-threads | --scale | --rsync | --rounds | --dir | --minutes | --name | \
                --out)
                [ $# -ge 2 ] || fail "$1 needs a value"
                case $1 in
                    --processes) number "$1" "$2" && processes+=("$2") ;;
                    --cases) cases=$2 ;;
                    --scan-cases) scan_cases=$2 ;;
                    --entries) number "$1" "$2" && entries=$2 ;;
                    --scan-threads) number "$1" "$2" && scan_threads=$2 ;;
                    --scale) scale=$2 ;;
                    --rsync) read -ra usual <<<"$2" ;;
                    --rounds) number "$1" "$2" && rounds=$2 ;;
                    --dir) dir=$2 ;;
                    --minutes) number "$1" "$2" && minutes=$2 ;;
                    --name) name=$2 ;;
                    --out) out=$2 ;;
                esac
                shift
                ;;
            *) usage >&2 && exit 2 ;;
        esac
        shift
    done
    [ ${#kinds[@]} -gt 0 ] || kinds=(copy)
}

clean() {
    [ -z "$observed_pid" ] || kill "$observed_pid" 2>/dev/null || :
    if [ -n "$sshd_pid" ]; then
        kill "$sshd_pid" 2>/dev/null || :
        wait "$sshd_pid" 2>/dev/null || :
    fi
    [ ${#wan_pids[@]} = 0 ] || kill "${wan_pids[@]}" 2>/dev/null || :
    local space
    for space in "${spaces[@]}"; do
        ip netns pids "$space" 2>/dev/null | xargs -r kill 2>/dev/null || :
        ip netns del "$space" || :
    done
    [ -z "$daemon_address" ] || ip addr del "$daemon_address/32" dev lo || :
    [ ${#holders[@]} = 0 ] || kill "${holders[@]}" 2>/dev/null || :
    [ -z "$mounted" ] || fusermount3 -u -z "$mounted" || :
    [ -z "$work" ] || rm -rf "$work"
}

prepare() {
    local program
    for program in "$multi_sync" "$maketree" "$sametree" ${before:+"$before"}; do
        [ -x "$program" ] || fail "$program is not built (make compare)"
    done
    has rsync || fail 'rsync is not installed (scripts/setup.sh run)'
    [ "$cold" = no ] || [ -w /proc/sys/vm/drop_caches ] || fail '--cold needs root'
    if [ -z "$dir" ]; then
        dir=${TMPDIR:-/tmp}
        if [ -d /dev/shm ] && [ -w /dev/shm ]; then dir=/dev/shm; fi
    fi
    trap clean EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    work=$(mktemp -d "$dir/multi-sync-compare.XXXXXX")
    # Temporary files of the programs are on the same file system.
    mkdir "$work/tmp"
    export TMPDIR=$work/tmp XDG_STATE_HOME=$work/state
    if [ -z "$out" ]; then
        out=$here/bench-data/runs/$(date +%F)-$name
        local count=2 first=$out
        while [ -e "$out" ]; do
            out=$first-$count
            count=$((count + 1))
        done
    fi
    mkdir -p "$out"
    results=$out/results.csv
    echo 'tree,run,tool,round,seconds,user,system,load,status,differences' >"$results"
    : >"$out/commands.txt"
    : >"$out/observed.csv"
    describe >"$out/machine.txt"
}

version() {
    printf '%s: ' "$1"
    shift
    { timeout 10 "$@" 2>&1 || :; } | head -n 1
}

describe() {
    echo "date: $(date -u +%FT%TZ)"
    echo "kernel: $(uname -srm)"
    echo "processor: $(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores for us"
    awk '/^MemTotal/ { printf "memory: %.1f GiB\n", $2 / 1048576 }' /proc/meminfo
    echo "load at start: $(cat /proc/loadavg)"
    echo "file system: $(df -PT "$work" | awk 'NR == 2 { print $2 " on " $7 }')"
    echo "caches: $([ "$cold" = yes ] && echo 'dropped before each command' || echo warm)"
    echo "rounds: $rounds, seed 1, scale $scale"
    version rsync rsync --version
    version multi-sync "$multi_sync" --version
    [ -z "$before" ] || version before "$before" --version
    echo "multi-sync commit: $(git -C "$here" describe --always --dirty 2>/dev/null || echo unknown)"
    if has rustc; then version rustc rustc --version; fi
    local tool
    for tool in find fd fdfind; do
        if has "$tool"; then version "$tool" "$tool" --version; fi
    done
    if has fpart; then version fpart fpart -V; fi
    if has msrsync3; then version msrsync3 msrsync3 --version; fi
    if has ssh; then version ssh ssh -V; fi
    if has "$mprsync"; then
        # It tells no version, and what stands in front of it may be a script of another kind.
        interpreter=$(sed -n '1s/^#!//p' "$(command -v "$mprsync")")
        case $interpreter in *python*) version mprsync "$interpreter" -c 'import importlib.metadata as m; print(m.version("mprsync"))' ;; esac
    fi
    echo "command: $0 ${words[*]}"
}

# make_tree NAME FOLDER SCALE
make_tree() {
    local spec=$here/bench-data/$1.json
    [ -f "$spec" ] || fail "there is no $spec"
    printf 'compare: %s: ' "$1" >&2
    if grep -q '"manifest"' "$spec"; then
        "$maketree" "$spec" "$2" 1 | tee "$work/made" >&2
    else
        "$maketree" "$spec" "$2" 1 "$3" | tee "$work/made" >&2
    fi
    echo "tree $1: $(cat "$work/made")" >>"$out/machine.txt"
}

# Room for the copy of a tree.
check_room() {
    local needs free
    needs=$(du -sk "$1" | cut -f 1)
    free=$(df -Pk "$work" | awk 'NR == 2 { print $4 }')
    [ $((needs + needs / 4 + 65536)) -le "$free" ] ||
        fail "a copy needs $((needs / 1024)) MB, and only $((free / 1024)) MB are free in $dir: --scale or --dir"
}

# What somebody types who has two processors and no tool: half of the names for each of two rsyncs, then the directory itself.
# shellcheck disable=SC2016
by_hand='
    cd "$1" && mkdir -p "$2" && names=(*) && half=$((${#names[@]} / 2)) || exit
    rsync "${@:3}" "${names[@]:0:half}" "$2/" & first=$!
    rsync "${@:3}" "${names[@]:half}" "$2/" && wait "$first" && exec rsync "${@:3}" --no-r -d ./ "$2/"'

# The command of a tool goes to `argv`. command_of TOOL SOURCE DESTINATION
command_of() {
    local count=${1##* }
    if [[ $1 == before* ]]; then
        command_of "multi-sync${1#before}" "$2" "$3"
        argv[0]=$before
        return
    fi
    case $1 in
        rsync) argv=(rsync "${options[@]}" "$2/" "$3/") ;;
        'multi-sync -d')
            argv=("$multi_sync" -d -k --stats -b "$work/out" ${scan_threads:+--scan-threads "$scan_threads"} "$2/" "$work/none/")
            ;;
        'multi-sync -p 3 on one host')
            argv=(ip netns exec "${spaces[0]}" "$multi_sync" -p 3 -r "${options[*]}" "$2/" "$3/")
            ;;
        *'through three addresses') argv=("$multi_sync" -p 3 -r "${options[*]}" "host{1..3}:${2#*:}/" "$3/") ;;
        *'through one address') argv=("$multi_sync" -p 3 -r "${options[*]}" "$2/" "$3/") ;;
        'multi-sync from 3 hosts')
            argv=("$multi_sync" -m many-to-one --ssh "ssh -F $work/hosts/config" --hosts "host1,host2,host3" -r "${options[*]}" "$2/" "$3/")
            ;;
        'multi-sync from 3 hosts by a template')
            argv=("$multi_sync" -m many-to-one --engine "ip netns exec ms$$-{host} sh -s" --hosts "1,2,3" -r "${options[*]}" "$2/" "$3/")
            ;;
        *' slow host'*)
            # Each is called by its process.
            local hosts=("${holders[@]}") way=hosts
            if [[ $1 == *' from 1 '* ]]; then hosts=("${holders[0]}"); fi
            if [[ $1 == *'scanned here' ]]; then way=here; fi
            argv=("$multi_sync" -m many-to-one --engine "nsenter -t {host} -m env PATH='$(dirname "$multi_sync"):$PATH' sh -s"
                --hosts "$(IFS=, && echo "${hosts[*]/%/*8}")" --scan-by "$way" -r "${options[*]}" "$2/" "$3/")
            ;;
        multi-sync*) argv=("$multi_sync" -p "$count" -r "${options[*]}" "$2/" "$3/") ;;
        mprsync*) argv=("$mprsync" -j "$count" --silent "${options[@]}" "$2/" "$3/") ;;
        'two by hand') argv=(bash -c "$by_hand" by_hand "$2" "$3" "${options[@]}") ;;
        # It refuses -a, which is -r and these.
        fpsync*) argv=(fpsync -n "$count" -t "$work/tmp/fpsync" -o '-lptgoDS --numeric-ids' "$2/" "$3/") ;;
        msrsync3*) argv=(msrsync3 -p "$count" "$2/" "$3/") ;;
        find) argv=(find "$2" -fprintf "$work/out/list" '%y %s %p\n') ;;
        fpart) argv=(fpart -L -f 1000 -s 1073741824 -o "$work/out/part" "$2") ;;
        fd | fdfind) argv=("$1" -u . "$2") ;;
        bare) argv=("$barescan" "$2") ;;
    esac
}

# measure TREE RUN TOOL ROUND: times `argv`; `seconds`, `user`, `system`, `load` and `status` tell of it.
measure() {
    status=ok seconds='' user='' system=''
    load=$(cut -d ' ' -f 1 /proc/loadavg)
    if [ "$SECONDS" -gt $((minutes * 60)) ]; then
        status='no time left'
        return
    fi
    local command
    command=$(printf ' %q' "${argv[@]}")
    echo "$1, $2, $3:${command//"$work"/DIR}" >>"$out/commands.txt"
    if [ "$cold" = yes ]; then
        sync
        echo 3 >/proc/sys/vm/drop_caches
    fi
    local code=0 TIMEFORMAT='%3R %3U %3S'
    { time timeout --foreground -k 10 "$cap" "${argv[@]}" >"$work/said" 2>"$work/errors"; } 2>"$work/time" || code=$?
    read -r seconds user system <"$work/time"
    case $code in
        0) ;;
        124 | 137) status="stopped after $cap s" ;;
        *) status="exit code $code" ;;
    esac
    if [ "$code" != 0 ]; then
        say "$3: $status: $(head -n 3 "$work/errors")"
        { echo "$1, $2, $3, round $4: $status" && head -n 20 "$work/errors"; } >>"$out/errors.txt"
    fi
}

# record TREE RUN TOOL ROUND DIFFERENCES
record() {
    echo "$1,$2,$3,$4,$seconds,$user,$system,$load,$status,$5" >>"$results"
}

# What a dry run of rsync would still do, in lines, and what differs if all names and hard links are compared.
differences() {
    { timeout --foreground "$cap" rsync -n -i "${options[@]}" --delete "$1/" "$2/" 2>&1 || echo failed; } >"$work/differs"
    case ${options[*]} in
        *H*) "$sametree" --hard-links "$1" "$2" >>"$work/differs" 2>&1 || echo 'another tree' >>"$work/differs" ;;
        *--delete*) "$sametree" "$1" "$2" >>"$work/differs" 2>&1 || echo 'another tree' >>"$work/differs" ;;
    esac
    grep -c '' "$work/differs" || :
}

# check TREE RUN TOOL ROUND SOURCE DESTINATION: a result counts if it is that of rsync.
check() {
    local differ=''
    if [ "$status" = ok ]; then
        differ=$(differences "$5" "$6")
        if [ "$differ" != 0 ]; then
            status=differs
            { echo "$1, $2, $3, round $4: differs" && head -n 5 "$work/differs"; } >>"$out/errors.txt"
        fi
    fi
    record "$1" "$2" "$3" "$4" "$differ"
}

# observe TREE RUN TOOL: runs `argv` once more, untimed, and looks at the process itself (not at its children): CPU time and peak
# memory, as last seen before its end; and how many rsyncs it had started that still ran, on the average of all looks.
observe() {
    [ "$SECONDS" -le $((minutes * 60)) ] || return 0
    local pid stat fields cpu=0 peak=0 key value end=$((SECONDS + cap)) looks=0 running=0 children child comm
    "${argv[@]}" >/dev/null 2>&1 &
    pid=$!
    observed_pid=$pid
    while [ "$SECONDS" -lt "$end" ] && kill -0 "$pid" 2>/dev/null; do
        { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || break
        read -ra fields <<<"${stat##*) }"
        [ "${fields[0]}" != Z ] || break
        cpu=$((fields[11] + fields[12]))
        while read -r key value _; do
            if [ "$key" = VmHWM: ]; then peak=$value; fi
        done 2>/dev/null <"/proc/$pid/status" || :
        read -rd '' -a children < <(cat "/proc/$pid/task/"*/children 2>/dev/null) || :
        looks=$((looks + 1))
        for child in "${children[@]}"; do
            # Connections that launches share are no launches; those on other hosts are seen as their ssh.
            { read -r comm <"/proc/$child/comm"; } 2>/dev/null || continue
            if [ "$comm" = rsync ] || [[ $3 == *hosts* ]]; then running=$((running + 1)); fi
        done
        sleep 0.02
    done
    if [ "$SECONDS" -ge "$end" ]; then kill "$pid" 2>/dev/null || :; fi
    wait "$pid" || :
    observed_pid=
    echo "$1,$2,$3,$cpu,$(getconf CLK_TCK),$peak,$(awk "BEGIN { printf \"%.2f\", $running / ($looks ? $looks : 1) }")" >>"$out/observed.csv"
}

# copy_round TREE SOURCE DESTINATION ROUND TOOL: fresh, nothing to do, and gone again. DESTINATION is what tools are told; the
# folder itself is "$work/copy".
copy_round() {
    command_of "$5" "${pulled:-$2}" "$3"
    case $5 in
        # They do not make it.
        fpsync* | msrsync3*) mkdir "$work/copy" ;;
    esac
    local run
    for run in fresh 'nothing to do'; do
        measure "$1" "$run" "$5" "$4"
        check "$1" "$run" "$5" "$4" "$2" "$work/copy"
    done
    rm -rf "$work/copy"
}

# compare_copies TREE SOURCE DESTINATION TOOL...
compare_copies() {
    local tree=$1 from=$2 to=$3 tool round run
    shift 3
    check_room "$from"
    # The first copy of all pays for caches; not where nothing is remembered.
    command_of rsync "$([ -n "$mounted" ] && echo "$from" || echo "${pulled:-$from}")" "$to"
    timeout --foreground "$cap" "${argv[@]}" >/dev/null || fail "rsync cannot copy $tree"
    rm -rf "$work/copy"
    for ((round = 1; round <= rounds; round++)); do
        say "$tree: round $round of $rounds"
        for tool; do copy_round "$tree" "$from" "$to" "$round" "$tool"; done
    done
    for tool; do
        case $tool in
            multi-sync*)
                command_of "$tool" "${pulled:-$from}" "$to"
                for run in fresh 'nothing to do'; do observe "$tree" "$run" "$tool"; done
                rm -rf "$work/copy"
                ;;
        esac
    done
}

copies() {
    local tools tree
    mapfile -t tools < <(tools_of_processes)
    tools+=('two by hand')
    if [ "$peers" = yes ]; then
        if has fpsync; then tools+=('fpsync -n 2'); fi
        if has msrsync3; then tools+=('msrsync3 -p 2'); fi
    fi
    for tree in ${cases//,/ }; do
        make_tree "$tree" "$work/tree" "$scale"
        compare_copies "$tree" "$work/tree" "$work/copy" "${tools[@]}"
        rm -rf "$work/tree"
    done
}

# Prints `rsync` and the multi-sync commands, one a line.
tools_of_processes() {
    echo rsync
    with_before "${processes[@]/#/-p }"
}

# with_before WORDS...: multi-sync with each of these words, and the older one, one a line.
with_before() {
    local words
    for words; do
        [ -z "$before" ] || echo "before $words"
        echo "multi-sync $words"
    done
}

# extras FOLDER: puts 5,000 files into directories that are there, and 5,000 into new ones (with scale 1).
extras() {
    local files
    files=$(awk "BEGIN { print int(5000 * $scale + 0.5) }")
    (
        cd "$1"
        find . -mindepth 1 -type d | sort | awk -v count="$files" '
            { dir[NR] = $0 }
            END { for (i = 0; i < count; i++) print dir[i % NR + 1] "/extra" i }' | tr '\n' '\0' | xargs -0 touch
        seq 0 $(((files - 1) / 100)) | sed 's/^/extra/' | xargs mkdir
        awk -v count="$files" 'BEGIN { for (i = 0; i < count; i++) print "extra" int(i / 100) "/" i }' | xargs touch
    )
}

deletions() {
    local tools tool round all
    mapfile -t tools < <(tools_of_processes)
    options=(-a --delete)
    make_tree small-100k "$work/tree" "$scale"
    check_room "$work/tree"
    rsync -a "$work/tree/" "$work/copy/"
    for ((round = 0; round <= rounds; round++)); do
        [ "$round" = 0 ] || say "deletion: round $round of $rounds"
        for tool in "${tools[@]}"; do
            extras "$work/copy"
            all=$(($(find "$work/copy" -type f | wc -l) - $(find "$work/tree" -type f | wc -l)))
            command_of "$tool" "$work/tree" "$work/copy"
            # The first of all pays for caches.
            measure "$all extras" deletion "$tool" "$round"
            if [ "$round" = 0 ]; then continue; fi
            check "$all extras" deletion "$tool" "$round" "$work/tree" "$work/copy"
        done
    done
    for tool in "${tools[@]}"; do
        case $tool in
            multi-sync*)
                extras "$work/copy"
                command_of "$tool" "$work/tree" "$work/copy"
                observe "$all extras" deletion "$tool"
                ;;
        esac
    done
    rm -rf "$work/tree" "$work/copy"
}

# farm FOLDER: 20 snapshots that share their files but for every 33rd, which each has anew.
farm() {
    local number file
    make_tree snapshot-5k "$1/0" "$scale"
    for number in $(seq 19); do
        cp -al "$1/$((number - 1))" "$1/$number"
        find "$1/$number" -type f | sort | awk -v first="$number" 'NR % 33 == first' >"$work/changed"
        tr '\n' '\0' <"$work/changed" | xargs -0 rm
        while read -r file; do echo "$number of $file" >"$file"; done <"$work/changed"
        # cp -al keeps times, and writing has changed them.
        find "$1/$number" -type d -exec touch -d "@$((1000000000 + number))" {} +
    done
    echo "link farm: $(find "$1" -type f | wc -l) names of $(find "$1" -type f -printf '%i\n' | sort -u | wc -l) files" >>"$out/machine.txt"
}

farms() {
    local tools
    mapfile -t tools < <(tools_of_processes)
    options=(-aH)
    mkdir "$work/tree"
    farm "$work/tree"
    compare_copies 'link farm' "$work/tree" "$work/copy" "${tools[@]}"
    rm -rf "$work/tree"
}

# entries_found TOOL: how much it has found, from what it has written.
entries_found() {
    case $1 in
        *' -d') sed -n 's/^Total entries: //p' "$work/said" ;;
        find) wc -l <"$work/out/list" ;;
        bare) cat "$work/said" ;;
        # Files only.
        fpart) cat "$work"/out/part* | wc -l ;;
        # All but the root.
        *) wc -l <"$work/said" ;;
    esac
}

# A tree has as many inodes as entries, and tmpfs only so many. check_inodes TREE SCALE
check_inodes() {
    local needs free
    needs=$(sed -n 's/.*"entries": \([0-9]*\).*/\1/p' "$here/bench-data/$1.json" | awk -v scale="$2" '{ sum += $1 * scale } END { printf "%d", sum }')
    free=$(df -Pi "$work" | awk 'NR == 2 { print $4 }')
    [ "$free" = - ] || [ "$free" -eq 0 ] || [ $((needs + needs / 100 + 1000)) -le "$free" ] ||
        fail "$1 needs $needs inodes, and only $free are free in $dir: --dir (such as a tmpfs with nr_inodes=0)"
}

# compare_scans LABEL TREE SOURCE TOOL...: scans "$work/tree", which is there, by the path SOURCE.
compare_scans() {
    local tree=$1 from=$2 tool round found expected all files
    shift 2
    all=$(find "$work/tree" | wc -l)
    files=$(find "$work/tree" -type f | wc -l)
    for ((round = 1; round <= rounds; round++)); do
        say "scan of $tree: round $round of $rounds"
        for tool; do
            mkdir "$work/out"
            command_of "$tool" "$from" -
            measure "$tree" scan "$tool" "$round"
            found=
            if [ "$status" = ok ]; then
                case $tool in
                    fpart) expected=$files ;;
                    fd* | bare) expected=$((all - 1)) ;;
                    *) expected=$all ;;
                esac
                found=$(entries_found "$tool")
                if [ "$found" != "$expected" ]; then status="$found found, not $expected"; fi
            fi
            record "$tree" scan "$tool" "$round" ''
            rm -rf "$work/out"
        done
    done
    for tool; do
        mkdir "$work/out"
        command_of "$tool" "$from" -
        observe "$tree" scan "$tool"
        rm -rf "$work/out"
    done
}

scans() {
    local tools tool tree each
    mapfile -t tools < <(with_before -d && echo find)
    if [ -x "$barescan" ]; then tools+=(bare); fi
    for tool in fpart fd fdfind; do
        if has "$tool"; then tools+=("$tool"); fi
    done
    each=$(awk "BEGIN { print $entries / 1e6 }")
    for tree in ${scan_cases//,/ }; do
        check_inodes "$tree" "$each"
        make_tree "$tree" "$work/tree" "$each"
        compare_scans "$tree" "$work/tree" "${tools[@]}"
        rm -rf "$work/tree"
    done
}

# Shows "$work/tree" at "$work/slow", where each look-up takes 1 ms and nothing is remembered. mount_slow AT_ONCE
mount_slow() {
    if ! { has cc && has pkg-config && has fusermount3 && pkg-config --exists fuse3 && [ -r "$slowfs" ] && [ -c /dev/fuse ]; }; then
        say "SKIP: cc, pkg-config, fuse3 with its headers, /dev/fuse or $slowfs is missing (scripts/setup.sh bench)"
        return 1
    fi
    local flags
    read -ra flags <<<"$(pkg-config fuse3 --cflags --libs)"
    cc -O2 -o "$work/slowfs" "$slowfs" "${flags[@]}"
    mkdir -p "$work/slow" "$work/tree"
    SLOWFS_SOURCE=$work/tree SLOWFS_DELAY_US=1000 "$work/slowfs" -o max_threads="$1" "$work/slow" ||
        { say 'SKIP: it cannot be mounted' && return 1; }
    mounted=$work/slow
}

# How often `argv` looks something up by its name: lines of lookups.csv. lookups TREE TOOL
lookups() {
    has strace || return 0
    local files
    files=$(find "$work/tree" -type f | wc -l)
    timeout --foreground "$cap" strace -f -qq -e trace=statx,newfstatat,lstat,stat -o "$work/calls" "${argv[@]}" >/dev/null 2>&1 || :
    echo "$1,$2,$files,$(grep -c "f[0-9]*\"" "$work/calls")" >>"$out/lookups.csv"
}

slow_scans() {
    local tools=('multi-sync -d' find) tree tool
    if has fpart; then tools+=(fpart); fi
    mount_slow 64 || return 0
    # 5,000 entries each.
    for tree in flat-300k=0.016667 bench-1m=0.005; do
        make_tree "${tree%=*}" "$work/tree" "${tree#*=}"
        # With libfuse 3.14 the kernel looks up names it has not met yet one after the other in a directory, whoever asks.
        find "$work/slow" -size +0 >/dev/null
        compare_scans "${tree%=*} at 1 ms" "$work/slow" "${tools[@]}"
        for tool in "${tools[@]}"; do
            mkdir "$work/out"
            command_of "$tool" "$work/slow" -
            lookups "${tree%=*}" "$tool"
            rm -rf "$work/out"
        done
        find "$work/tree" -mindepth 1 -delete
    done
    fusermount3 -u "$mounted" && mounted=
    [ ! -e "$out/lookups.csv" ] || sed -i '1i tree,tool,files,look-ups of files' "$out/lookups.csv"
}

# An sshd of this user with keys of its own; `ssh multi-sync-compare` reaches it through a program "ssh" that knows nothing else.
start_sshd() {
    local home=$work/ssh port try
    if ! { has sshd && has ssh && has ssh-keygen; }; then
        say 'SKIP --ssh: sshd, ssh or ssh-keygen is not installed'
        return 1
    fi
    mkdir -m 700 "$home" "$home/bin"
    ssh-keygen -q -t ed25519 -N '' -f "$home/host_key"
    ssh-keygen -q -t ed25519 -N '' -f "$home/user_key"
    cp "$home/user_key.pub" "$home/authorized_keys"
    echo "multi-sync-compare $(cat "$home/host_key.pub")" >"$home/known_hosts"
    # Debian's sshd wants its folder; only root can make it, and only root's sshd needs it.
    if [ "$(id -u)" = 0 ] && [ ! -e /run/sshd ]; then mkdir -m 755 /run/sshd; fi
    for try in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 20000))
        cat >"$home/sshd_config" <<END
ListenAddress 127.0.0.77:$port
HostKey $home/host_key
AuthorizedKeysFile $home/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200
MaxSessions 200
LogLevel ERROR
SetEnv HOME=$home
END
        "$(command -v sshd)" -D -e -f "$home/sshd_config" 2>"$home/log" &
        sshd_pid=$!
        sleep 0.5
        if kill -0 "$sshd_pid" 2>/dev/null; then break; fi
        wait "$sshd_pid" || :
        sshd_pid=
        say "sshd did not start (try $try): $(head -n 1 "$home/log")"
    done
    [ -n "$sshd_pid" ] || return 1
    cat >"$home/config" <<END
Host multi-sync-compare
    HostName 127.0.0.77
    Port $port
    User $(id -un)
    IdentityFile $home/user_key
    IdentitiesOnly yes
    HostKeyAlias multi-sync-compare
    UserKnownHostsFile $home/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
    LogLevel ERROR
END
    printf '#!/bin/sh\nexec %q -F %q "$@"\n' "$(command -v ssh)" "$home/config" >"$home/bin/ssh"
    chmod 755 "$home/bin/ssh"
    PATH=$home/bin:$PATH
    ssh multi-sync-compare true || { say 'SKIP --ssh: cannot log in' && return 1; }
}

remote() {
    start_sshd || return 0
    # 20,000 files each.
    local tree tools each
    mapfile -t tools < <(echo rsync && with_before '-p 4')
    for tree in empty-50k lognormal-20k; do
        each=$scale
        if [ "$tree" = empty-50k ]; then each=$(awk "BEGIN { print 0.4 * $scale }"); fi
        make_tree "$tree" "$work/tree" "$each"
        compare_copies "$tree over ssh" "$work/tree" "multi-sync-compare:$work/copy" "${tools[@]}"
        rm -rf "$work/tree"
    done
}

# An rsync daemon with the module "copy", and the way to it that is as long as a link across the world: its port is `wan_port`.
start_wan() {
    local port try
    if ! { has python3 && [ -r "$wan_proxy" ]; }; then
        say "SKIP --wan: python3 or $wan_proxy is missing"
        return 1
    fi
    # A list below a directory of such a module finds no files: what is pulled is a module of its own.
    printf 'use chroot = no\nuid = %s\ngid = %s\nlog file = %s\n[copy]\npath = %s\nread only = no\n[tree]\npath = %s\n' \
        "$(id -u)" "$(id -g)" "$work/daemon.log" "$work" "$work/tree" >"$work/rsyncd.conf"
    for try in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 20000))
        wan_port=$((port + 1))
        rsync --daemon --no-detach --address=127.0.0.1 --port="$port" --config="$work/rsyncd.conf" 2>>"$work/wan.log" &
        wan_pids=($!)
        python3 "$wan_proxy" "$wan_port" "$port" 50 256 2>>"$work/wan.log" &
        wan_pids+=($!)
        # On a busy machine python3 takes its time.
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            sleep 0.5
            if kill -0 "${wan_pids[@]}" 2>/dev/null && rsync "rsync://127.0.0.1:$wan_port/" >/dev/null 2>&1; then return; fi
        done
        kill "${wan_pids[@]}" 2>/dev/null || :
        wan_pids=()
        say "the daemon did not start (try $try): $(tail -n 1 "$work/wan.log")"
    done
    return 1
}

wide_area() {
    start_wan || return 0
    make_tree wan-256 "$work/tree" "$scale"
    local tools
    mapfile -t tools < <(echo rsync && with_before '-p 4' '-p 8')
    compare_copies 'wan-256 over a long link' "$work/tree" "rsync://127.0.0.1:$wan_port/copy/copy" "${tools[@]}"
    rm -rf "$work/tree"
}

# pull TREE SOURCE SCALE TOOL...: the tree is made here, and SOURCE is its name on the other machine.
pull() {
    make_tree "$1" "$work/tree" "$3"
    pulled=$2
    compare_copies "$1 pulled" "$work/tree" "$work/copy" "${@:4}"
    pulled=
    rm -rf "$work/tree"
}

pull_wide_area() {
    start_wan || return 0
    local tools
    mapfile -t tools < <(echo rsync && with_before '-p 4' '-p 8')
    if [ "$1" = wan-small ] && has "$mprsync"; then tools+=('mprsync -j 8'); fi
    pull "$1" "rsync://127.0.0.1:$wan_port/tree" "$scale" "${tools[@]}"
}

pull_remote() {
    start_sshd || return 0
    local tools
    mapfile -t tools < <(echo rsync && with_before '-p 4')
    if has "$mprsync"; then tools+=('mprsync -j 4'); fi
    # 20,000 files each.
    pull empty-50k "multi-sync-compare:$work/tree" "$(awk "BEGIN { print 0.4 * $scale }")" "${tools[@]}"
    pull lognormal-20k "multi-sync-compare:$work/tree" "$scale" "${tools[@]}"
}

# Three hosts with a link of 100 Mbit/s each, as far as possible from this machine's own network: names of this run, addresses of the
# block for documentation (RFC 5737). `ssh -F "$work/hosts/config" hostN` logs in to them; the daemon has an address of the loopback device.
start_hosts() {
    local home=$work/hosts number space
    if ! { [ "$(id -u)" = 0 ] && has ip && has tc && has sshd && has ssh-keygen; }; then
        say 'SKIP --hosts: needs root, ip, tc and sshd'
        return 1
    fi
    if ! ip addr add 192.0.2.254/32 dev lo; then
        say 'SKIP --hosts: no address can be added'
        return 1
    fi
    daemon_address=192.0.2.254
    mkdir -m 700 "$home"
    ssh-keygen -q -t ed25519 -N '' -f "$home/host_key"
    ssh-keygen -q -t ed25519 -N '' -f "$home/user_key"
    cp "$home/user_key.pub" "$home/authorized_keys"
    if [ ! -e /run/sshd ]; then mkdir -m 755 /run/sshd; fi
    cat >"$home/sshd_config" <<END
Port 22
HostKey $home/host_key
AuthorizedKeysFile $home/authorized_keys
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
MaxStartups 200
MaxSessions 200
LogLevel ERROR
SetEnv HOME=$home
END
    for number in 1 2 3; do
        space=ms$$-$number
        ip netns add "$space"
        spaces+=("$space")
        ip link add "m$$v$number" type veth peer name eth0 netns "$space"
        ip addr add "192.0.2.$((4 * number + 1))/30" dev "m$$v$number"
        ip link set "m$$v$number" up
        ip -n "$space" addr add "192.0.2.$((4 * number + 2))/30" dev eth0
        ip -n "$space" link set eth0 up
        ip -n "$space" link set lo up
        ip -n "$space" route add default via "192.0.2.$((4 * number + 1))"
        ip netns exec "$space" tc qdisc add dev eth0 root handle 1: htb default 1
        ip netns exec "$space" tc class add dev eth0 parent 1: classid 1:1 htb rate 100mbit ceil 100mbit
        ip netns exec "$space" "$(command -v sshd)" -D -e -f "$home/sshd_config" 2>>"$home/log" &
        cat >>"$home/config" <<END
Host host$number
    HostName 192.0.2.$((4 * number + 2))
END
    done
    cat >>"$home/config" <<END
Host *
    User root
    IdentityFile $home/user_key
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    BatchMode yes
    LogLevel ERROR
END
    printf 'use chroot = no\nlog file = %s\n[copy]\npath = %s\nread only = no\nuid = 0\ngid = 0\n' \
        "$work/daemon.log" "$work" >"$work/rsyncd.conf"
    rsync --daemon --no-detach --address="$daemon_address" --port=8730 --config="$work/rsyncd.conf" 2>>"$home/log" &
    wan_pids=($!)
    sleep 1
    for number in 1 2 3; do
        ssh -F "$home/config" "host$number" "rsync rsync://$daemon_address:8730/" >/dev/null ||
            { say "SKIP --hosts: host$number does not answer: $(tail -n 1 "$home/log")" && return 1; }
    done
}

source_hosts() {
    start_hosts || return 0
    make_tree wan-256 "$work/tree" "$(awk "BEGIN { print 0.75 * $scale }")"
    compare_copies 'three hosts of 100 Mbit/s' "$work/tree" "rsync://$daemon_address:8730/copy/copy" \
        'multi-sync -p 3 on one host' 'multi-sync from 3 hosts' 'multi-sync from 3 hosts by a template'
    rm -rf "$work/tree"
}

# Each with a mount of its own, as three clients of one server have.
hosts_scan() {
    if [ "$(id -u)" != 0 ] || ! unshare -m true; then
        say 'SKIP --hosts-slow: needs root and mount namespaces'
        return 1
    fi
    mount_slow 8 || return 0
    make_tree bench-1m "$work/tree" "$(awk "BEGIN { print 0.02 * $scale }")"
    local number
    for number in 1 2 3; do
        SLOWFS_SOURCE=$work/tree SLOWFS_DELAY_US=1000 \
            unshare -m sh -c "umount '$work/slow' && exec '$work/slowfs' -f -o max_threads=8 '$work/slow'" &
        holders+=($!)
    done
    sleep 1
    pulled=$work/slow
    compare_copies 'three hosts and a slow source' "$work/tree" "$work/copy" \
        'multi-sync from 1 slow host' 'multi-sync from 3 slow hosts' 'multi-sync from 3 slow hosts scanned here'
    pulled=
    kill "${holders[@]}"
    holders=()
    fusermount3 -u "$mounted" && mounted=
    rm -rf "$work/tree"
}

# The three are one machine with as many links.
pull_addresses() {
    start_hosts || return 0
    printf '#!/bin/sh\nexec %q -F %q "$@"\n' "$(command -v ssh)" "$work/hosts/config" >"$work/hosts/ssh"
    chmod 755 "$work/hosts/ssh"
    options+=(-e "$work/hosts/ssh")
    pull wan-256 "host1:$work/tree" "$(awk "BEGIN { print 0.75 * $scale }")" 'multi-sync -p 3 through one address' \
        'multi-sync -p 3 through three addresses'
}

# One entry in a bucket, and an rsync that does nothing: what is left is what a run costs itself. With `alone` each bucket is a launch.
many_buckets() {
    local real count how last=0
    [ -x "$manybuckets" ] || fail "$manybuckets is not built (make compare)"
    real=$(command -v rsync)
    mkdir "$work/fake" "$work/tree" "$work/runs"
    printf '#!/bin/sh\ncase " $* " in *" --version "*) exec %s "$@" ;; esac\n' "$real" >"$work/fake/rsync"
    chmod 755 "$work/fake/rsync"
    echo 'buckets,launches,seconds,own CPU seconds,peak KiB,journal bytes' >"$out/buckets.csv"
    for count in 10000 100000 1000000; do
        seq "$last" $((count - 1)) | (cd "$work/tree" && xargs touch)
        last=$count
        for how in '' alone; do
            # A launch each takes a millisecond or two.
            if [ "$how" = alone ] && [ "$count" -gt 100000 ]; then continue; fi
            # So few are one plain rsync's otherwise.
            if [ "$how" = '' ] && [ "$count" -lt 100000 ]; then continue; fi
            say "$count buckets ${how:+, each a launch}"
            PATH=$work/fake:$PATH "$manybuckets" "$work/tree/" "$work/copy" "$work/runs" $how >>"$out/buckets.csv"
            rm -rf "$work/runs" "$work/copy"
            mkdir "$work/runs"
        done
    done
    awk -F , '
        NR == 1 { print "| buckets | launches | s | own CPU us a bucket | peak MiB | journal bytes a bucket |"; print "|--:|--:|--:|--:|--:|--:|" }
        NR > 1 { printf "| %d | %d | %.1f | %.1f | %.1f | %.0f |\n", $1, $2, $3, 1e6 * $4 / $1, $5 / 1024, $6 / $1 }
    ' "$out/buckets.csv" | tee "$out/table-buckets.md"
    rm -rf "$work/tree" "$work/fake" "$work/runs"
}

# table KIND REFERENCE...: rows of the results so far whose tree is new since the last table.
table() {
    awk -F , -v references="$*" -v observed="$out/observed.csv" '
        BEGIN {
            count = split(references, reference, " ")
            for (i = 1; i <= count; i++) gsub("_", " ", reference[i])
            printf "| tree | run | tool | runs | median s | min | max |"
            for (i = 1; i <= count; i++) printf " / %s |", reference[i]
            print " CPU s | own CPU | own peak | at once | |"
            printf "|---|---|---|--:|--:|--:|--:|"
            for (i = 1; i <= count; i++) printf "--:|"
            print "--:|--:|--:|--:|---|"
            while ((getline line < observed) > 0) {
                split(line, field, ",")
                key = field[1] "," field[2] "," field[3]
                own[key] = field[4] / field[5]
                peak[key] = field[6] / 1024
                once[key] = field[7]
            }
        }
        FNR == 1 { next }
        {
            key = $1 "," $2 "," $3
            if (!(key in seen)) { seen[key] = 1; order[++keys] = key }
            if ($9 == "ok") {
                values[key, ++runs[key]] = $5
                cpu[key] += $6 + $7
            } else {
                note[key] = $9 ($10 != "" ? " (" $10 " lines)" : "")
                if ($9 == "differs") { wrong[key, ++wrongs[key]] = $5 }
            }
        }
        function sorted(list, key, n,    i, j, x) {
            for (i = 1; i <= n; i++) sort[i] = list[key, i]
            for (i = 2; i <= n; i++) {
                x = sort[i]
                for (j = i - 1; j > 0 && sort[j] + 0 > x + 0; j--) sort[j + 1] = sort[j]
                sort[j + 1] = x
            }
        }
        function median(n) { return n % 2 ? sort[(n + 1) / 2] : (sort[n / 2] + sort[n / 2 + 1]) / 2 }
        END {
            for (k = 1; k <= keys; k++) {
                key = order[k]
                n = runs[key]
                if (n) { sorted(values, key, n); middle[key] = median(n) }
            }
            for (k = 1; k <= keys; k++) {
                key = order[k]
                split(key, part, ",")
                n = runs[key]
                printf "| %s | %s | %s | %d |", part[1], part[2], part[3], n
                if (n) {
                    sorted(values, key, n)
                    printf " %.3f | %.3f | %.3f |", middle[key], sort[1], sort[n]
                    for (i = 1; i <= count; i++) {
                        base = middle[part[1] "," part[2] "," reference[i]]
                        if (base > 0) printf " %.2f |", middle[key] / base
                        else printf " |"
                    }
                    printf " %.2f |", cpu[key] / n
                    # Looked at in hundredths of a second.
                    if ((key in own) && cpu[key] / n >= 0.5) printf " %.1f %% |", 100 * own[key] * n / cpu[key]
                    else printf " |"
                } else {
                    # Shown, but never compared: it is not a result.
                    if (wrongs[key]) { sorted(wrong, key, wrongs[key]); note[key] = note[key] ", after " median(wrongs[key]) " s" }
                    printf " | | |"
                    for (i = 1; i <= count; i++) printf " |"
                    printf " | |"
                }
                if (peak[key] > 0) printf " %.1f MiB |", peak[key]
                else printf " |"
                printf " %s |", once[key]
                printf " %s |\n", note[key]
            }
        }' "$results"
}

words=("$@")
read_words "$@"
prepare
for kind in "${kinds[@]}"; do
    options=("${usual[@]}")
    case $kind in
        copy) copies && references=(rsync) ;;
        scan) scans && references=(find fpart bare) ;;
        slow) slow_scans && references=(find fpart) ;;
        ssh) remote && references=(rsync) ;;
        wan) wide_area && references=(rsync) ;;
        hosts) source_hosts && references=('multi-sync -p 3 on one host') ;;
        hosts-slow) hosts_scan && references=('multi-sync from 1 slow host') ;;
        buckets) many_buckets ;;
        delete) deletions && references=(rsync) ;;
        links) farms && references=(rsync) ;;
        pull-wan) pull_wide_area wan-256 && references=(rsync) ;;
        pull-small) pull_wide_area wan-small && references=(rsync) ;;
        pull-ssh) pull_remote && references=(rsync) ;;
        pull-addresses) pull_addresses && references=('multi-sync -p 3 through one address') ;;
    esac
    # One file and one table for each kind.
    if [ "$(wc -l <"$results")" -gt 1 ]; then
        table "${references[@]// /_}" >"$out/table-$kind.md"
        cat "$out/table-$kind.md"
        echo
    fi
    if [ "$kind" = buckets ]; then continue; fi
    mv "$results" "$out/$kind.csv"
    head -n 1 "$out/$kind.csv" >"$results"
done
rm -f "$results"
sort -u "$out/commands.txt" -o "$out/commands.txt"
echo "load at end: $(cat /proc/loadavg)" >>"$out/machine.txt"
say "raw results: $out"
