#!/usr/bin/env bash
# Checks xaibench on a machine with one NVIDIA GPU, in under eight minutes: whether CPU and GPU agree for every method and
# protocol, the main job, and how fast the paper's job is beside bare passes of the network.
#
#   bash tests/gpu/check.sh OUT [--dry] [--only STEP,...]
#
# OUT/report.json and OUT/report.txt say what was found; the status is 0 where the last line of the text says PASS.
# --dry runs the same code on a CPU with tiny inputs, where another chunk size stands for the GPU. Steps: machine, maps,
# scores, runs, main, speed, speed-tf32, speed-bfloat16. PYTHON names the interpreter (python3).
#
# Needs Python 3.11 and the packages of pyproject.toml with the extra bcos: torch, torchvision, timm, captum, grad-cam
# (ttach, opencv-python-headless, scikit-learn), bcos (einops), numpy, scipy, pandas, pyarrow, pillow, matplotlib, jinja2,
# pydantic (pydantic-core, annotated-types, typing-inspection), accelerate, safetensors, filelock, typer, rich. xaibench
# itself is taken from this checkout and need not be installed; nothing is fetched.
set -euo pipefail
if [ $# -lt 1 ] || [ "${1#-}" != "$1" ]; then
    echo "usage: bash tests/gpu/check.sh OUT [--dry] [--only STEP,...]" >&2
    exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
rm -rf "$out/work"
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" XAIBENCH_HOME="$out/work/home"
exec "${PYTHON:-python3}" "$root/tests/gpu/check.py" "$out" "$@"
