#!/bin/bash
# slurm_test.sh SOURCE_DIR TRAIN_WORKER: configs/slurm/train.sbatch on a private Slurm: signalled in the middle of a run,
# it checkpoints, requeues itself, and the second start finishes to the same bits as a run that was left alone.
set -euo pipefail
source_dir=$1
worker=$2
for tool in slurmctld slurmd munged sbatch srun scontrol; do
  PATH=$PATH:/usr/sbin command -v $tool > /dev/null || { echo "skipped: needs Slurm ($tool is not installed)"; exit 77; }
done
export PATH=$PATH:/usr/sbin

dir=$(mktemp -d)
chmod 755 "$dir" # munged wants its socket to be reachable
trap '"$source_dir/tests/support/slurm_down.sh" "$dir/slurm"; rm -rf "$dir"' EXIT
trap 'echo "failed in line $LINENO; the jobs said:" >&2; cat "$dir"/*.log >&2' ERR
"$source_dir/tests/support/slurm_up.sh" "$dir/slurm" 1 2
export SLURM_CONF=$dir/slurm/slurm.conf
[[ $(srun --mpi=list 2>&1) == *pmix* ]] || { echo "skipped: needs Slurm's pmix plugin"; exit 77; }

# Waits at most $1 s until the command in the other arguments succeeds.
wait_until() {
  local limit=$1
  shift
  for _ in $(seq $((limit * 10))); do "$@" && return 0 || sleep 0.1; done
  echo "waited $limit s in vain for: $*" >&2
  cat "$dir"/*.log >&2 || true
  return 1
}
state() { scontrol show job "$1" | tr ' ' '\n' | sed -n 's/^JobState=//p'; }
in_state() { [ "$(state "$1")" = "$2" ]; }
submit() { sbatch --parsable --ntasks=2 --cpus-per-task=1 --time=00:10:00 --output="$dir/%j.log" "$@"; }
words=(budget.steps=40 batch_rows=4 schedule.lr=3e-3)

alone=$(submit "$source_dir/configs/slurm/train.sbatch" "$worker" "$dir/alone" "${words[@]}")
wait_until 60 in_state "$alone" COMPLETED

job=$(submit "$source_dir/configs/slurm/train.sbatch" "$worker" "$dir/stopped" slow_ms=100 "${words[@]}")
wait_until 60 grep -qs '"step":5,' "$dir/stopped/metrics.jsonl"
scancel --signal=USR1 "$job" # what --signal=USR1@120 does before the limit
wait_until 60 in_state "$job" PENDING
ls -d "$dir"/stopped/step-* > /dev/null
# A requeued job waits for two minutes. Before it is told that it need not, its first start must have gone from the node
# altogether: Slurm's pmix plugin names its socket by job and step, so the second start would trip over the first one's.
has_left() { [ "$(sinfo -h -N -o %T)" = idle ] && [ ! -e "$dir/slurm/spool-n1/stepd.slurm.pmix.$job.0" ]; }
wait_until 60 has_left
# Told more than once: the controller may set the two minutes after the node has become idle.
has_restarted() { grep -q "start 2," "$dir/$job.log" || { scontrol update jobid="$job" StartTime=now; false; }; }
wait_until 60 has_restarted
wait_until 60 in_state "$job" COMPLETED
grep -q "interrupted, resumable" "$dir/$job.log"
cmp "$dir/alone/model.safetensors" "$dir/stopped/model.safetensors"
echo "job $job was signalled, requeued itself and ended with the same bits"

# Another failure is not requeued.
bad=$(submit "$source_dir/configs/slurm/train.sbatch" "$worker" "$dir/bad" no_such_key=1)
wait_until 60 in_state "$bad" FAILED
echo "a bad config ends the job: $(scontrol show job "$bad" | tr ' ' '\n' | grep ExitCode)"
