#!/bin/sh
# Fills fuzz/corpus/ with what real servers wrote and were fed (tests/corpus), cut into the inputs of each target: a few
# bytes that choose releases and flags, and then the thing itself. Running it again changes nothing.
set -eu
cd "$(dirname "$0")"
real=../tests/corpus
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# seed TARGET NAME CHOICE...: an input of the bytes CHOICE, in octal, and of what stands on stdin.
seed() {
    to=corpus/$1/seed-$2
    mkdir -p "corpus/$1"
    shift 2
    # shellcheck disable=SC2059 # the bytes are escapes of the format
    { printf "$(printf '\\%s' "$@")"; cat; } >"$to"
}

# Entry by entry, for a list with a number: every release takes its turn as the target.
entries() {
    n=0
    while IFS= read -r entry; do
        n=$((n + 1))
        case $entry in
        '"'*) printf '%s' "${entry%,}" | seed json "$1-$n" 25 $((n % 3 + 22)) 0 ;;
        [{}]*) ;;
        *) printf '%s' "$entry" | seed text "$1-$n" 25 "$(printf %o $((n % 22)))" ;;
        esac
        case $entry in
        *"$(printf '\t')"*) printf '%s' "${entry#*"$(printf '\t')"*"$(printf '\t')"}" | seed acl "$1-$n" 0 0 1 2 0 ;;
        esac
        printf '%s' "${entry%%"$(printf '\t')"*}" | seed path "$1-$n" "$(printf %o $((n % 96)))"
    done
}

n=0
for dump in "$real"/*/*/dump.txt; do
    n=$((n + 1))
    # Neighbours are much alike.
    awk 'NR % 7 == 1' "$dump" | entries "$n"
    for flags in 0 24 31 33 37 63; do
        head -c 3000 "$dump" | sed '$d' | seed list "$n-$flags" 25 "$(printf %o $((n % 22)))" "$flags" 17
        { head -n 5 "$dump" | sed '$s/,$//'; if head -n 1 "$dump" | grep -q '^{'; then echo '}'; fi; } |
            seed list "$n-$flags-whole" 25 "$(printf %o $((n % 22)))" "$flags" 5
    done
done

# What loaders were fed with.
for probes in "$real"/*/loader.jsonl.gz; do
    n=$((n + 1))
    gzip -dc "$probes" | sed -n 's/.*"input": "\([^"]*\)".*/\1/p' >"$work/probes"
    i=0
    while IFS= read -r probe; do
        i=$((i + 1))
        test ${#probe} -lt 3000 || continue
        printf '%s' "$probe" | base64 -d >"$work/probe"
        seed list "probe-$n-$i" 25 $((i % 3 + 20)) 23 7 <"$work/probe"
        sed 's/^{"/"/; s/}}$/}/' <"$work/probe" | entries "probe-$n-$i"
    done <"$work/probes"
done

n=0
for conf in "$real"/*/*/imapd.conf; do
    n=$((n + 1))
    seed conf "$n" "$(printf %o $((n % 22)))" <"$conf"
done
printf 'a: b\n@include: /a\n\001partition-default: /x\\\n/y\n@include: /b\n\001metapartition_files: header\n' |
    seed conf include 25

# Headers without their magic, which the target puts before them.
for spool in "$real"/*/*/spool.tar.gz; do
    n=$((n + 1))
    tar -xzf "$spool" -C "$work"
    find "$work" -name cyrus.header | sort | head -n 5 >"$work/headers"
    while IFS= read -r header; do
        tail -n +4 "$header" | seed header "$n-$(basename "$(dirname "$header")")" 1
        if test -f "${header%header}index"; then
            head -c 192 "${header%header}index" | seed header "$n-$(basename "$(dirname "$header")")-index" 2
        fi
    done <"$work/headers"
    find "$work" -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
done

printf 'old,new\n0,1\n"a ""b""",c\n' | seed told pairs 0
printf '2.2.13\n3.0.0-beta2\n0=1\n./a=b\n0.5%%\n40\n2.3' | seed told words 1
printf 'list from 2.2.13 to 3.6.1 rights explicit' | seed told list 2
printf 'end 103' | seed told end 2
