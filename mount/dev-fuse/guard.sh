#!/bin/sh
# Waits for the mount process to end, then takes its mount away if it left one behind.
#
# A FUSE mount whose process was killed answers "transport endpoint is not connected" until somebody unmounts
# it. Standard input is a pipe that only the mount process holds: end of file means that it is gone, the word
# "unmounted" that there is nothing left to do. The mount is ours when its id, device, path and type all
# match, and nothing lies over it.
#
# Arguments: mount id, major:minor, mount point as mountinfo spells it, mount point, umount | fusermount3.
trap '' HUP INT QUIT TERM PIPE
cd /

read -r word
[ "$word" = unmounted ] && exit 0

top=
while read -r id parent device root point rest; do
  [ "$point" = "$3" ] && top="$id $device"
done </proc/self/mountinfo
[ "$top" = "$1 $2" ] || exit 0
grep -q "^$1 .* - fuse\.mortar " /proc/self/mountinfo || exit 0

if [ "$5" = umount ]; then
  exec umount -i -l -- "$4"
else
  exec fusermount3 -u -z -q -- "$4"
fi
