# What the migration is. Copy this directory, edit this file, then: make plan.

# --- The old server ---
# Its Cyrus release, whole: 2.2.13, not 2.2.
FROM = 2.2.13
# Where ssh and rsync find it. Empty: its disks are mounted here; if its cyrus has another number there than this host's,
# RSYNC wants --chown=cyrus:mail, or whatever the two are here.
OLD = cyrus@old.example.com
# A copy of its imapd.conf.
OLD_CONF = old.conf
# Prints its list. From a file: cat old.dump. Of a Cyrus on this host: $(AS_CYRUS) /usr/cyrus/bin/ctl_mboxlist -d
# ctl_mboxlist of 2.2 and 2.3 refuses root.
DUMP = ssh $(OLD) /usr/cyrus/bin/ctl_mboxlist -d
# no: the spool comes here by other means, and nobody can ask whether all of it has come.
COPY = yes
RSYNC = rsync -aH --delete --exclude=/lost+found

# --- The new server, on this host ---
TO = 3.6.1
NEW_CONF = /etc/imapd.conf
CYRUS_CONF = /etc/cyrus.conf
CYRUS_BIN = /usr/lib/cyrus/bin
CYRUS_USER = cyrus
MASTER_PID = /run/cyrus-master.pid

# --- What changes ---
# Partitions, OLD=NEW; those not named keep their names.
MAP =
# Left out, see mbx-parse(1): tombstone,intermediate,remote,deletedprefix,reserve
DROP =
# Options of mbx-acl-rewrite(1), such as --deleteright d or --grant cyrus=lrswipkxtea; rights are made those of RFC 4314
# in any case. no: they stay as they are, and identifiers, too.
ACL =

# --- When to stop ---
# At least so many mailboxes must come through: those of the old server, less those that are left out.
MIN = 32000
# So many names of the last good rehearsal may be gone (a number, or 1%). If more are meant to be: rm
# work/rehearsed.list, and make rehearse.
MAX_LOST = 1%
# So many mailboxes may have no cyrus.header (a number, or 1%).
MAX_MISSING = 0
# So many mailboxes may be left behind because the new server cannot hold them; each is named.
MAX_REFUSED = 0
