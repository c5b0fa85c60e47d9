#!/bin/sh
# Fetches an rsync of another version, without installing it, and prints the path of its program.
#
#   scripts/old-rsync.sh VERSION FOLDER   such as 3.2.7 target; Debian and its kin, whose package lists have to hold that version
#
# What it fetched before it does not fetch again.
set -eu

fail() {
    printf 'old-rsync: %s\n' "$*" >&2
    exit 1
}

[ $# = 2 ] || fail 'usage: scripts/old-rsync.sh VERSION FOLDER'
version=$1
mkdir -p "$2/rsync-$version"
folder=$(cd "$2/rsync-$version" && pwd)
program=$folder/usr/bin/rsync

if [ ! -x "$program" ]; then
    for needed in apt-get dpkg; do
        command -v "$needed" >/dev/null 2>&1 || fail "needs $needed, which only Debian and its kin have"
    done
    (cd "$folder" && apt-get -qq -o APT::Sandbox::User=root download "rsync=$version*") >&2 ||
        fail "apt-get could not fetch rsync=$version*: is that version in the package lists (apt-cache policy rsync)?"
    for package in "$folder"/rsync_*.deb; do
        dpkg -x "$package" "$folder"
        rm -f "$package"
    done
fi
"$program" --version >/dev/null || fail "$program does not run here"
printf '%s\n' "$program"
