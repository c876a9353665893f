#!/bin/sh
# The steps of the Makefile beside this file, which sets every variable in capitals; one step for each call.
# By hand: `sh steps.sh conf partition-default old.conf' tells how an imapd.conf is read here.
# Nothing here judges a mailbox: that is the filters' (mbx(7)). What is left is which disk, which file, which moment.
# shellcheck disable=SC2086 # MAP, ACL, AS_CYRUS and RSYNC are lists of words
set -eu
LC_ALL=C
export LC_ALL
case $0 in */*) kit=${0%/*} ;; *) kit=. ;; esac
# shellcheck source-path=SCRIPTDIR
. "$kit/hosts.sh"
# shellcheck source-path=SCRIPTDIR
. "$kit/safe.sh"

# What matters in a log: not what was left out as it was asked for, and not what make load will move; of many the first,
# and the end.
shown() {
    grep -v -e ' dropped: ' -e ': the directory must move ' "$1" >"$1.shown" || true
    if test "$(wc -l <"$1.shown")" -le 60; then cat "$1.shown"; else head -n 40 "$1.shown" && tail -n 10 "$1.shown"; fi
    cmp -s "$1" "$1.shown" && test "$(wc -l <"$1")" -le 60 || echo "(all $(wc -l <"$1") lines are in $1)"
}

# ---------------------------------------------------------------------------------------------------------------------
# The list of the old server, as it came and sealed for the new one.

take() {
    for file in "$OLD_CONF" "$NEW_CONF"; do
        test -r "$file" || die "$file: cannot be read; config.mk tells where it is"
    done
    sh -c "$DUMP" </dev/null >"$W/old.dump.new" ||
        die "the old server's list was not printed: status $? of: $DUMP"
    mv "$W/old.dump.new" "$W/old.dump"
    # 1 also tells of refused entries; whether the list is whole stands at its end.
    mbx-parse -v --from "$FROM" --to "$TO" -C "$NEW_CONF" --spool-conf "$OLD_CONF" ${DROP:+--drop "$DROP"} --seal \
        --reject "$W/refused.by-release" "$W/old.dump" >"$W/old.list.new" 2>"$W/take.log" || true
    case $(tail -n 1 "$W/old.list.new") in
    '!mbx-end '*) mv "$W/old.list.new" "$W/old.list" ;;
    *) { shown "$W/take.log"; tail -n 1 "$W/old.list.new"; } >&2; die "the old server's list is not whole, or not of $FROM: see above, and $W/old.dump" ;;
    esac
}

# ---------------------------------------------------------------------------------------------------------------------
# The copies.

# rsync_of FROM TO OPTION...: a command
rsync_of() {
    between="$(quoted "$1/") $(quoted "$2/")"
    shift 2
    printf '%s\n' "$RSYNC${1:+ $*} $between"
}

# rsyncs OPTION...: the copies as commands, one a line
rsyncs() {
    copied | while IFS=$tab read -r _ here there _; do rsync_of "${OLD:+$OLD:}$here" "$there" "$@"; done
}

# on_the_old_host KIND DIRECTORY COPY: is it there, and not the place where a disk should be?
on_the_old_host() {
    # By the words of RSYNC, which may tell how to get there.
    if sh -c "$RSYNC --list-only --no-recursive --dirs $(quoted "$(from "$2")")" </dev/null >"$W/listed" 2>"$W/listed.log"; then
        # `.', and what a server makes of an empty partition: `stage.'.
        held=$(awk '/^[-dl]/ && $NF !~ /\.$/ && $NF != "lost+found" { n++ } END { print n + 0 }' "$W/listed")
        test "$held" -gt 0 || is_in_place "$2" "$3" || test ! -d "$3" || test -z "$(a_file "$3")" ||
            die "$(from "$2") is empty, and $3, its copy, is not: is the old host's disk mounted? If it is meant to be empty," \
                'empty the copy'
        case $1,$held in
        metapartition,0)
            case $(conf metapartition_files "$OLD_CONF") in
            *header* | *index*) die "$(from "$2") holds no metadata: is the old host's disk mounted? Nothing was copied from there" ;;
            esac
            ;;
        partition,0)
            die "$(from "$2") holds no mailbox: is the old host's disk mounted? Nothing was copied from there" ;;
        archivepartition,0)
            grep -qxF "$2" "$W/empty" 2>/dev/null ||
                die "$(from "$2") holds no mail: is the old host's disk mounted? If nothing was ever archived there:" \
                    "echo $(quoted "$2") >>$W/empty"
            say "$(from "$2") is empty: nothing is archived there"
            ;;
        user,0) say "$(from "$2") is empty: users have no subscriptions there, and no \\Seen?" ;;
        *,0) say "$(from "$2") is empty: no $1 files are copied" ;;
        esac
        return
    fi
    # A server without quotas, domains or scripts has no directories for them.
    case $1 in
    quota | domain | sieve | user)
        # That of rsync, not what ssh may say of a directory of its own.
        if grep -q '^rsync.*No such file or directory (2)' "$W/listed.log"; then
            is_in_place "$2" "$3" || test ! -d "$3" || test -z "$(a_file "$3")" ||
                die "$(from "$2") is not there, and $3, its copy, has files: is the old host's disk mounted? If it is meant to" \
                    'be gone, empty the copy'
            say "$(from "$2") is not there: no $1 files are copied"
            return 1
        fi
        ;;
    esac
    cat "$W/listed.log" >&2
    die "$(from "$2") cannot be listed: see above, and OLD, OLD_CONF and RSYNC in config.mk"
}

copy() {
    test ! -e "$W/arranging" || half_way
    all_copies
    test "$COPY" = yes || { : >"$W/copied"; return; }
    # Where nothing is copied, or all on one host, the server that runs is the old one, and so may be the pid file.
    if test -n "$(copied)" && ! is_the_old_server; then
        if test -n "$OLD"; then stopped; else at_rest "$NEW_CONF"; fi
    fi
    nobody_lives_here
    mounted
    claimed
    rsyncs >"$W/rsync.sh"
    while read -r line; do
        # 24: files vanished while they were copied, as they do while the old server runs.
        sh -c "$line" </dev/null || test $? -eq 24 || die "failed: $line"
    done <"$W/rsync.sh"
    copied | while IFS=$tab read -r kind _ there _; do
        held=no
        case $kind in *partition) test -z "$(holders "$there")" || held=yes ;; esac
        printf '%s\t%s\n' "$there" "$held"
    done >"$W/copied.new"
    mv "$W/copied.new" "$W/copied"
}

# The copies that there is something to make of.
all_copies() {
    copies >"$W/copies.new"
    if test "$COPY" = yes; then
        rsync_tried
        while IFS=$tab read -r kind here there of; do
            test "$kind" = new || on_the_old_host "$kind" "$here" "$there" || continue
            printf '%s\t%s\t%s\t%s\n' "$kind" "$here" "$there" "$of"
        done <"$W/copies.new" >"$W/copies"
        cut -f 1 "$W/copies" | grep -qx -e user -e quota -e domain ||
            die "$(root configdirectory "$OLD_CONF") on the old host has neither user/ nor quota/ nor domain/: is it the" \
                "configdirectory of its server? $OLD_CONF says so"
    else
        mv "$W/copies.new" "$W/copies"
    fi
    apart
}

# Has the old server changed anything since the last copy?
synced() {
    all_copies
    test "$COPY" = yes || { say 'COPY = no: that the whole spool has come is for you to know'; return; }
    mounted
    rsyncs --delete --dry-run --itemize-changes "--out-format='%i %n%L'" >"$W/rsync.sh"
    while read -r line; do sh -c "$line" </dev/null || die "failed: $line"; done <"$W/rsync.sh" >"$W/itemized"
    # Without what -v would say.
    grep -E '^([<>ch.][fdLDS]|\*deleting)' "$W/itemized" >"$W/differences" || true
    test ! -s "$W/differences" || {
        head -n 10 "$W/differences" >&2
        die "the old host's disks and the copy differ in $(wc -l <"$W/differences") files (all in $W/differences):" \
            'stop the old server, make rehearse, and make load again; or the copy was changed here, or MAP is another than it' \
            'was then'
    }
}

# ---------------------------------------------------------------------------------------------------------------------
# The list for the new server.

# make_list FILE [OPTION...]: the list through the filters, into FILE if the guard lets it out; options of mbx-check-paths
make_list() {
    list=$1
    shift
    looks=$*
    fill=
    if since "$TO" 3 6 && ! since "$FROM" 3 6; then fill=--fill; fi
    if test "$ACL" = no || ! since "$TO" 2 3; then set -- cat; else
        case " $ACL " in *' --rfc4314 '*) explicit= ;; *) explicit=--rfc4314 ;; esac
        set -- mbx-acl-rewrite $explicit $ACL
    fi
    shown "$W/take.log" >&2
    baseline=
    test ! -e "$W/rehearsed.list" || baseline="--baseline $W/rehearsed.list --max-lost $MAX_LOST"
    mbx-remap-part $MAP -C "$NEW_CONF" <"$W/old.list" |
        "$@" |
        mbx-check-paths -C "$NEW_CONF" --spool-conf "$OLD_CONF" $fill $looks --max-missing "$MAX_MISSING" \
            --missing "$W/missing" --reject "$W/refused.by-disk" --report "$W/places.tsv" 2>"$W/check.log" |
        mbx-count-guard --sealed --min "$MIN" $baseline >"$list.new" 2>"$W/guard.log" || {
        { shown "$W/check.log" && cat "$W/guard.log"; } >&2
        ! grep -q -e '--max-lost allows' "$W/guard.log" ||
            say "if these mailboxes of the last rehearsal are meant to be gone: rm $W/rehearsed.list, and make rehearse"
        ! grep -q -e 'Permission denied' "$W/check.log" ||
            say "if all of it is another user's, add $(chown_word) to RSYNC, and make rehearse"
        die 'the list was not let out, see above. Nothing was loaded. Thresholds are in config.mk'
    }
    { shown "$W/check.log" && cat "$W/guard.log"; } >&2
    names "$W/refused.by-release" "$FROM" >"$W/refused"
    names "$W/refused.by-disk" "$TO" >>"$W/refused"
    test "$(wc -l <"$W/refused")" -le "$MAX_REFUSED" || {
        head -n 20 "$W/refused" >&2
        allow="or allow MAX_REFUSED = $(wc -l <"$W/refused") in config.mk. "
        # So many have one reason.
        test "$(wc -l <"$W/refused")" -le $(($(wc -l <"$W/old.list") / 10)) || allow=
        die "these $(wc -l <"$W/refused") (all in $W/refused) cannot come along, the reasons stand above: rename or mend" \
            "them on the old server${allow:+, }$allow. A file that is damaged only here: remove it, and make rehearse copies it" \
            'again'
    }
    moves "$W/places.tsv" "$W/night.tsv"
    nothing_left
    # What would be done on metapartitions, where the copy is now, and can it be done?
    (metadata -n --spool-conf "$OLD_CONF" <"$list.new") 2>"$W/metadata" || { cat "$W/metadata" >&2; exit 1; }
    tail -n 1 "$W/metadata" >&2
    mv "$list.new" "$list"
}

# names FILE RELEASE: of what was set apart, as it came; what is no entry is one that was lost, too
names() {
    if since "$2" 3 6; then sed -n 's/^"\(\([^"\\]\|\\.\)*\)".*/\1/p' "$1"; else cut -f 1 "$1"; fi
}

# How many came along, and who did not.
told() {
    echo "$(tail -n 1 "$W/guard.log" | sed 's/^.* in, \([0-9,]*\) out.*/\1/') mailboxes come along; refused:" \
        "$(wc -l <"$W/refused") ($W/refused), without cyrus.header: $(names "$W/missing" "$TO" | wc -l) ($W/missing)"
}

# metadata OPTION...: what metapartition_files wants apart; the list is on standard input
metadata() {
    owner=
    test -z "$AS_CYRUS" || owner="--owner $CYRUS_USER"
    mbx-mkmeta -C "$NEW_CONF" --from "$FROM" --to "$TO" $owner --move "$@" >/dev/null ||
        die "the metadata of some mailboxes cannot be moved, see above; mbx-mkmeta(1) tells what to do"
}

half_way() { die 'a load is half way, or done: make load ends it, make rollback undoes it'; }

# May this host be changed now?
ready() {
    test ! -e "$W/undoing" || die 'a rollback is half way: make rollback ends it'
    both_stopped
    no_push
}

rehearse() {
    no_links
    no_push
    make_list "$W/rehearsed.list" --orphans "$W/orphans"
    writable
    # The loader of this release, as this user, with this imapd.conf: better now than at night. Beside a server that is to
    # be upgraded in place nothing is tried.
    is_the_old_server || {
        load_into "$(db).rehearsed" "$W/rehearsed.list" ||
            die "the new server's loader does not take the list, see above; config.mk has CYRUS_BIN, TO, NEW_CONF and CYRUS_USER"
        $AS_CYRUS rm -f "$(db).rehearsed"
    }
}

rehearsed() {
    test ! -e "$W/arranging" || half_way
    test ! -s "$W/orphans" ||
        say "$(names "$W/orphans" "$TO" | wc -l) mailboxes are on the copy and in no entry ($W/orphans): what DROP leaves out and what is" \
            'refused, or the list was cut off, or they were lost before'
    say "rehearsed: $W/rehearsed.list is what would be loaded. $(told)." \
        "make load moves $(awk -F '\t' '$3 != $4' "$W/night.tsv" | wc -l) directories and files, if they are there" \
        "($W/night.tsv)"
}

final() {
    test -e "$W/rehearsed.list" || die 'nothing was rehearsed: make rehearse'
    ready
    synced
    no_links
    make_list "$W/final.list"
    writable
}

# ---------------------------------------------------------------------------------------------------------------------
# The load.

# 3.1.9 and later print intermediates only if asked.
printing() { if since "$TO" 3 2; then echo -dy; else echo -d; fi; }

# load_into DATABASE LIST
load_into() {
    eat=
    # A sync for each entry is for a database that is in use; this one is synced once.
    if command -v eatmydata >/dev/null; then eat=eatmydata; fi
    $AS_CYRUS rm -f "$1"
    ctl="$AS_CYRUS $eat $(quoted "$CYRUS_BIN/ctl_mboxlist") -C $(quoted "$NEW_CONF") -f $(quoted "$1")"
    mbx-count-guard --to "$TO" -C "$NEW_CONF" --min "$MIN" --verify "$ctl $(printing)" "$2" -- sh -c "exec $ctl -u"
}

# Into a database of its own; the server's is not touched.
aside() {
    ready
    db=$(db)
    load_into "$db.new" "$W/final.list" ||
        die "the load into $db.new failed, see above; $db is as it was. Mend it, and make load again"
    sync "$db.new"
    touch "$W/verified"
}

# What the new server looks for elsewhere. From here on the copy is not the old server's any more.
arrange() {
    ready
    going_on
    # The list before an earlier load is not the one before this one.
    old=$(db).before
    test -e "$W/arranging" || test ! -e "$old" || $AS_CYRUS mv "$old" "$old.$(date -r "$old" +%Y%m%d%H%M%S)"
    # What rollback must know, whatever becomes of config.mk and the two imapd.confs.
    if test ! -e "$W/arranging"; then
        db >"$W/undo.db"
        echo "$COPY" >"$W/undo.copy"
        cp "$W/copies" "$W/undo.copies"
        if test "$COPY" = yes; then copied | cut -f 3; fi >"$W/undo.again"
        touch "$W/arranging"
    fi
    awk -F '\t' -v OFS='\t' '$3 != $4 { print $1, $3, $4 }' "$W/night.tsv" >"$W/moves.tsv"
    move "$W/moves.tsv" >>"$W/journal" ||
        die "a directory could not be moved, see above: mend it, and make load again ($W/moves.sh)"
    metadata --spool-release "$TO" <"$W/final.list"
    touch "$W/arranged"
}

# move TABLE: how, where it is, where it shall be
move() {
    # Whoever asks whether this fails takes set -e away from it.
    sort -t "$tab" -k 2 "$1" >"$W/moves.sorted" && {
        cat "$kit/move.sh" && awk -F '\t' -v q="'" '
            function quoted(text,   n, i, part, out) {
                n = split(text, part, q); out = part[1]
                for (i = 2; i <= n; i++) out = out q "\\" q q part[i]
                return q out q
            }
            { print $1, quoted($2), quoted($3) }' "$W/moves.sorted"
    } >"$W/moves.sh" && $AS_CYRUS sh <"$W/moves.sh"
}

# A load that was stopped goes on with the list and the copy of when it began.
going_on() {
    test -e "$W/arranging" && test "$W/make.pid" -nt "$W/arranging" || return 0
    say "goes on with the list and the copy of $(date -r "$W/old.dump" '+%F %T'): what the old server got since is not in them"
    if sh -c "$DUMP" </dev/null >"$W/old.dump.now"; then
        cmp -s "$W/old.dump.now" "$W/old.dump" ||
            die 'the old server has another list by now, so it has been started since. Stop it, make rollback, make rehearse, and' \
                'make load'
    else
        say "the old server's list was not printed, status $? of: $DUMP. Whether it was started since is for you to know"
    fi
}

switch() {
    ready
    db=$(db)
    # Killed behind the rename, there is nothing more to switch to.
    if test -e "$db.new"; then
        going_on
        if test -e "$db" && test ! -e "$db.before"; then $AS_CYRUS ln "$db" "$db.before"; fi
        $AS_CYRUS mv "$db.new" "$db"
        sync "$db"
    fi
    verified
    touch "$W/switched"
}

loaded() {
    test -e "$(db)" || die "$(db) was loaded, and is not there any more"
    if test "$W/make.pid" -nt "$W/switched"; then
        say "was loaded before, $(date -r "$W/switched" '+%F %T'), and is not loaded again. make verify looks whether it is still" \
            'what was meant, make rollback undoes it'
        return
    fi
    say "loaded: $(db) is the new list$(test ! -e "$(db).before" || echo ", $(db).before the one before"). $(told)." \
        'Start the server'
}

verify() {
    test -e "$W/switched" || die 'nothing was loaded, or not to the end: make load'
    verified
    say "verified: the server's list is what was meant, and every mailbox is where the server looks"
}

# The server's own list is what was meant, and every mailbox is where it will look.
verified() {
    # Where there is none ctl_mboxlist would make one.
    test -e "$(db)" || die "$(db) was loaded, and is not there any more"
    # With cyrus.index, where the list has its uidvalidity.
    fill=
    if since "$TO" 3 6; then fill=--fill; fi
    if mbx-parse -q --from "$TO" --to "$TO" --seal -- $AS_CYRUS "$CYRUS_BIN/ctl_mboxlist" -C "$NEW_CONF" "$(printing)" |
        mbx-check-paths -C "$NEW_CONF" --spool-release "$TO" --max-missing 0 $fill 2>"$W/verify.log" |
        mbx-count-guard --sealed --compare-with "$W/final.list" >/dev/null && ! grep -q 'not moved yet' "$W/verify.log"; then
        return
    fi
    shown "$W/verify.log" >&2
    die 'this is not what was meant, see above. A disk that is not mounted: mount it. What users have changed since the load' \
        'is theirs. Otherwise make rollback undoes the load'
}

rollback() {
    both_stopped
    test -e "$W/arranging" || test -e "$W/undoing" || die "nothing was loaded, as far as $W/ tells: there is nothing to undo"
    test -e "$W/undo.db" || die "$W/ does not tell what was loaded: it is another kit's, or not all of it is there"
    db=$(cat "$W/undo.db")
    closed "$db"
    # Killed anywhere in here, it goes on when it is run again, and no load comes between.
    touch "$W/undoing"
    if test -e "$W/switched" || { test -e "$W/arranged" && test ! -e "$db.new"; } || test -e "$W/list.out"; then
        if test ! -e "$W/list.out" && test -e "$db"; then
            test ! -e "$db.undone" || $AS_CYRUS mv "$db.undone" "$db.undone.$(date -r "$db.undone" +%Y%m%d%H%M%S)"
            $AS_CYRUS mv "$db" "$db.undone"
        fi
        touch "$W/list.out"
        test -e "$db" || test ! -e "$db.before" || $AS_CYRUS mv "$db.before" "$db"
        say "rolled back: the list that was loaded is $db.undone. What users did here since the load is not on the old" \
            'server: mail that was delivered, flags, folders, subscriptions and scripts. Look for it before you copy again,' \
            'for the next copy removes it from this host. If the old server is a back end of a murder and had another' \
            'servername, read mbx-migrate(7), A MURDER, before you start it'
    else
        say "given up: $db was not touched"
    fi
    rm -f "$W/switched" "$W/arranged" "$W/verified"
    $AS_CYRUS rm -f "$db.new"
    move_back
    set_aside
    rm -f "$W/arranging" "$W/final.list" "$W/list.out" "$W/journal"
    rm -f "$W/undoing"
}

# What no copy brings again, because it is in place or came by other means: back to where it was.
move_back() {
    touch "$W/journal"
    awk -F '\t' -v OFS='\t' -v again="$W/undo.again" '
        BEGIN { while ((getline line <again) > 0) roots[line "/"] }
        {
            for (root in roots) if (index($2, root) == 1) next
            print $1, $3, $2
        }' "$W/journal" >"$W/back.tsv"
    move "$W/back.tsv" >/dev/null ||
        die "a directory could not be moved back, see above: mend it, and make rollback again ($W/moves.sh)"
    awk -F '\t' -v again="$W/undo.again" '
        BEGIN { while ((getline line <again) > 0) copied[line] }
        $1 == "new" && $2 == "=" || ($1 == "metapartition" || $1 == "archivepartition") && !($3 in copied) { print $3 }
    ' "$W/undo.copies" | sort -u | while read -r there; do
        left=
        for top in "$there"/*/; do left=${left:-$(filled "$top")}; done
        test -z "$left" || printf '%s\n' "$there"
    done >"$W/stays"
    test ! -s "$W/stays" ||
        say "what the load moved to metapartitions, and mail that was archived since, stays there: $(tr '\n' ' ' <"$W/stays"). If the" \
            'old server does not look there, bring the spool again, or move these files back, before it starts'
}

# What the load, and the server since, have put where the old host has nothing. In place it is the only copy.
set_aside() {
    test "$(cat "$W/undo.copy")" = yes || return 0
    awk -F '\t' '$1 == "new" { if ($2 == "=") only[$3] = 1; else dirs[$3] = 1 }
        END { for (dir in dirs) if (!(dir in only)) print dir }' "$W/undo.copies" | while read -r there; do
        undone=$there/undone.$(date +%Y%m%d%H%M%S)
        for top in "$there"/*/; do
            if test -n "$(filled "$top")"; then
                test -d "$undone" ||
                    say "what was undone is in $undone, metadata or mail that was archived: remove it when nobody wants it"
                $AS_CYRUS mkdir -p "$undone"
                $AS_CYRUS mv "$top" "$undone/"
            fi
        done
    done
}

# ---------------------------------------------------------------------------------------------------------------------
# What will be.

plan() {
    copies >"$W/copies.new"
    mv "$W/copies.new" "$W/copies"
    apart
    printf '== The list of %s, and what %s makes of it\n' "$FROM" "$TO"
    mbx-parse -q --from "$FROM" --to "$TO" -C "$NEW_CONF" --spool-conf "$OLD_CONF" ${DROP:+--drop "$DROP"} \
        --summary "$W/old.dump" || test $? -eq 1
    printf '\n== The same by name: what is refused, what is left out, what there is to know\n'
    shown "$W/take.log"
    printf '\n== What is copied; what the old host does not have is removed from this one\n'
    rsyncs
    mbx-remap-part $MAP -C "$NEW_CONF" <"$W/old.list" 2>"$W/remap.log" |
        mbx-check-paths -nq -C "$NEW_CONF" --spool-conf "$OLD_CONF" --report "$W/plan.places.tsv" \
            --reject "$W/refused.by-disk" 2>"$W/plan.log" | tail -n 1 | grep -q '^!mbx-end' || {
        cat "$W/remap.log" "$W/plan.log" >&2
        die 'the list, MAP and the two imapd.conf do not fit, see above'
    }
    # Of a name in MAP that nothing has.
    sed '$d' "$W/remap.log"
    moves "$W/plan.places.tsv" "$W/plan.tsv"
    printf '\n== What will be in another directory (all in %s)\n' "$W/moves"
    awk -F '\t' '$2 != $4 { print $2 " -> " $4 }' "$W/plan.tsv" >"$W/moves"
    head -n 20 "$W/moves"
    awk -F '\t' '$2 != $4 { n++; if ($3 != $4) m++ }
        END { printf "%d directories and files, if they are there; %d of them only by the copies above, %d are moved by make load\n", n, n - m, m }' \
        "$W/plan.tsv"
    while IFS=$tab read -r old new; do
        there=$(conf "metapartition-$new" "$NEW_CONF")
        test -z "$there" || test -z "$(conf metapartition_files "$NEW_CONF")" || test -n "$(conf "metapartition-$old" "$OLD_CONF")" ||
            printf '%s\n' "metapartition_files of partition $new: $there, moved there by make load"
    done <"$W/partitions"
    printf '\n== What users will see\n'
    differences >"$W/seen"
    if test -s "$W/seen"; then
        cat "$W/seen"
        printf 'The old server has this as the left value, the new one as the right; to keep the left set it in %s\n' "$NEW_CONF"
    else
        echo 'nothing new, as far as these imapd.confs tell'
    fi
}

# What imapd.conf says otherwise, or nobody says.
differences() {
    default username_tolower yes yes 'userids become lower case: whoever has upper case in the name loses INBOX and rights'
    default delete_mode immediate delayed 'deleted mailboxes stay below DELETED until cyr_expire takes them'
    default altnamespace no yes 'folders stand beside INBOX, not below it'
    default unixhierarchysep no yes 'the hierarchy separator is a slash, not a dot'
    if is_on unixhierarchysep "$OLD_CONF" "$FROM" && ! is_on unixhierarchysep "$NEW_CONF" "$TO"; then
        dotted=$(mbx-parse -q --format tsv "$W/old.list" | cut -f 1 | grep -c '\^') || true
        test "$dotted" -eq 0 || printf '%s\n' "  and $dotted mailboxes have a dot in a part of their name (^ in the list): LIST does" \
            '  not show these then: keep unixhierarchysep: yes'
    fi
}

# default OPTION BEFORE SINCE MEANING: what nobody says, before 3.0 and since
default() {
    old=$(conf "$1" "$OLD_CONF")
    new=$(conf "$1" "$NEW_CONF")
    if since "$FROM" 3 0; then old=${old:-$3}; else old=${old:-$2}; fi
    if since "$TO" 3 0; then new=${new:-$3}; else new=${new:-$2}; fi
    test "$(switch_of "$old")" = "$(switch_of "$new")" || printf '%s: %s -> %s (%s)\n' "$1" "$old" "$new" "$3: $4"
}

case $1 in conf) "$@"; exit ;; esac

case $(id -un) in
root | "$CYRUS_USER") ;;
*) die "run make as root or as $CYRUS_USER: nobody else can read the spool and write the list" ;;
esac
case $MASTER_PID in /*) ;; *) die "MASTER_PID is a file, not '$MASTER_PID': see config.mk" ;; esac
case ${OLD##*@} in
localhost | 127.* | "$(uname -n)") die "OLD = $OLD is this host: leave it empty, so that what is in place is not copied over (a" \
    'tunnel to another host wants a name of its own, in ~/.ssh/config)' ;;
esac
case $COPY in yes | no) ;; *) die "COPY is yes or no, not $COPY: see config.mk" ;; esac

# A second make here would take a list while the first loads it. The make that works here leaves its number; one that
# was killed leaves it too, so the number must be that of a make that lives.
mkdir -p "$W"
for file in "$W" "$W/make.pid" "$W/lock" "$W/copied"; do
    test ! -e "$file" || test -w "$file" ||
        die "$W/ is not $(id -un)'s: run make as the user who began, or give it over: chown -R $(id -un) $W"
done
tries=
until (set -C && echo "$PPID" >"$W/make.pid") 2>/dev/null; do
    case $tries in xxx) die "$W/make.pid cannot be written: is the disk full?" ;; esac
    tries=x$tries
    other=$(cat "$W/make.pid")
    test "$other" != "$PPID" || break
    # One that has ended and that nobody has asked how (Z) works no more.
    case $(awk '/^(Name|State):/ { printf "%s ", $2 }' "/proc/$other/status" 2>/dev/null) in
    *' Z '*) ;;
    make\ * | gmake\ *) die "another make, process $other, is at work here: wait until it has ended" ;;
    esac
    rm -f "$W/make.pid"
done
# What a make that was killed has begun may still be at work: everything that a step starts holds this.
exec 9>"$W/lock"
flock -n 9 || die "something that an earlier make began is still at work on $W/: wait until it has ended (fuser -v $W/lock)"

"$1"
