#!/bin/sh
# A backup of the mailbox list, for cron: keeps yesterday's good list and refuses one that shrank.
#   backup.sh DIRECTORY [LOST]
# DIRECTORY gets mailboxes.DATE of each good day; LOST names of the last good one may be gone, a number or a share (1%).
# CTL_MBOXLIST is where that stands, IMAPD_CONF another imapd.conf than /etc/imapd.conf, KEEP_DAYS is 30.
# Run it as the Cyrus user: ctl_mboxlist of 2.2 and 2.3 refuses root. Where it is no good status, the old lists stay, and
# cron mails what was wrong. If so many mailboxes are meant to be gone: once by hand, with another LOST.
set -eu
# cron has a short one.
PATH=$PATH:/usr/local/bin
umask 077

test $# -gt 0 || { echo 'usage: backup.sh DIRECTORY [LOST]' >&2; exit 2; }
dir=$1
lost=${2:-1%}
ctl_mboxlist=${CTL_MBOXLIST:-/usr/lib/cyrus/bin/ctl_mboxlist}
keep=${KEEP_DAYS:-30}

test -d "$dir" || { echo "backup.sh: $dir: make it, and give it to the user who runs this" >&2; exit 2; }
last=
for each in "$dir"/mailboxes.[0-9]*; do
    test ! -f "$each" || last=$each
done

new=$dir/mailboxes.new
if mbx-parse -q --seal -- "$ctl_mboxlist" ${IMAPD_CONF:+-C "$IMAPD_CONF"} -d |
    mbx-count-guard -q --sealed ${last:+--baseline "$last" --max-lost "$lost"} >"$new"; then
    sync "$new"
    mv "$new" "$dir/mailboxes.$(date +%Y-%m-%d)"
    # Only behind a good one, so that the last good one never goes.
    find "$dir/." ! -name . -prune -name 'mailboxes.[0-9]*' -mtime "+$keep" -exec rm -f {} +
else
    rm -f "$new"
    echo "backup.sh: no backup was made today, see above; the last good one is ${last:-none}. If mailboxes are" \
        "lost that are meant to be: once by hand, backup.sh $dir 50%" >&2
    exit 1
fi
