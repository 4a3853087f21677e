#!/bin/sh
# Waits for the end of a test's process; when that was killed, takes away what it left: processes, volumes of
# glusterd, mounts, files.
#
# Standard input is a pipe that only the test's process holds: end of file means that it is gone, the word
# "done" that there is nothing left to do.
#
# Arguments: the variable in the environment of what the test has started, its directory, how the names of
# its volumes begin.
trap '' HUP INT QUIT TERM PIPE
cd /

read -r word
[ "$word" = done ] && exit 0

# One that is killed may have just started another.
for _ in 1 2 3 4 5 6 7 8 9 10; do
  marked=$(grep -lxzF -- "$1" /proc/[0-9]*/environ 2>/dev/null)
  [ -z "$marked" ] && break
  for path in $marked; do
    pid=${path#/proc/}
    kill -KILL "${pid%/environ}" 2>/dev/null
  done
  sleep 0.2
done

for brick in "$2"/*gluster-brick*; do
  [ -e "$brick" ] || break
  for volume in $(gluster volume list 2>/dev/null | grep "^$3"); do
    gluster --mode=script volume stop "$volume" force
    gluster --mode=script volume delete "$volume"
  done
  break
done

awk -v below="$2/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | tac | while IFS= read -r point; do
  umount -l -- "$(printf '%b' "$point")"
done
rm -rf --one-file-system -- "$2"
