#!/bin/sh
# Runs each fuzz target of fuzz/ for a bounded time, one after the other; exit code 1 if one of them found something.
#
#   FUZZ_SECONDS   time for each target (60)
#   FUZZ_TARGETS   which ones (all)
#
# Installs cargo-fuzz from crates.io if it is missing, and says so. What a target finds is left in fuzz/artifacts; what the fuzzers
# grow from the committed corpora is thrown away.
set -eu

: "${CARGO:=cargo}" "${FUZZ_SECONDS:=60}" "${FUZZ_TARGETS:=}"
# One input starts an rsync at most a few times; longer than this, something hangs.
LONGEST_INPUT=60
# Lines of a fuzzer's output that are shown if it fails.
SHOWN=60

cd "$(dirname "$0")/.."

say() {
    printf 'fuzz: %s\n' "$*" >&2
}

case $FUZZ_SECONDS in
    '' | *[!0-9]* | 0)
        say "FUZZ_SECONDS is not a number of seconds: $FUZZ_SECONDS"
        exit 2
        ;;
esac
if [ -z "$FUZZ_TARGETS" ]; then
    FUZZ_TARGETS=$(cd fuzz/targets && for file in *.rs; do printf '%s ' "${file%.rs}"; done)
fi

./scripts/setup.sh fuzz
if ! "$CARGO" fuzz --version >/dev/null 2>&1; then
    if [ "${SETUP:-yes}" = no ]; then
        say "cargo-fuzz is missing, and not installed because of SETUP=no: $CARGO install cargo-fuzz --locked"
        exit 1
    fi
    say 'cargo-fuzz is missing; installing it with cargo'
    "$CARGO" install cargo-fuzz --locked
fi

# Bodies make trees by the thousand: in memory where that can be.
for place in /dev/shm "${TMPDIR:-/tmp}"; do
    if scratch=$(mktemp -d "$place/multi-sync-fuzz.XXXXXX" 2>/dev/null); then break; fi
done
[ -n "$scratch" ] || exit 1
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# cargo-fuzz needs options of the compiler that only a nightly one takes otherwise. Where the panic was is in its message.
export RUSTC_BOOTSTRAP=1 RUST_BACKTRACE=0

# figure NAME: the last figure a fuzzer printed behind this word.
figure() {
    sed -n "s/.*$1: *\([0-9][0-9]*\).*/\1/p" "$log" | tail -n 1
}

found=
for target in $FUZZ_TARGETS; do
    # Without a sanitizer: there is no unsafe code in what is tried, so that it would only cost time.
    "$CARGO" fuzz build --sanitizer none "$target"
    log=$scratch/$target.log
    mkdir -p "$scratch/$target.grown" "$scratch/tmp"
    status=0
    TMPDIR=$scratch/tmp "$CARGO" fuzz run --sanitizer none "$target" "$scratch/$target.grown" "fuzz/corpus/$target" -- \
        -max_total_time="$FUZZ_SECONDS" -timeout="$LONGEST_INPUT" -print_final_stats=1 >"$log" 2>&1 || status=$?
    grep '^SKIP: ' "$log" >&2 || true
    tried=$(figure 'stat::number_of_executed_units')
    if [ "$status" = 0 ] && [ "${tried:-0}" -gt 0 ]; then
        say "$target: nothing found; $tried inputs, $(figure 'cov') edges, $(figure 'ft') features"
    else
        grep -v '^#[0-9]' "$log" | tail -n "$SHOWN" >&2
        say "$target: exit code $status; the input is in fuzz/artifacts/$target, and RUSTC_BOOTSTRAP=1 repeats it as told above"
        found="$found $target"
    fi
done
[ -z "$found" ] || {
    say "found something:$found"
    exit 1
}
