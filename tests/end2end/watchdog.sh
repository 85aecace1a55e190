#!/bin/sh
# A rank that hangs takes the whole job down with 75, and faults/ says where.  watchdog.sh MIEN MPIRUN PROGRAMS
. "$(dirname "$0")/common.sh"
job 2 simmim hang train.steps=1000000 deadline.step=5 &
for _ in $(seq 6000); do
  [ "$(grep -c '"event":"step"' "$(metrics hang)" 2>/dev/null)" -gt 2 ] 2>/dev/null && break
  sleep 0.02
done
first=$(cut -d' ' -f2 "$(run_folder hang)/attempt-000001")
[ -d "/proc/${first:-none}" ] || { wrong "no step within 2 minutes, or the job has ended"; wait $!; done_with; }
parent=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$first/status")
ranks=$(cat "/proc/$parent/task/$parent/children")
for rank in $ranks; do [ "$rank" = "$first" ] || last=$rank; done
kill -STOP "$last"
wait $!
code=$?
[ $code = 75 ] || wrong "ended with $code, expected 75"
for _ in $(seq 600); do
  left=
  for rank in $ranks; do [ ! -d "/proc/$rank" ] || grep -q '^State:.Z' "/proc/$rank/status" || left="$left $rank"; done
  [ -z "$left" ] && break
  sleep 0.05
done
[ -z "$left" ] || { wrong "still there:$left"; kill -9 $left; }
report="$(run_folder hang)/faults/rank-0.json"
grep -q '"phase": "step"' "$report" || wrong "the report does not name the phase"
# Both ranks may have been equally far when one was stopped: then none is named, but never the one that waited.
! grep '"suspect_rank"' "$report" | grep -qv ': 1,' || wrong "the report suspects the wrong rank"
grep -q '"event":"fault"' "$(metrics hang)" || wrong "no fault in metrics.jsonl"

# The same command goes on where checkpoints end; here there are none, so it starts.
ends 0 job 2 simmim hang train.steps=3
done_with
