#!/bin/sh
# The main job on real input: the mailbox list and spool of a Cyrus 2.2.13 become a list for a 2.3.7. No Cyrus is needed.
# Everything happens in a temporary directory. Run it with `make demo`, or with the six filters in PATH.
# shellcheck disable=SC2016 # commands are shown as they stand and expanded by eval
set -eu

here=$(dirname "$0")
corpus=$here/../tests/corpus
dir=$(mktemp -d "${TMPDIR:-/tmp}/mbx-demo.XXXXXX")
trap 'rm -rf "$dir"' EXIT HUP INT TERM

# The spool is ours here, not the server's: if we are root, it is root who must be able to read it.
CYRUS_USER=$(id -un)
export CYRUS_USER

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
test -t 1 || say() { printf '\n%s\n' "$*"; }
show() { sed 's/^/    /'; }
run() { printf '$ %s\n' "$1"; (cd "$dir" && eval "$1" 2>&1) | show; }

# The old server's spool, as rsync brought it over, its partitions renamed: default is 3 now, and 0 is 4.
tar --no-same-owner -xzf "$corpus/2.2.13/flat/spool.tar.gz" -C "$dir"
mv "$dir/spool/default" "$dir/spool/3"
mv "$dir/spool/0" "$dir/spool/4"
cp "$corpus/2.2.13/flat/dump.txt" "$dir/old.dump"
sed "s#/cyrus#$dir#" "$corpus/migration/imapd.conf" >"$dir/imapd.conf"
for partition in 1 2 3 4 part-3; do
    mkdir -p "$dir/meta/$partition"
    echo "metapartition-$partition: $dir/meta/$partition"
done >>"$dir/imapd.conf"
echo 'metapartition_files: cache squat' >>"$dir/imapd.conf"
# An error of a previous sysadmin, as there were in 2006: a mailbox that is in the list and not on the disk.
rm -rf "$dir/spool/1/user/frank"

say 'What came in: the list of a real Cyrus 2.2.13'
run 'mbx-parse --summary old.dump | head -n 21'

say 'The whole job: six filters, from 2.2.13 to 2.3.7'
run 'mbx-parse --from 2.2.13 --to 2.3.7 --seal -- cat old.dump \
    | mbx-remap-part default=3 0=4 -C imapd.conf --moves moves.csv \
    | mbx-acl-rewrite \
    | mbx-check-paths -C imapd.conf --missing missing.dump \
    | mbx-mkmeta -C imapd.conf --owner "$(id -u):$(id -g)" \
    | mbx-count-guard --sealed --min 100 >new.list'

say 'What changed: the type before the partition, the partition, the rights; no name, no identifier'
run 'for mailbox in user.dave.lrswipcda shared.acl.a9; do grep -h "^$mailbox	" old.dump new.list; done'
run 'head -n 3 moves.csv; echo "... and $(($(wc -l <moves.csv) - 3)) more partitions renamed"'

say 'What was dropped, and why: no cyrus.header where the new server would look'
run 'cat missing.dump'

say 'What the metapartitions got: directories, nothing else'
run 'find meta -mindepth 2 -type d | wc -l'

say 'What would be loaded, and is what a real 2.3.7 printed after it had loaded it'
grep -v "^user.frank	" "$corpus/migration/expected.dump" >"$dir/expected.list"
run 'cmp new.list expected.list && echo "new.list: identical, $(wc -l <new.list) entries"'

say 'And the load, with a stand-in for ctl_mboxlist: into a database of its own, verified there'
run "mbx-count-guard --to 2.3.7 --min 100 --verify 'cat new.db' <new.list -- sh -c 'cat >new.db'"

say 'The same night with the map the wrong way round: nothing is let out'
run 'mbx-parse -q --from 2.2.13 --to 2.3.7 --seal old.dump \
    | mbx-remap-part -q default=4 0=3 | mbx-check-paths -q -C imapd.conf 2>wrong.err \
    | mbx-count-guard -q --sealed -- ctl_mboxlist -u || echo "status $?: ctl_mboxlist was not started"; tail -n 4 wrong.err'
