#!/bin/sh
# Moves what the new server looks for elsewhere; `make load' writes work/moves.sh of this and of a line for each move.
# Run again it goes on where it was stopped: what is not there any more has gone before, or gone along with another.
set -eu
umask 077
# find goes back to where it was started, and that may be root's.
cd /

# A mailbox and what lies below it.
whole() {
    if test -e "$1" && test ! -e "$2"; then
        mkdir -p "${2%/*}"
        mv "$1" "$2"
    else
        alone "$1" "$2"
    fi
}

# A mailbox without what lies below it.
alone() {
    test -d "$1" || return 0
    mkdir -p "$2"
    find "$1/." ! -name . -prune ! -type d -exec mv {} "$2" \;
    rmdir "$1" 2>/dev/null || test -d "$1"
}

# A file that is there already is not written over; one that was copied before a kill is the same.
file() {
    test -f "$1" || return 0
    mkdir -p "${2%/*}"
    test ! -e "$2" || cmp -s "$1" "$2" || { printf '%s\n' "migrate: $1 is to become $2, which is another" >&2; exit 1; }
    mv "$1" "$2"
}

# bob.seen, bob.sub and the like; bob.smith.sub is of bob.smith
files() {
    for each in "$1".*; do
        case ${each#"$1".} in *.*) ;; *) file "$each" "$2.${each#"$1".}" ;; esac
    done
}
