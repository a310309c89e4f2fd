#!/bin/sh
# Runs the local cloud in the foreground until it is told to stop, for a container; its state is saved then.
#
#   scripts/run_local_cloud.sh KCL_APP
set -eu

kcl_app=$1
trap 'trap - TERM INT; "$kcl_app" local stop; exit 0' TERM INT
"$kcl_app" local start
while "$kcl_app" local status >/dev/null; do
    # In the background, so that a signal is heard at once.
    sleep 5 &
    wait $!
done
echo "run_local_cloud.sh: the local cloud has ended" >&2
exit 1
