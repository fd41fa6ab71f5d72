#!/usr/bin/env bash
# Build the image without a container engine and use it: buildah builds the Dockerfile as it is on a Debian 12 that
# mmdebstrap makes, with the CPU build of torch; a user without an entry in /etc/passwd then asks the doctor, trains,
# is stopped, goes on, and forecasts into a mounted folder. Prints a table of figures; needs root, a network and 8 GB of disk.
#   docker/prove.sh [--install] [FILE]    --install: apt-get what is missing; FILE: where the table goes too
# TORCH_INDEX and PIP_INDEX_URL name other places for torch and the rest, PIP_FIND_LINKS a folder of wheels, PIP_CERT a
# certificate to trust, BASE_IMAGE an archive of a root file system to build on, SCRATCH where the disk is.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$here")"
user=12345:23456
figures=()

say() { printf '\n[%d s] %s\n' "$SECONDS" "$*"; }
fail() { echo "prove.sh: $*" >&2; exit 1; }
figure() { figures+=("| $1 | $2 |"); }

# --- what it takes
install=""
if [ "${1:-}" = --install ]; then install=1; shift; fi
table="${1:-}"
[ "$(id -u)" = 0 ] || fail "needs root, for mmdebstrap and for buildah's chroot"
missing="$(for program in buildah mmdebstrap; do command -v "$program" >/dev/null || echo "$program"; done)"
if [ -n "$missing" ]; then
    [ -n "$install" ] || fail "missing: ${missing//$'\n'/, }; Debian's packages have these names, and --install takes them"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

# --- a store of images that goes away with the script
scratch="$(mktemp -d "${SCRATCH:-${TMPDIR:-/tmp}}/fourcast-image.XXXXXX")"
export TMPDIR="$scratch/tmp" BUILDAH_ISOLATION=chroot
mkdir -p "$TMPDIR" "$scratch/data" "$scratch/runs" "$scratch/conf/experiment/train"
storage=(--root "$scratch/storage" --runroot "$scratch/run" --storage-driver)
clean() {
    buildah "${storage[@]}" rm --all >/dev/null 2>&1 || true
    umount -R "$scratch/storage/overlay" 2>/dev/null || true
    rm -rf "$scratch"
}
trap clean EXIT
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$scratch/policy.json"

builder() { buildah "${storage[@]}" "$@"; }
trial() { trial="$(builder from scratch)" && builder mount "$trial" && builder umount "$trial" && builder rm "$trial"; }
storage+=(overlay)
if ! trial >/dev/null 2>&1; then
    echo "overlay does not work here; vfs copies every layer whole and takes 30 GB" >&2
    rm -rf "$scratch/storage" "$scratch/run"
    storage[-1]=vfs
fi

# --- base and image
archive="${BASE_IMAGE:-$scratch/base.tar}"
if [ ! -f "$archive" ]; then
    say "base: Debian 12 with apt and certificates"
    start=$SECONDS
    # With certificates, over which PIP_CERT is mounted: a file that is mounted cannot be installed.
    mmdebstrap --quiet --variant=minbase --include=ca-certificates --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' bookworm "$archive"
    figure "seconds to make the base" $((SECONDS - start))
fi
printf 'FROM scratch\nADD base.tar /\n' >"$scratch/Dockerfile.base"
mkdir "$scratch/base"
ln "$archive" "$scratch/base/base.tar" 2>/dev/null || cp "$archive" "$scratch/base/base.tar"
bud=(builder bud --quiet --format docker --pull-never --network host --signature-policy "$scratch/policy.json")
"${bud[@]}" --tag localhost/base -f "$scratch/Dockerfile.base" "$scratch/base" >/dev/null
rm -r "$scratch/base" "$scratch/base.tar" 2>/dev/null || true

options=(--build-arg BASE_IMAGE=localhost/base --build-arg TORCH=cpu
    --build-arg "VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")"
    --build-arg "REVISION=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)")
if [ -d "${PIP_FIND_LINKS:-}" ]; then
    options+=(-v "$PIP_FIND_LINKS:$PIP_FIND_LINKS:ro" --build-arg "PIP_FIND_LINKS=$PIP_FIND_LINKS")
    compgen -G "$PIP_FIND_LINKS/torch-*+cpu-*.whl" >/dev/null && TORCH_INDEX="${TORCH_INDEX:-https://pypi.org/simple}"
fi
if [ -n "${PIP_CERT:-}" ]; then options+=(-v "$PIP_CERT:$PIP_CERT:ro" --build-arg "PIP_CERT=$PIP_CERT"); fi
for name in TORCH_INDEX PIP_INDEX_URL; do
    if [ -n "${!name:-}" ]; then options+=(--build-arg "$name=${!name}"); fi
done
say "image: both stages of the Dockerfile"
start=$SECONDS
"${bud[@]}" "${options[@]}" --tag localhost/fourcast -f "$here/Dockerfile" "$root" >"$scratch/build.log" 2>&1 \
    || { tail -n 60 "$scratch/build.log" >&2; fail "the build failed; its last lines stand above"; }
figure "seconds to build the image" $((SECONDS - start))

of_image() { builder inspect --type image --format "$1" localhost/"${2:-fourcast}"; }
layers() { of_image '{{.Manifest}}' "$1" | grep -o '"size":[0-9]*' | tail -n +2 | cut -d: -f2; }
figure "base image" "$(layers base | awk '{ printf "%.0f MB", $1 / 1e6 }')"
figure "image" "$(layers fourcast | awk '{ sum += $1 } END { printf "%.0f MB", sum / 1e6 }')"
figure "layers, in MB" "$(layers fourcast | awk '{ printf "%s%.1f", separator, $1 / 1e6; separator = " + " }')"

# --- what lies in it
container="$(builder from --pull-never localhost/fourcast)"
rootfs="$(builder mount "$container")"
say "contents"
found="$( (cd "$rootfs" && find fourcast tmp home source wheels project opt/build root/.cache -mindepth 1 2>/dev/null || true) \
    | sort | xargs)"
[ "$found" = "fourcast/conf fourcast/data fourcast/runs" ] || fail "expected three empty folders, found $found"
packages="$(echo "$rootfs"/opt/fourcast/lib/python3*/site-packages)"
diff -rq -x __pycache__ -x conf "$root/fourcast" "$packages/fourcast" || fail "the image holds another fourcast"
diff -rq "$root/conf" "$packages/fourcast/conf" || fail "the image holds another conf"
found="$(find "$rootfs" -xdev \( -name .git -o -name '.env*' -o -name .netrc -o -name .pypirc -o -name .cdsapirc \
    -o -name 'id_rsa*' -o -name '*.nc' -o -name '*.zarr' -o -name '*.grib*' -o -name '*.safetensors' \) -not -path '*/site-packages/xarray/tests/*')"
[ -z "$found" ] || fail "the image holds what may be data or secrets: $found"
! of_image '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' | grep ^PIP_ || fail "the image keeps settings of its build"
figure "packages of Python" "$(wc -l <"$rootfs/opt/fourcast/packages.txt")"
builder umount "$container" >/dev/null

# --- what it does, for a user of whom it knows nothing
chown "$user" "$scratch/data" "$scratch/runs"
cat >"$scratch/conf/experiment/train/site.yaml" <<'END'
# @package _global_
defaults:
  - quickstart
steps: 6
END
mapfile -t entry < <(of_image '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}' | sed '/^$/d')
mapfile -t health < <(of_image '{{range .Docker.Config.Healthcheck.Test}}{{println .}}{{end}}' | sed '1d;/^$/d')
inside() {
    builder run --network host --user "$user" -v "$scratch/data:/fourcast/data" -v "$scratch/runs:/fourcast/runs" \
        -v "$scratch/conf:/fourcast/conf:ro" "$container" -- "$@"
}
fourcast() { inside "${entry[@]}" "$@"; }
timed() {
    local start=$SECONDS
    say "fourcast $1"
    fourcast "$@" || fail "fourcast $1: exit status $?"
    figure "seconds of \`fourcast $1\`" $((SECONDS - start))
}
say "health check: ${health[*]}"
inside "${health[@]}" || fail "the health check fails with $?"
timed doctor
timed simulate experiment=quickstart planet.days=12 planet.spinup_days=0
timed ingest experiment=quickstart statistics_end=2001-01-08
training=(data.train_end=2001-01-08 data.validation_start=2001-01-09 data.validation_end=2001-01-10
    model.embed_dim=16 model.depth=1 batch_size=8 validate_every=1000 validation_samples=4 trackers=null)
# The preset site stands in the mounted folder only, and builds on one that stands in the image only.
timed train experiment=site "${training[@]}"
grep -q '"step": 6' "$scratch/runs/quickstart/train/log.jsonl" || fail "the mounted configuration was not heeded"
timed forecast experiment=quickstart init_start=2001-01-10T12 init_end=2001-01-10T12 lead_hours=24 ensemble.size=4
timed verify experiment=quickstart plots=false

say "four members, their owner, and their header read by another process"
members=("$scratch"/runs/quickstart/forecast/2001-01-10T12/member_00[0-3].nc)
[ "$(stat -c %u:%g "${members[@]}" | sort | uniq -c | xargs)" = "4 $user" ] || fail "expected four files of $user"
fourcast inspect runs/quickstart/forecast >/dev/null || fail "the forecast cannot be inspected"

say "torch.compile and its C++ compiler"
inside python3 -c 'import torch
x = torch.linspace(0, 1, 9)
torch.testing.assert_close(torch.compile(lambda x: x.sin() + 1)(x), x.sin() + 1)' || fail "torch.compile fails"

say "SIGTERM to the first process of a training"
fourcast train experiment=site output=runs/stopped steps=1000000 log_every=1 "${training[@]}" >"$scratch/stopped.log" 2>&1 &
training_pid=$!
below() {
    local child children
    children="$(cat "/proc/$1/task/"*/children)"
    for child in $children; do
        echo "$child"
        below "$child"
    done
}
for _ in $(seq 120); do
    if [ -s "$scratch/runs/stopped/log.jsonl" ]; then break; fi
    sleep 1
done
for process in $(below "$training_pid"); do
    if [ "$(cat "/proc/$process/comm")" = tini ]; then kill -TERM "$process"; fi
done
status=0
wait "$training_pid" || status=$?
[ "$status" = 75 ] || { cat "$scratch/stopped.log" >&2; fail "a stopped training exits with 75, and not $status"; }
[ -n "$(find "$scratch/runs/stopped" -name 'step_*')" ] || fail "the stopped training left no checkpoint"
figure "exit status after SIGTERM" "$status, with a checkpoint"

figure "disk at the end" "$(du -smx "$scratch" | cut -f1) MB"
figure "seconds in all" "$SECONDS"
table() { printf '\n| what | figure |\n|---|---|\n'; printf '%s\n' "${figures[@]}"; }
if [ -n "$table" ]; then table | tail -n +2 >"$table"; fi
table
