#!/usr/bin/env bash
# Write the tested set anew after a change of pyproject.toml: constraints.txt, every package of every extra, and from it
# locks/, the same versions with the hashes of PyPI's files. Versions stay as constraints.txt has them where they can:
#   scripts/lock.sh --upgrade                     all to the newest that pyproject.toml allows
#   scripts/lock.sh --upgrade-package NAME==1.2   one
# One set serves Python 3.11 to 3.13 on every platform; where versions must differ, a marker says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check "uv>=0.9"

compile() {
    env -u UV_INDEX -u UV_FIND_LINKS "$scratch/venv/bin/uv" pip compile --quiet --no-config --universal \
        --python-version 3.11 --default-index https://pypi.org/simple --no-annotate --no-header "$@" >/dev/null
}

compile pyproject.toml --all-extras "$@" -o constraints.txt
compile pyproject.toml --extra cloud --extra dask --extra grib --extra report --extra trackers --generate-hashes \
    -c constraints.txt -o "$scratch/lock.txt"
mkdir -p locks
# What building wheels needs: fourcast's own, and of those packages that PyPI has as source only.
printf '%s\n' hatchling setuptools wheel >"$scratch/build.in"
compile "$scratch/build.in" --generate-hashes -c constraints.txt "$@" -o locks/build.txt
# What PyPI's torch brings for CUDA stands apart: another build of torch does without it.
awk '/^[a-z0-9]/ { file = /^(torch|nvidia-|cuda-)/ ? "locks/torch.txt" : "locks/run.txt" } { print > file }' "$scratch/lock.txt"
