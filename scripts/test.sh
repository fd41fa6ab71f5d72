#!/usr/bin/env bash
# Install fourcast with what its tests need and run them: linters, types, import layers, tests, two at a time. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh dev
bash scripts/lint.sh
.venv/bin/pytest -n 2 --dist worksteal "$@"
