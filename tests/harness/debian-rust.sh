#!/bin/sh
# Builds and tests the package with the cargo and rustc of Debian stable, without a network.
#
#   debian-rust.sh [FILTER...]    the tests to run, as cargo takes them; without: the library's, the laws, the filters'
#
# The chroot is made by servers.sh; sources of the crates, and what is built, are kept beside it in debian-rust.work.
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
servers=${MBX_SERVERS:-/var/cache/mbxtools/servers}
root=$servers/debian-rust
work=$servers/debian-rust.work

# Runs in mounts and a network of its own, which are gone when it ends.
if [ "${1-}" = --mounted ]; then
    shift
    # Mounts are looked up by the tests, so the root is to be one.
    mount --bind "$root" "$root"
    mount --bind "$here" "$root/mnt"
    mount -o remount,bind,ro "$root/mnt"
    mount --bind "$work" "$root/srv"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    export HOME=/srv CARGO_HOME=/srv/cargo CARGO_TARGET_DIR=/srv/target CARGO_NET_OFFLINE=true LC_ALL=C.UTF-8
    export PATH=/usr/sbin:/usr/bin:/sbin:/bin
    # shellcheck disable=SC2016 # the inner shell's
    exec chroot "$root" sh -ec 'cd /mnt
        cargo --version
        cargo build --release --locked
        cargo build --locked --benches
        cargo test --locked --lib --test main -- "$@"' sh "$@"
fi

"$here/tests/harness/servers.sh" debian-rust
mkdir -p "$work/cargo"
(cd "$here" && cargo vendor --quiet --locked --versioned-dirs "$work/vendor" >/dev/null)
printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "/srv/vendor"\n' >"$work/cargo/config.toml"
test $# -gt 0 || set -- --skip cyrus:: --skip loaders:: --skip docs:: --skip faults::
exec unshare --mount --net -- "$0" --mounted "$@"
