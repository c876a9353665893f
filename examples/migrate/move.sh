#!/bin/sh
# Moves what the new server looks for elsewhere; `make load' writes work/moves.sh of this and of a line for each move.
# Run again it goes on where it was stopped: what is not there any more has gone before, or gone along with another.
# Nothing is written over. What is moved is told on standard output first, for `make rollback' to move it back.
set -eu
umask 077
# find goes back to where it was started, and that may be root's.
cd /

told() { printf '%s\t%s\t%s\n' "$@"; }

taken() {
    printf '%s\n' "migrate: $1 is to become $2, and that is there already and another: move one of the two away" >&2
    exit 1
}

# A mailbox and what lies below it.
whole() {
    if test -e "$1" && test ! -e "$2"; then
        told whole "$1" "$2"
        mkdir -p "${2%/*}"
        mv "$1" "$2"
    else
        alone "$1" "$2"
    fi
}

# A mailbox without what lies below it.
alone() {
    test -d "$1" || return 0
    told alone "$1" "$2"
    mkdir -p "$2"
    find "$1/." ! -name . -prune ! -type d -exec mv -n -t "$2" {} + || :
    # A file that was copied before a kill is the same.
    find "$1/." ! -name . -prune ! -type d | while read -r left; do
        test -e "$2/${left##*/}" || exit 1
        cmp -s "$left" "$2/${left##*/}" || taken "$left" "$2/${left##*/}"
        rm "$left"
    done
    rmdir "$1" 2>/dev/null || test -d "$1"
}

file() {
    test -f "$1" || return 0
    test ! -e "$2" || cmp -s "$1" "$2" || taken "$1" "$2"
    told file "$1" "$2"
    mkdir -p "${2%/*}"
    mv "$1" "$2"
}

# bob.seen, bob.sub and the like; bob.smith.sub is of bob.smith
files() {
    for each in "$1".*; do
        case ${each#"$1".} in *.*) ;; *) file "$each" "$2.${each#"$1".}" ;; esac
    done
}

