#!/bin/sh
# The two hosts: what their imapd.confs say, and which directory of the old one becomes which of this one. Read by
# steps.sh, which has the Makefile's variables in capitals.
# shellcheck disable=SC2086 # MAP and releases are lists of words

tab=$(printf '\t')

say() { printf 'migrate: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# conf OPTION FILE: the value of an option of an imapd.conf; nothing if it is not set.
conf() {
    awk -v want="$1" '
        function read_conf(file,   line, more, key, value) {
            while ((more = getline line <file) > 0) {
                while (line ~ /\\$/ && (getline more <file) > 0) line = substr(line, 1, length(line) - 1) more
                sub(/^[ \t]+/, "", line); sub(/[ \t\r]+$/, "", line)
                if (line ~ /^#/ || !index(line, ":")) continue
                key = tolower(substr(line, 1, index(line, ":") - 1))
                value = substr(line, index(line, ":") + 1); sub(/^[ \t]+/, "", value)
                if (key == "@include") read_conf(value)
                else if (key == want) found = value
                else if (key == "imap_" want) own = value
            }
            if (more < 0) { print "migrate: " file ": cannot be read" >"/dev/stderr"; exit 1 }
        }
        BEGIN { read_conf(ARGV[1]); print own != "" ? own : found }' "$2"
}

# since RELEASE MAJOR MINOR: is the release this one or a later one?
since() {
    rest=${1#*.}
    test "${1%%.*}" -gt "$2" || { test "${1%%.*}" -eq "$2" && test "${rest%%[!0-9]*}" -ge "$3"; }
}

quoted() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }

# The mailbox list of the server of an imapd.conf.
db_of() {
    path=$(conf mboxlist_db_path "$1")
    printf '%s\n' "${path:-$(root configdirectory "$1")/mailboxes.db}"
}

db() { db_of "$NEW_CONF"; }

# root OPTION FILE: a directory without a slash behind it
root() { conf "$1" "$2" | sed 's|\(.\)/*$|\1|'; }

# A switch as yes or no, whatever word it has.
switch_of() {
    case $1 in 1* | y* | t* | on) echo yes ;; 0* | n* | f* | of*) echo no ;; *) echo "$1" ;; esac
}

# is_on SWITCH FILE RELEASE: of one that is on from 3.0 on if nobody says otherwise
is_on() {
    value=$(conf "$1" "$2")
    if test -z "$value"; then since "$3" 3 0; else test "$(switch_of "$value")" = yes; fi
}

# ---------------------------------------------------------------------------------------------------------------------
# Which directory of the old host becomes which of this one.

# old name, new name of each partition of the list
partitions() {
    mbx-parse -q --format tsv "$W/old.list" | awk -F '\t' 'NR > 1 && $3 == "" && $4 != "" && $4 != "(null)" { print $4 }' |
        sort -u | while read -r old; do
        new=$old
        for pair in $MAP; do
            case $pair in "$old="*) new=${pair#*=} ;; esac
        done
        printf '%s\t%s\n' "$old" "$new"
    done
}

# kind, old directory, new directory, new partition: of partitions with their metadata and archives, and of users' files.
# What the old host does not have at all is `new', and has `=' for its old directory where the partition is in place.
copies() {
    partitions >"$W/partitions.new"
    twice=$(cut -f 2 "$W/partitions.new" | sort | uniq -d | head -n 1)
    test -z "$twice" ||
        die "MAP makes $twice of more than one partition: rsync --delete would remove the one as it copies the other"
    kept_apart=
    while IFS=$tab read -r old new; do
        for kind in partition metapartition archivepartition; do
            here=$(root "$kind-$old" "$OLD_CONF")
            there=$(root "$kind-$new" "$NEW_CONF")
            case $kind in
            partition)
                data=$there old_data=$here
                mark=$(placed "$here" "$there")
                ;;
            # What is told to be apart and has the partition's own directory is not apart.
            *)
                test "$here" != "$old_data" || here=
                test "$there" != "$data" || there=
                ! test "$there" -ef "$data" ||
                    die "$NEW_CONF: $kind-$new is the directory of partition-$new by another name: write it alike, or leave it out"
                ;;
            esac
            case $kind,$here in metapartition,?*) kept_apart=yes ;; esac
            case $kind,$here,$there in
            partition,,*)
                die "$OLD_CONF: no partition-$old, but the list has mailboxes in it: is it the old host's imapd.conf?" ;;
            partition,*,) die "$NEW_CONF: no partition-$new, which partition $old is to become: see MAP in config.mk" ;;
            *,,) ;;
            *,,*) printf 'new\t%s\t%s\t%s\n' "$mark" "$there" "$new" ;;
            *,*,) die "$NEW_CONF: no $kind-$new, but the old host has $kind-$old: declare one" ;;
            *)
                # After a rollback the one would be the only place of what the other's copy does not know of.
                test "$(placed "$here" "$there")" = "$mark" ||
                    die "partition-$new and $kind-$new: one is the old server's own and the other a copy. Let both be copied," \
                        "or move $here to $there in a migration of its own"
                printf '%s\t%s\t%s\t%s\n' "$kind" "$here" "$there" "$new"
                ;;
            esac
        done
    done <"$W/partitions.new"
    mv "$W/partitions.new" "$W/partitions"
    kept=" $(conf metapartition_files "$NEW_CONF" | tr '\t' ' ') "
    for word in ${kept_apart:+$(conf metapartition_files "$OLD_CONF")}; do
        # The others are made anew, or hold nothing.
        case $word,$kept in
        header,*' header '* | index,*' index '* | annotations,*' annotations '* | dav,*' dav '*) ;;
        header,* | index,* | annotations,* | dav,*)
            die "$NEW_CONF: metapartition_files has no word $word, which $OLD_CONF has: the new server would not find what is" \
                'kept apart there. Add it' ;;
        esac
    done
    here=$(root configdirectory "$OLD_CONF")
    there=$(root configdirectory "$NEW_CONF")
    for kind in user quota domain; do
        printf '%s\t%s\t%s\t-\n' $kind "$here/$kind" "$there/$kind"
    done
    here=$(sievedir "$OLD_CONF")
    there=$(sievedir "$NEW_CONF")
    case $here,$there in
    ,) ;;
    *,) say "$NEW_CONF: sieveusehomedir: the scripts in $here of the old host are not copied" ;;
    ,*) say "$OLD_CONF: sieveusehomedir: the scripts of the old host are in its users' homes, and are not copied" ;;
    *) printf 'sieve\t%s\t%s\t-\n' "$here" "$there" ;;
    esac
}

# Where scripts are, if not with the users' own files.
sievedir() {
    test "$(switch_of "$(conf sieveusehomedir "$1")")" = yes || { found=$(root sievedir "$1"); printf '%s\n' "${found:-/usr/sieve}"; }
}

from() { printf '%s%s/' "${OLD:+$OLD:}" "$1"; }

# An upgrade in place has nothing to copy.
is_in_place() { test -z "$OLD" && { test "$1" = "$2" || test "$1" -ef "$2"; }; }

# = where it is in place, - where it is copied
placed() { if is_in_place "$1" "$2"; then echo '='; else echo -; fi; }

# copied: the lines of work/copies that rsync is to work on
copied() {
    while IFS=$tab read -r kind here there of; do
        test "$kind" = new || is_in_place "$here" "$there" || printf '%s\t%s\t%s\t%s\n' "$kind" "$here" "$there" "$of"
    done <"$W/copies"
}

# ---------------------------------------------------------------------------------------------------------------------
# What must move on this host, because the new server looks elsewhere.

# For awk: a field of a tsv file, which is in quotes if it holds some.
field='function field(text) {
    if (text ~ /^".*"$/) { text = substr(text, 2, length(text) - 2); gsub(/""/, "\"", text) }
    return text
}'

# places REPORT: of the mailboxes that a report of mbx-check-paths names: how to move, directory on the old host, here
# after the copy, here when the new server starts
places() {
    awk -F '\t' -v copies="$W/copies" "$field"'
        function below(root, dir) { return index(dir, root "/") == 1 ? substr(dir, length(root) + 2) : "" }
        BEGIN {
            while ((getline line <copies) > 0) {
                split(line, column, "\t")
                if (column[4] != "-") { n++; kind[n] = column[1]; old[n] = column[2]; new[n] = column[3]; of[n] = column[4] }
            }
        }
        NR > 1 && $4 != "missing" {
            dir = field($3); there = field($5)
            for (i = 1; i <= n; i++) if (of[i] == $2 && below(new[i], dir) != "") break
            if (i > n) { print "migrate: " $1 ": " $3 " lies in no directory of partition " $2 >"/dev/stderr"; exit failed = 1 }
            is = below(new[i], dir); shall = there == "" ? is : below(new[i], there)
            # What lies below public goes elsewhere than public does, what lies below user.bob goes along with it.
            name = field($1); sub(/^[^!]*!/, "", name)
            how = index(name, ".") ? "whole" : "alone"
            for (i = 1; i <= n; i++)
                if (of[i] == $2 && kind[i] != "new") print how, old[i] "/" is, new[i] "/" is, new[i] "/" shall
        }
        END { exit failed }' OFS='\t' "$1"
}

# The same of users: \Seen and subscriptions, quotas, and scripts are in directories of one letter whatever
# hashimapspool says, which is that of a hashed spool (dir_hash_c). So mbx-check-paths is asked about such spools.
users() {
    for host in OLD NEW; do
        case $host in OLD) file=$OLD_CONF ;; NEW) file=$NEW_CONF ;; esac
        for option in fulldirhash virtdomains defaultdomain; do
            value=$(conf $option "$file")
            test -z "$value" || printf '%s: %s\n' "$option" "$value"
        done >"$W/$host.hash"
        { echo 'hashimapspool: yes' && cut -f 1 "$W/partitions" | sed 's|.*|partition-&: /&|'; } >>"$W/$host.hash"
    done
    hashed users OLD "$W/old.list"
    # A quota is found by the name as it stands, on 3.6.1 too: carol^smith has another letter there than her files, and no
    # quota has a place by uniqueid.
    by_name=$W/old.list
    releases=
    if since "$TO" 3 6; then
        by_name=$W/by-name.list
        # Without its seal it does not tell them.
        releases="--from $TO --to $TO"
        sed '/^!mbx-/d; s/"mbtype": "\([a-km-z]*\)"/"mbtype": "\1l"/' "$W/old.list" >"$by_name"
    fi
    hashed quotas-here OLD "$by_name" $releases --spool-release 2.5.17
    hashed quotas-there NEW "$by_name" $releases --spool-release 2.5.17
    : >"$W/known"
    if since "$TO" 3 6; then dots=1; else dots=0; fi
    if since "$FROM" 3 6; then dotted=1; else dotted=0; fi
    awk -F '\t' -v copies="$W/copies" -v known="$W/known" -v dots=$dots -v dotted_only=$dotted "$field"'
        # /partition/[domain/D/example.com/]L/user/bob
        function take_apart(dir, part) {
            sub(/^\/[^\/]*\//, "", dir); part["domain"] = ""
            if (match(dir, /^domain\/.\/[^\/]*\//)) { part["domain"] = substr(dir, 8, RLENGTH - 7); dir = substr(dir, RLENGTH + 1) }
            part["letter"] = substr(dir, 1, 1) "/"
        }
        function under(kind, domain, between) {
            return domain == "" ? "/" : "/" (kind == "sieve" ? "domain/" : "") domain between
        }
        function say(how, kind, between, is, shall) {
            if (substr(was["domain"], 2) != substr(will["domain"], 2)) return
            root = was["domain"] == "" || kind == "sieve" ? kind : "domain"
            is = under(kind, was["domain"], between) was["letter"] is
            shall = under(kind, will["domain"], between) will["letter"] shall
            if (kind == "user" && root in new) print new[root] is >known
            if (root in old && is != shall) print how, old[root] is, new[root] is, new[root] shall
        }
        BEGIN {
            while ((getline line <copies) > 0) {
                split(line, column, "\t")
                if (column[4] == "-") { old[column[1]] = column[2]; new[column[1]] = column[3] }
            }
        }
        FNR == 1 { file++; next }
        { for (i = 1; i <= NF; i++) $i = field($i) }
        { name = $1; sub(/^[^!]*!/, "", name) }
        file == 1 { here[$1] = $3; next }
        file == 2 && $1 in here { take_apart(here[$1], was); take_apart($3, will); say("file", "quota", "quota/", name, name) }
        file == 3 && name ~ /^user\.[^.]*$/ {
            take_apart($3, was); take_apart($5 == "" ? $3 : $5, will)
            sub(/^user\./, "", name); dotted = name; gsub(/\^/, ".", dotted)
            # 3.6.1 has carol.smith.sub, and carol.smith for her scripts; of earlier releases nobody has asked, so both
            # names are looked for.
            for (n = dotted_only ? 2 : 1; n <= (dotted == name && !dotted_only ? 1 : 2); n++) {
                is = n == 1 ? name : dotted; shall = dots ? dotted : is
                say("files", "user", "user/", is, shall)
                say("whole", "sieve", "", is, shall)
            }
        }' OFS='\t' "$W/quotas-here.tsv" "$W/quotas-there.tsv" "$W/users.tsv"
}

# hashed REPORT HOST LIST OPTION...: where a spool hashed as this host hashes would have each mailbox
hashed() {
    report=$1
    host=$2
    list_of=$3
    shift 3
    mbx-check-paths -nq -C "$W/NEW.hash" --spool-conf "$W/$host.hash" "$@" --report "$W/$report.tsv" --reject /dev/null \
        "$list_of" >/dev/null 2>"$W/hashed.log" || test $? -eq 1 || { cat "$W/hashed.log" >&2; die 'see above'; }
}

# Files of users whom the list does not have: nobody tells where they shall be.
strangers() {
    while IFS=$tab read -r kind _ there _; do
        # By uniqueid they stay where they are.
        case $kind in user | domain)
            test ! -d "$there" || find "$there" -name uuid -prune -o -type f '(' -name '*.seen' -o -name '*.sub' ')' -print ;; esac
    done <"$W/copies" | awk -v known="$W/known" '
        BEGIN { while ((getline line <known) > 0) users[line] }
        { user = $0; sub(/\.[^.\/]*$/, "", user); if (!(user in users)) print }' >"$W/strangers"
    test ! -s "$W/strangers" ||
        say "$(wc -l <"$W/strangers") files of users without an INBOX in the list stay where they are, and the new server may look" \
            "elsewhere (all in $W/strangers)"
}

# plan.tsv or night.tsv: everything that must move, without what stays; two mailboxes that would meet are told.
moves() {
    places "$1" >"$2.new"
    users >>"$2.new"
    awk -F '\t' '
        $1 == "whole" || $1 == "alone" { is[$3] = 1; if ($3 != $4) shall[$4] = $3 }
        END { for (dir in shall) if (dir in is) { print shall[dir] " -> " dir; exit } }' "$2.new" >"$W/meet"
    test ! -s "$W/meet" ||
        die "$(cat "$W/meet"): another mailbox is there. Keep the old hashing in $NEW_CONF, or rename one of the two"
    within=$(awk -F '\t' '$1 == "whole" && index($4, $3 "/") == 1 { print $3 " -> " $4; exit }' "$2.new")
    test -z "$within" || die "$within: that cannot be moved into itself. Keep the old hashing in $NEW_CONF, or rename it"
    mv "$2.new" "$2"
    ! grep -q '^files' "$2" || strangers
    # Of a user who has files by both names, nobody knows which count.
    awk -F '\t' -v OFS='\t' '$1 == "files" { print $3, $4; if ($4 in is) print is[$4], $3; is[$4] = $3 }' "$2" |
        while IFS=$tab read -r one other; do
            for file in "$one".*; do
                case ${file#"$one".} in *.*) continue ;; esac
                twin=$other.${file#"$one".}
                test ! -e "$file" || test ! -e "$twin" || cmp -s "$file" "$twin" ||
                    die "$file and $twin: one user has both. Look which counts, and remove the other on the old host"
            done
        done
}
