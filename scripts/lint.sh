#!/usr/bin/env bash
# Read the source without running it: style, format, types, import layers, shell scripts, Dockerfiles.
# scripts/test.sh and pre-commit both run this; it needs what `bash scripts/setup.sh dev` installs, and no network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PATH="$PWD/.venv/bin:$PATH"

ruff check .
ruff format --check .
mypy
lint-imports
mapfile -t shell < <(grep -rlIE '^#! ?/.*sh$' scripts docker .ci)
shellcheck "${shell[@]}"
hadolint docker/*Dockerfile*
