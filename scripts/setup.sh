#!/bin/sh
# Installs what multi-sync needs from the system, with the system's own package manager; says what and why before it does.
#
#   scripts/setup.sh run    to build and use it: rsync, and a C compiler, by which cargo links
#   scripts/setup.sh test   to test it as well: OpenSSH server and client, FUSE, Slurm
#   scripts/setup.sh fuzz   to run the fuzz targets: a C++ compiler, which builds the fuzzer
#   scripts/setup.sh bench  to compare it with other tools as well: those
#
# With SETUP=no in the environment it installs nothing: it lists what is missing and how to install it, and fails only if multi-sync cannot be built
# or run at all. Tests that lack something else say that they were skipped.
#
# Silent if nothing is missing. Rust itself is not installed here: see https://rustup.rs.
set -eu

# System programs are not in the PATH of every user.
PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin
export PATH

fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# A compiler may be there without the C library's files, so that only linking tells.
links() {
    has cc || return 1
    links_to=$(mktemp "${TMPDIR:-/tmp}/multi-sync-setup.XXXXXX") || return 1
    links_status=0
    echo 'int main(void) { return 0; }' | cc -x c -o "$links_to" - >/dev/null 2>&1 || links_status=1
    rm -f "$links_to"
    return "$links_status"
}

# need PURPOSE CHECK APT RPM ZYPPER PACMAN APK BREW: packages wanted unless CHECK succeeds; '-' where there is none to install.
wanted=
need() {
    if $2; then return; fi
    case $manager in
        apt-get) packages=$3 ;;
        dnf | yum) packages=$4 ;;
        zypper) packages=$5 ;;
        pacman) packages=$6 ;;
        apk) packages=$7 ;;
        brew) packages=$8 ;;
        *) fail "missing: $1. No known package manager here (apt-get, dnf, yum, zypper, pacman, apk, brew): install it by hand." ;;
    esac
    if [ "$packages" = - ] && [ "$2" = links ]; then fail "missing: $1. On macOS: xcode-select --install"; fi
    [ "$packages" != - ] || fail "missing: $1. $manager has no package for it"
    if [ "$setup" = no ]; then
        printf 'setup: missing: %s; not installed because of SETUP=no: %s (%s)\n' "$1" "$packages" "$manager" >&2
    else
        printf 'setup: missing: %s; installing %s with %s\n' "$1" "$packages" "$manager" >&2
    fi
    wanted="$wanted $packages"
}

find_manager() {
    for manager in apt-get dnf yum zypper pacman apk brew; do
        if has "$manager"; then return; fi
    done
    manager=none
}

needs() {
    need 'rsync (does the copying)' 'has rsync' rsync rsync rsync rsync rsync rsync
    need 'a C compiler (cargo links with it)' links 'gcc libc6-dev' gcc gcc gcc 'gcc musl-dev' -
    if [ "$1" = fuzz ]; then need 'a C++ compiler (builds the fuzzer)' 'has c++' g++ gcc-c++ gcc-c++ gcc g++ -; fi
    case $1 in run | fuzz) return 0 ;; esac
    need 'ssh and ssh-keygen (tests copy through ssh)' has_ssh \
        openssh-client openssh-clients openssh-clients openssh openssh-client openssh
    need 'sshd (tests start one on 127.0.0.1)' 'has sshd' \
        openssh-server openssh-server openssh-server openssh openssh-server openssh
    need 'setcap (tests use an rsync with capabilities)' 'has setcap' \
        libcap2-bin libcap libcap-progs libcap libcap libcap
    need 'zstd (unpacks the list of a real tree)' 'has zstd' zstd zstd zstd zstd zstd zstd
    # Not everywhere; a test that needs them says that it was skipped.
    [ "$manager" != apt-get ] || need 'exFAT (a destination that does not tell names apart by case)' has_exfat 'exfat-fuse exfatprogs' - - - - -
    need 'FUSE and its headers (storage that is slow, or loses what was not synced)' has_fuse \
        'fuse3 libfuse3-dev pkg-config' 'fuse3 fuse3-devel pkgconf' 'fuse3 fuse3-devel pkg-config' 'fuse3 pkgconf' 'fuse3 fuse3-dev pkgconf' -
    [ "$manager" != apt-get ] || need 'Slurm (tests start a cluster of their own)' 'has slurmctld' 'slurmctld slurmd slurm-client' - - - - -
    [ "$1" = bench ] || return 0
    need 'strace (counts system calls)' 'has strace' strace strace strace strace strace -
    # Not packaged everywhere; a comparison leaves out what is not there.
    case $manager in
        apt-get)
            need 'fpart and fpsync (compared with)' 'has fpart' fpart - - - - -
            need 'fd (compared with)' has_fd fd-find - - - - -
            ;;
    esac
}

has_fuse() {
    has fusermount3 && has pkg-config && pkg-config --exists fuse3
}

has_exfat() {
    has mount.exfat-fuse && has mkfs.exfat
}

has_fd() {
    has fd || has fdfind
}

has_ssh() {
    has ssh && has ssh-keygen
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        fail "not root, and there is no sudo. Run this as root: $0 $mode"
    fi
}

install_packages() {
    case $manager in
        apt-get) apt_install "$@" ;;
        dnf | yum) as_root "$manager" install -y -q "$@" ;;
        zypper) as_root zypper --non-interactive --quiet install --no-recommends "$@" ;;
        pacman) pacman_install "$@" ;;
        apk) as_root apk add --quiet --update-cache "$@" ;;
        brew) brew install --quiet "$@" ;;
    esac
}

# Arch supports no update of the package lists without one of the system, so that is done only if the lists at hand do not do.
pacman_install() {
    as_root pacman -S --noconfirm --needed --quiet "$@" && return
    printf 'setup: the package lists are missing or old; on this system refreshing them means updating it\n' >&2
    as_root pacman -Syu --noconfirm --needed --quiet "$@"
}

# Debian starts a server as soon as it is installed, so a test would open port 22. While packages are installed here, policy-rc.d,
# Debian's hook for this, forbids it; a policy that is there already is left alone. At the next boot Debian does start sshd; who does
# not want that: systemctl disable ssh.
apt_install() {
    policy=/usr/sbin/policy-rc.d
    ours=no
    if [ ! -e "$policy" ]; then
        # shellcheck disable=SC2016 # expanded by the other shell
        as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >"$1" && chmod 755 "$1"' sh "$policy"
        ours=yes
        trap 'as_root rm -f "$policy"' EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update ||
        printf 'setup: the package lists could not be refreshed; trying with the old ones\n' >&2
    status=0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" || status=$?
    if [ "$ours" = yes ]; then
        as_root rm -f "$policy"
        trap - EXIT INT TERM
    fi
    return "$status"
}

setup=${SETUP:-yes}
mode=${1-}
case $mode in
    run | test | bench | fuzz) ;;
    *)
        echo 'usage: scripts/setup.sh run|test|bench|fuzz' >&2
        exit 2
        ;;
esac

find_manager
needs "$mode"
[ -n "$wanted" ] || exit 0
if [ "$setup" = no ]; then
    if has rsync && links; then exit 0; fi
    fail 'rsync and a C compiler are needed. To install what is missing: make setup'
fi
# shellcheck disable=SC2086 # a list of package names
install_packages $wanted >&2 || fail "$manager could not install:$wanted"

# A package that does not bring what it was installed for would otherwise be noticed only much later.
wanted=
manager_was=$manager
needs "$mode" 2>/dev/null
[ -z "$wanted" ] || fail "$manager_was installed its packages, but this is still missing:$wanted"
printf 'setup: done\n' >&2
