#!/usr/bin/perl
# The script of 2006, with all six steps in one process: split the entry, rename the partition and put the mbtype before
# it, skip mailboxes without cyrus.header, make the directories of the metapartition, change the rights, count.
#   2006.pl SPOOL META MINIMUM <list >list
use strict;
use warnings;

my ($spool, $meta, $minimum) = @ARGV;
my %renamed = ('0' => '4', 'default' => '3');
my $count = 0;
while (my $line = <STDIN>) {
    chomp $line;
    my ($mailbox, $partition, $acl) = split /\t/, $line, 3;
    $partition =~ s/^\s+|\s+$//g;
    $partition = $renamed{$partition} if exists $renamed{$partition};
    (my $dir = $mailbox) =~ tr#.^#/.#;
    unless (-e "$spool/$partition/$dir/cyrus.header") {
        warn "$mailbox: no cyrus.header\n";
        next;
    }
    my $made = "$meta/$partition";
    for my $level (split m#/#, $dir) {
        $made .= "/$level";
        mkdir $made, 0700;
    }
    $acl =~ s/lrswipcda/lrswipkxtea/g;
    print "$mailbox\t0 $partition\t$acl\n";
    $count++;
}
die "only $count mailboxes\n" if $count < $minimum;
