#!/bin/sh
# An event listener of supervisor without Python: writes into its log what happened to which process.
while printf 'READY\n' && read -r header; do
    event=${header#*eventname:}
    said=$(dd bs=1 count="${header##*len:}" 2>/dev/null)
    echo "${event%% *} $said" >&2
    printf 'RESULT 2\nOK'
done
