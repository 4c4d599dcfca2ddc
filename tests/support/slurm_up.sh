#!/bin/bash
# slurm_up.sh DIR [NODES=1] [CPUS_PER_NODE]: a private Slurm on this host's loopback, for tests. Afterwards use it with
# SLURM_CONF=DIR/slurm.conf; slurm_down.sh DIR ends it. Ports from SLURM_TEST_PORT (16917) on.
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
nodes=${2:-1}
cpus=${3:-$(nproc)}
host=$(hostname -s)
port=${SLURM_TEST_PORT:-16917}
mkdir -p "$dir"/{munge,state,log}
for i in $(seq "$nodes"); do mkdir -p "$dir/spool-n$i" "$dir/tmp-n$i"; done
[ -s "$dir/munge/key" ] || (umask 077; dd if=/dev/urandom of="$dir/munge/key" bs=1024 count=1 status=none)
echo "CgroupPlugin=cgroup/v1" > "$dir/cgroup.conf" # not used, but it must not be looked for
{
  cat <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
SlurmctldPort=$port
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
TmpFS=$dir/tmp-%n
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
MailProg=/bin/true
SwitchType=switch/none
MpiDefault=pmix
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2,batch_sched_delay=0,sched_min_interval=0
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ReturnToService=2
KillWait=5
SlurmctldTimeout=30
SlurmdTimeout=30
CONF
  [ "$cpus" = "$(nproc)" ] || echo "SlurmdParameters=config_overrides"
  for i in $(seq "$nodes"); do
    echo "NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=$cpus RealMemory=1000 State=UNKNOWN"
  done
  echo "PartitionName=debug Nodes=$(seq -f n%.0f -s, "$nodes") Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4"
} > "$dir/slurm.conf"
export SLURM_CONF=$dir/slurm.conf
munged --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/munged.pid" \
       --log-file="$dir/munge/munged.log" --seed-file="$dir/munge/seed"
slurmctld -c -D > "$dir/log/slurmctld.out" 2>&1 &
echo $! > "$dir/pids"
for _ in $(seq 100); do scontrol ping 2>/dev/null | grep -q UP && break; sleep 0.05; done
for i in $(seq "$nodes"); do
  slurmd -c -D -N "n$i" > "$dir/log/slurmd-n$i.out" 2>&1 &
  echo $! >> "$dir/pids"
done
for _ in $(seq 400); do
  [ "$(sinfo -h -N -o %T 2>/dev/null | grep -c idle)" = "$nodes" ] && exit 0
  sleep 0.05
done
echo "the private Slurm did not become idle" >&2
sinfo >&2 || true
tail "$dir"/log/*.out >&2
exit 1
