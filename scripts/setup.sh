#!/usr/bin/env bash
# Make .venv beside this folder and install fourcast into it with the extras named: setup.sh [extra,extra…].
# Does nothing where that was done before from the same pyproject.toml and constraints.txt. TORCH_INDEX names another
# place for torch: https://download.pytorch.org/whl/cpu spares a machine without a GPU several GB.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
extras="${1:-report,trackers}"
python="${PYTHON:-python3}"

if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'; then
    echo "fourcast needs Python 3.11 to 3.13; $python is $("$python" --version). Name another: PYTHON=python3.12 $0" >&2
    exit 2
fi

wanted="$(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum) $extras"
stamp="$root/.venv/.fourcast-$extras"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

echo "installing fourcast[$extras] into $root/.venv (once; a few minutes)" >&2
"$root/.venv/bin/python" -m pip --version >/dev/null 2>&1 || "$python" -m venv "$root/.venv"
pip=("$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt")
# Only torch itself comes from its index, which holds other versions of what torch needs than the tested ones.
[ -z "${TORCH_INDEX:-}" ] || "${pip[@]}" --no-deps --index-url "$TORCH_INDEX" torch
"${pip[@]}" -e "${root}[$extras]"
echo "$wanted" >"$stamp"
