#!/bin/sh
# Makes the living Cyrus servers that the tests carry lists to: Debian's packages, each in a chroot of its own.
#
#   servers.sh [NAME...]    NAME is bullseye, bookworm, trixie, sid (Cyrus), or debian-rust (trixie's cargo and rustc)
#
# Without NAME: every Cyrus but bookworm's, and on a host that is not bookworm that one too.
# The chroots are in $MBX_SERVERS (default /var/cache/mbxtools/servers), a directory NAME for each, and are kept. One is
# complete when it has a file NAME.stamp, with its suite and the version of its package. One without is removed and made
# again. To renew one, remove its stamp. Two runs at once wait for each other.
#
# Root is needed, debootstrap, and a Debian mirror: $MBX_MIRROR, else the first of this host's own that ends with
# /debian, else Debian's default. Proxies and certificates are those of this host's apt.
#
# Status: 0 all are there; 1 one could not be made, its log is NAME.log; 2 nothing can be made here.
set -u

servers=${MBX_SERVERS:-/var/cache/mbxtools/servers}
cyrus="cyrus-imapd cyrus-admin cyrus-clients sasl2-bin libsasl2-modules libsasl2-modules-db"

refuse() {
    echo "servers.sh: $*" >&2
    exit 2
}

# The mirror that apt uses here.
mirror() {
    if [ -n "${MBX_MIRROR-}" ]; then
        echo "$MBX_MIRROR"
        return
    fi
    # shellcheck disable=SC2016 # apt puts the value in place
    found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/*$')
    echo "${found:-http://deb.debian.org/debian}"
}

# Runs a command in a chroot, as the package scripts want it.
inside() {
    LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$@"
}

# Fills the directory of one chroot. Runs in a mount namespace of its own: nothing stays mounted, whatever ends it.
fill() {
    dir=$1 suite=$2
    shift 2
    from=$(mirror)
    proxy=
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    test -z "$proxy" || export http_proxy="$proxy"
    debootstrap --variant=minbase "$suite" "$dir" "$from" || return
    printf '#!/bin/sh\nexit 101\n' >"$dir/usr/sbin/policy-rc.d"
    chmod 0755 "$dir/usr/sbin/policy-rc.d"
    apt-config dump | grep -E '^Acquire::(https?::|Check-|Retries)' >"$dir/etc/apt/apt.conf.d/90host"
    case $from in https:*)
        mkdir -p "$dir/etc/ssl/certs"
        cp /etc/ssl/certs/ca-certificates.crt "$dir/etc/ssl/certs/" || return ;;
    esac
    # Post-installation scripts of sid fail without it.
    mount -t proc proc "$dir/proc" || return
    inside "$dir" apt-get update || return
    inside "$dir" apt-get install -y --no-install-recommends "$@" || return
    inside "$dir" apt-get clean || return
    rm -rf "$dir"/var/lib/apt/lists/* "$dir"/var/cache/apt/* "$dir"/usr/share/doc/* "$dir"/usr/share/man/*
}

# Makes one chroot, unless it is there.
make_one() {
    name=$1 suite=$2
    shift 2
    dir=$servers/$name
    stamp=$servers/$name.stamp
    log=$servers/$name.log
    if [ ! -e "$stamp" ]; then
        echo "servers.sh: $name: debootstrap of $suite into $dir" >&2
        rm -rf --one-file-system "$dir"
        if ! unshare --mount -- "$0" --fill "$dir" "$suite" "$@" </dev/null >"$log" 2>&1; then
            echo "servers.sh: $name: FAILED (log: $log): $(tail -n 1 "$log")" >&2
            return 1
        fi
        # shellcheck disable=SC2016 # dpkg-query puts the value in place
        version=$(inside "$dir" dpkg-query -W -f '${Version}' "$1") || return
        echo "$suite $version" >"$stamp.new"
        sync -f "$dir"
        mv "$stamp.new" "$stamp"
        rm -f "$log"
    fi
    echo "$name: $(cat "$stamp") ($dir)"
}

# shellcheck disable=SC2086 # a list of package names
make() {
    case $1 in
    bullseye | bookworm | trixie | sid) make_one "$1" "$1" $cyrus ;;
    debian-rust) make_one debian-rust trixie rustc cargo acl ;;
    *) refuse "$1: no such server (bullseye, bookworm, trixie, sid, debian-rust)" ;;
    esac
}

if [ "${1-}" = --fill ]; then
    shift
    fill "$@"
    exit
fi

test "$(id -u)" = 0 || refuse "only root can make a chroot"
command -v debootstrap >/dev/null || refuse "debootstrap is not installed"
mkdir -p "$servers" || exit 2
if [ $# = 0 ]; then
    set -- bullseye trixie sid
    # On Debian 12 the host's own package is that server.
    grep -q '^VERSION_CODENAME=bookworm$' /etc/os-release || set -- "$@" bookworm
fi
# What is started here keeps the lock, too: it may live longer than this script.
exec 9>"$servers/lock" || exit 2
flock 9
status=0
for name; do
    make "$name" || status=1
done
exit $status
