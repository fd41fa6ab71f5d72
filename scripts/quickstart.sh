#!/usr/bin/env bash
# Install fourcast and run its main job once, on a simulated planet: data, training, ensemble, scores, a page of it all.
# Needs Python 3.11 to 3.13 with venv and pip, two CPU cores and 4 GB of disk (10 GB with a CUDA build of torch). Run again, it does only what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash scripts/setup.sh report,trackers

echo "simulate a planet: a three-level quasi-geostrophic atmosphere, 1000 days every 6 h (SYNTHETIC data)"
.venv/bin/fourcast simulate experiment=quickstart
bash scripts/pipeline.sh quickstart
