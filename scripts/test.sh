#!/usr/bin/env bash
# Install fourcast with what its tests need and run them: linters, types, import layers, tests, two at a time. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh dev
PATH="$PWD/.venv/bin:$PATH"

ruff check .
mypy
lint-imports
hadolint docker/Dockerfile
pytest -n 2 "$@"
