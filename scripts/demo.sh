#!/bin/sh
# Copies a real tree of this machine with multi-sync, then has a plain rsync look for differences: exit 0 only if it finds none.
#
#   DEMO_TREE   the tree to copy, default /usr/share; the copy goes into a temporary folder (TMPDIR) and is removed
#   MULTI_SYNC  the program, default target/release/multi-sync
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
multi_sync=${MULTI_SYNC:-${CARGO_TARGET_DIR:-$here/target}/release/multi-sync}
work=

say() {
    printf 'demo: %s\n' "$*"
}

fail() {
    printf 'demo: %s\n' "$*" >&2
    exit 1
}

# Folders without write permission are copied as such, and without root they cannot be emptied as they are.
clean() {
    [ -n "$work" ] || return 0
    rm -rf "$work" 2>/dev/null || { chmod -R u+rwx "$work" 2>/dev/null && rm -rf "$work"; } ||
        printf 'demo: cannot remove %s\n' "$work" >&2
}

show() {
    printf '\n$'
    for word; do
        case $word in
            *[!A-Za-z0-9_./:=@,+-]* | '') printf " '%s'" "$(printf %s "$word" | sed "s/'/'\\\\''/g")" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
}

# Kilobytes of a tree; what cannot be read will not be copied either.
size_of() {
    { du -sk "$1" 2>/dev/null || :; } | awk 'END { print $1 + 0 }'
}

# du counts a hard-linked file once and the copy has it twice, and small files may take more room elsewhere: a quarter more.
fits() {
    size=$(size_of "$1")
    [ $((size + size / 4 + 65536)) -le "$free" ]
}

pick_tree() {
    if [ -n "${DEMO_TREE-}" ]; then
        [ -d "$DEMO_TREE" ] || fail "DEMO_TREE=$DEMO_TREE is not a folder"
        tree=$DEMO_TREE
        fits "$tree" || fail "$tree has $((size / 1024)) MB, but only $((free / 1024)) MB are free in $work; set TMPDIR or another DEMO_TREE"
        return
    fi
    for tree in /usr/share /usr/include /usr/share/doc /etc "$here/src"; do
        [ -d "$tree" ] || continue
        if fits "$tree"; then return; fi
        say "$tree has $((size / 1024)) MB, but only $((free / 1024)) MB are free in $work: trying a smaller tree"
    done
    fail "no room for a copy in $work; set TMPDIR"
}

# Reads the lines of rsync -i and gives those that are not explained by a file we may not read.
unexplained() {
    while IFS= read -r line; do
        name=${line#????????????}
        if [ "$code" = 23 ] && [ -e "$tree/$name" ] && [ ! -r "$tree/$name" ]; then
            printf '%s\n' "$name" >>"$work/unreadable"
        else
            printf '%s\n' "$line"
        fi
    done
}

command -v rsync >/dev/null 2>&1 || fail 'rsync is not installed (scripts/setup.sh run)'
[ -x "$multi_sync" ] || fail "$multi_sync is not built (make build)"

trap clean EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
work=$(mktemp -d "${TMPDIR:-/tmp}/multi-sync-demo.XXXXXX")
free=$(df -Pk "$work" | awk 'NR == 2 { print $4 }')
pick_tree
say "$tree ($((size / 1024)) MB) goes to $work/copy"

set -- "$multi_sync" -p 4 -P --stats "$tree/" "$work/copy/"
code=0
begin=$(date +%s)
show "$@"
"$@" || code=$?
copied=$(date +%s)
case $code in
    0) ;;
    23)
        [ "$(id -u)" != 0 ] || fail "multi-sync ended with exit code 23: not everything was copied"
        say "multi-sync ended with exit code 23: not everything could be read as $(id -un); the check shows what is missing"
        ;;
    *) fail "multi-sync ended with exit code $code" ;;
esac

# -c compares contents too, and --delete would report what is only in the copy, with --ignore-errors also after an unreadable file.
set -- rsync -n -i -aS --numeric-ids -c --delete --ignore-errors --stats --no-h "$tree/" "$work/copy/"
check=0
show "$@"
LC_ALL=C "$@" >"$work/said" 2>"$work/errors" || check=$?
checked=$(date +%s)
if [ "$check" != 0 ] && { [ "$check" != 23 ] || [ "$code" != 23 ]; }; then
    head -n 20 "$work/errors" >&2
    fail "the checking rsync ended with exit code $check"
fi
# The differences come first, then an empty line and the numbers.
sed '/^$/,$d' "$work/said" | unexplained >"$work/differences"
entries=$(sed -n 's/^Number of files: \([0-9]*\).*/\1/p' "$work/said")
[ "${entries:-0}" -gt 0 ] || fail 'the checking rsync compared nothing'

if [ -s "$work/differences" ]; then
    head -n 20 "$work/differences"
    fail "$entries entries compared, $(grep -c '' "$work/differences") differ"
fi
if [ -s "$work/unreadable" ]; then
    head -n 20 "$work/unreadable"
    say "$(grep -c '' "$work/unreadable") files above could not be read as $(id -un), and are not in the copy"
fi
if [ -s "$work/errors" ]; then
    say 'rsync could not read everything either:'
    head -n 20 "$work/errors"
    say "$entries entries compared, nothing differs in what can be read as $(id -un)"
else
    say "$entries entries compared, nothing differs"
fi
say "copied in $((copied - begin)) s, checked in $((checked - copied)) s"
