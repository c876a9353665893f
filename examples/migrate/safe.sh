#!/bin/sh
# May it be done? What must be so before anything is touched; everything here ends with a line that says what to do, or
# says nothing. Read by steps.sh, behind hosts.sh.
# shellcheck disable=SC2086 # AS_CYRUS is a list of words

# ---------------------------------------------------------------------------------------------------------------------
# Servers.

# Refuses while a server works on what is to be changed.
stopped() {
    if test -e "$MASTER_PID"; then
        pid=$(cat "$MASTER_PID") || die "$MASTER_PID: cannot be read: does a master run here?"
        # Its number may be another's by now.
        case $(cat "/proc/${pid%%[!0-9]*}/comm" 2>/dev/null) in
        *master*) die "a master runs here ($MASTER_PID: $pid): stop it" ;;
        esac
    fi
    at_rest "$NEW_CONF"
}

# The old server, too, if it is one of this host.
both_stopped() {
    stopped
    test -n "$OLD" || at_rest "$OLD_CONF"
}

# at_rest CONF: where there is no pid file: a master of this imapd.conf, who listens, and who has the list open?
at_rest() {
    dir=$(root configdirectory "$1")
    grep -la master /proc/[0-9]*/cmdline 2>/dev/null | while IFS=/ read -r _ _ pid _; do
        tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" >"$W/cmdline" || continue
        # postfix has one, too, and ssh calls a connection so.
        case $(head -n 1 "$W/cmdline") in
        *postfix* | ssh:*) continue ;;
        master | */master | *cyr*master*) ;;
        *) continue ;;
        esac
        its=$(awk 'its { print; exit } /^-C./ { print substr($0, 3); exit } $0 == "-C" { its = 1 }' "$W/cmdline")
        # One that is told by where the master was started may be this one.
        case ${its:=/etc/imapd.conf} in
        /*) test "$its" -ef "$1" || test "$(root configdirectory "$its" 2>/dev/null)" -ef "$dir" || continue ;;
        esac
        echo "$pid"
    done >"$W/masters"
    test ! -s "$W/masters" || die "a master runs here with $1, process $(head -n 1 "$W/masters"): stop it"
    socket=$(DIR=$dir/socket/ REAL=$(readlink -m "$dir")/socket/ awk '
        { at = index($0, "/"); path = substr($0, at) }
        at && (index(path, ENVIRON["DIR"]) == 1 || index(path, ENVIRON["REAL"]) == 1) { print path; exit }' /proc/net/unix)
    test -z "$socket" || die "a server listens at $socket: stop it"
    closed "$(db_of "$1")"
}

# closed LIST: nobody has it open
closed() {
    open=$(find /proc/[0-9]*/fd -type l -printf '%l\t%p\n' 2>/dev/null |
        LIST=$(readlink -m "$1") awk 'index($0, ENVIRON["LIST"] "\t/proc/") == 1' | head -n 1)
    test -z "$open" || die "process $(echo "${open##*"$tab"}" | cut -d / -f 3) has $1 open: stop the server"
}

# On a back end of a murder that has got another name, ctl_mboxlist -m deletes every local mailbox.
no_push() {
    test -r "$CYRUS_CONF" || die "$CYRUS_CONF: cannot be read; CYRUS_CONF in config.mk tells where it is"
    old=$(conf servername "$OLD_CONF")
    new=$(conf servername "$NEW_CONF")
    if test -z "$new" || test "$old" != "$new"; then
        pushes=$(awk '{ sub(/^[ \t]*#.*/, "") } /^[ \t]*START/ { on = 1 } on && /ctl_mboxlist.*[ \t]-[a-z]*m/ { print NR; exit }
            on && /^[ \t]*}/ { on = 0 }' "$CYRUS_CONF")
        test -z "$pushes" ||
            die "$CYRUS_CONF:$pushes: START runs ctl_mboxlist -m, and servername is '$new' here, '$old' on the old host:" \
                'mailboxes that the mupdate master knows by the other name would be deleted. Take the line out. When the list' \
                'is loaded, ctl_mboxlist -m -a gives the master the new name; then put the line back: mbx-migrate(7), A MURDER'
    fi
}

# Is the list of this host the old server's own, that is upgraded on its host?
is_the_old_server() { test -z "$OLD" && test "$(db)" -ef "$(db_of "$OLD_CONF")"; }

# A server that lives here already, whose mail a copy would remove. Only its own release can read its list.
nobody_lives_here() {
    test -n "$(copied)" && ! is_the_old_server || return 0
    ! test -e "$(db)" ||
        die "this host has a list of its own, $(db): the copy would remove the mail of every mailbox in it, and users' files." \
            'If there is none that anybody wants, move that file away, and make rehearse again'
}

# ---------------------------------------------------------------------------------------------------------------------
# Directories.

# as_seen KIND DIRECTORY: with its real path, its number, and those of all that it lies in
as_seen() {
    path=$(readlink -m "$2")
    printf '%s\t%s\t%s\t' "$1" "$path" "$(stat -c %d:%i "$path" 2>/dev/null || echo -)"
    while :; do
        stat -c %d:%i "$path" 2>/dev/null || :
        case $path in /) break ;; esac
        path=${path%/*}
        path=${path:-/}
    done | tr '\n' ' '
    echo
}

# rsync --delete would remove a directory that lies in one that is copied to, be it a target, a source or another's, and
# by whatever name: mount --bind gives it two.
apart() {
    test "$COPY" = yes || return 0
    {
        copied | cut -f 2,3 | sort -u | while IFS=$tab read -r _ there; do as_seen to "$there"; done
        while IFS=$tab read -r kind here there _; do
            case $kind in new) here=$there ;; *) test -z "$OLD" || continue ;; esac
            as_seen of "$here"
        done <"$W/copies"
        for own in . "$NEW_CONF" "$OLD_CONF" "$(db)"; do as_seen of "$own"; done
    } | awk -F '\t' '
        { kind[NR] = $1; dir[NR] = $2; number[NR] = $3; above[NR] = " " $4 }
        END {
            for (i = 1; i <= NR; i++) for (j = 1; j <= NR; j++) {
                in_it = index(dir[j] "/", dir[i] "/") == 1 || index(above[j], " " number[i] " ")
                if (i != j && in_it && (kind[i] == "to" || kind[j] == "to")) { print dir[j] " lies in " dir[i]; exit }
            }
        }' >"$W/nested"
    test ! -s "$W/nested" ||
        die "$(cat "$W/nested"): rsync --delete would remove the one as it copies to the other. Give each a directory of its own"
    both=$(awk -F '\t' '$1 == "new" { if ($3 in mark && mark[$3] != $2) { print $3; exit } mark[$3] = $2 }' "$W/copies")
    test -z "$both" ||
        die "$both is to hold what is in place and what is copied; a rollback could not tell them apart. Give each its own"
}

# holders DIRECTORY: what in it can hold mailboxes
holders() { find "$1/." ! -name . -prune -type d ! -name lost+found ! -name '*.'; }

# a_file DIRECTORY: one that is in it
a_file() { find "$1/." -name lost+found -prune -o -type f -print | head -n 1; }

# Are the disks of this host where they should be?
mounted() {
    while IFS=$tab read -r kind _ there _; do
        case $kind in new | *partition) test -d "$there" || die "$there: is not there. Mount it, or make it if it is to be new" ;; esac
        # To where it was copied before.
        ! grep -qxF "$there${tab}yes" "$W/copied" 2>/dev/null || test -n "$(holders "$there")" ||
            die "$there held mailboxes at the last rehearsal and is empty now: is the disk mounted? If it is meant to be" \
                "empty: take its line out of $W/copied"
    done <"$W/copies"
}

# What is there before the first copy is nobody's to remove. From then on it is the copy's.
claimed() {
    copied | while IFS=$tab read -r _ _ there _; do
        ! cut -f 1 "$W/copied" 2>/dev/null | grep -qxF "$there" || continue
        other=
        test ! -d "$there" || other=$(a_file "$there")
        test -z "$other" || printf '%s\n' "$other" >&3
        printf '%s\tno\n' "$there"
    done >"$W/claims" 3>"$W/others"
    test ! -s "$W/others" || {
        cat "$W/others" >&2
        die 'these are there, and others perhaps, and no rehearsal of this kit has copied them: the copy would remove what the' \
            "old host does not have. Move them away; or, if they are an earlier copy of the old host's: cat $W/claims >>$W/copied"
    }
    cat "$W/claims" >>"$W/copied"
}

# A link in a copy to a directory, to nothing, or to a place of the old host's. What it names may be the old host's own, and
# would be moved from there; or it has not come along. Scripts have one that may name nothing.
no_links() {
    test "$COPY" = yes || return 0
    copied | while IFS=$tab read -r _ _ there _; do
        test -d "$there" || continue
        link=$(find "$there/." -type l '(' ! -xtype f -o -lname '/*' ')' ! -name defaultbc | head -n 1)
        test -z "$link" ||
            die "$link is a link to $(readlink "$link"), and only the link was copied. Add --copy-unsafe-links to RSYNC, which" \
                'copies what it names (--copy-dirlinks, if that is a directory of the same copy); or remove it on the old host'
    done
}

# What gives a copy to the Cyrus user.
chown_word() { printf '%s\n' "--chown=$CYRUS_USER:$(id -gn "$CYRUS_USER")"; }

# The Cyrus user must be able to work there: a server that cannot makes no mailbox, and has no subscriptions.
writable() {
    to_give="chown it; where each copy brings the old host's owner again, add $(chown_word) to RSYNC"
    {
        root configdirectory "$NEW_CONF"
        cut -f 1,3 "$W/copies" | sed -n 's/^[a-z]*partition\t//p; s/^new\t//p'
    } | while read -r dir; do
        $AS_CYRUS test -w "$dir" || die "$dir: $CYRUS_USER cannot write there: is the disk mounted? If it is: $to_give"
    done
    while IFS=$tab read -r kind _ there _; do
        # Scripts may be somebody else's, if they can be read.
        case $kind in new | *partition) continue ;; sieve) lacks='! -readable' ;; *) lacks='! -readable -o ! -writable' ;; esac
        test -e "$there" || continue
        # What find itself cannot read it says.
        theirs=$(cd / && $AS_CYRUS find "$there" -name lost+found -prune -o ! -type l '(' $lacks ')' -print -quit 2>&1 |
            head -n 1)
        test -z "$theirs" || die "$theirs: is not $CYRUS_USER's to read and write: $to_give"
    done <"$W/copies"
}

# Does RSYNC copy everything, and tell what it would do? With -n, -q and filters it does not, in whatever words they stand.
rsync_tried() {
    try=$(mktemp -d)
    # When this step ends, however it does.
    trap 'chmod -R u+rwX "$try"; rm -rf "$try"' EXIT
    mkdir -p "$try/from/b" "$try/to"
    files='b/1. b/12. cyrus.header bob.sub bob.seen b.bob'
    for file in $files; do echo "of $file" >"$try/from/$file"; done
    # It may become somebody else.
    test -z "$AS_CYRUS" || chown -R "$CYRUS_USER" "$try"
    tell=$(rsync_of "$try/from" "$try/to" --delete --dry-run --itemize-changes "--out-format='%i %n%L'")
    do_it=$(rsync_of "$try/from" "$try/to")
    { sh -c "$tell" >"$W/tried" && sh -c "$do_it" >/dev/null; } </dev/null || die "RSYNC = $RSYNC: fails, see above"
    for file in $files; do
        grep -qxF ">f+++++++++ $file" "$W/tried" ||
            die "RSYNC = $RSYNC: does not tell that it would copy a file named $file: without -q, and without a filter"
        cmp -s "$try/from/$file" "$try/to/$file" ||
            die "RSYNC = $RSYNC: does not copy a file named $file: without -n, and without a filter"
    done
}

# Files on a metapartition that only this host has are left of a load that was undone: the next one would not know which
# count. Or they are another's.
nothing_left() {
    test "$COPY" = yes || return 0
    while IFS=$tab read -r kind mark there of; do
        test "$kind,$mark" = new,- || continue
        for top in "$there"/*/; do
            left=$(filled "$top")
            test -z "$left" ||
                die "$there has mailboxes, such as $left, and the old host keeps nothing apart of partition $of: what are they?" \
                    'Move them all away, and make it again'
        done
    done <"$W/copies"
}

# filled DIRECTORY/: the first file of a mailbox in a directory of a root that can hold mailboxes
filled() {
    name=${1%/}
    case ${name##*/} in '*' | *.* | lost+found) return ;; esac
    find "$1" -type f \( -name 'cyrus.*' -o -name '[0-9]*.' \) | head -n 1
}
