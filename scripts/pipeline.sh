#!/usr/bin/env bash
# From analyses to a page of scores and maps with one experiment's presets: ingest, train, forecast, verify, report.
#   scripts/pipeline.sh gfs_wind source=FILE      further words go to ingest
# Run again, it does only what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -ge 1 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
experiment="$1"
shift
PATH="$PWD/.venv/bin:$PATH"
# Threads that wait do not spin: on a machine shared with others, spinning loses most of the time.
export OMP_WAIT_POLICY=PASSIVE
start=$SECONDS

step() { printf '\n[%s, %d s] %s\n' "$1" $((SECONDS - start)) "$2"; }

step 1/5 "ingest the analyses into a training store"
fourcast ingest "experiment=$experiment" "$@"
step 2/5 "train a small FourCastNet"
fourcast train "experiment=$experiment"
step 3/5 "forecast an ensemble to CF netCDF"
fourcast forecast "experiment=$experiment"
step 4/5 "verify it against the analyses, beside persistence and climatology"
fourcast verify "experiment=$experiment"
step 5/5 "make a page of it all"
fourcast report "runs/$experiment"

cat <<END

done in $((SECONDS - start)) s. Made:
  data/$experiment/store.zarr       the training store
  runs/$experiment/train            checkpoints, log.jsonl, TensorBoard log
  runs/$experiment/forecast         the ensemble: <init_time>/member_NNN.nc
  runs/$experiment/scores           scores.md, scores.csv, scores.nc and pictures
  runs/$experiment/report.html      all of it on one page with a map to look around in; open it in a browser
END
