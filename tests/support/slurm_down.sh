#!/bin/bash
# slurm_down.sh DIR: ends what slurm_up.sh DIR started.
dir=$1
export SLURM_CONF=$dir/slurm.conf
timeout 5 scancel -u "$(id -un)" 2>/dev/null
sleep 0.2
[ -f "$dir/pids" ] && tac "$dir/pids" | while read -r pid; do kill "$pid" 2>/dev/null; done
for _ in $(seq 50); do # until they have written their state
  alive=0
  while read -r pid; do kill -0 "$pid" 2>/dev/null && alive=1; done < "$dir/pids"
  [ $alive = 0 ] && break
  sleep 0.1
done
[ -f "$dir/munge/munged.pid" ] && kill "$(cat "$dir/munge/munged.pid")" 2>/dev/null
exit 0
