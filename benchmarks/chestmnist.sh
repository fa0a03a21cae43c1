#!/bin/sh
# Baseline and robust models on ChestMNIST at 28, 128 and 224 px, on a machine with an NVIDIA GPU, in one command:
#
#     sh benchmarks/chestmnist.sh --data-dir ~/.medmnist
#
# The files chestmnist.npz, chestmnist_128.npz and chestmnist_224.npz must lie in that folder. Estimates the time first;
# interrupted, the same command goes on. Options are those of chestmnist.py, which says what is trained and how the radius
# is chosen. PYTHON and VENV may name others than python3 and .venv-gpu. Exit code 2 without a GPU.
set -eu
cd "$(dirname "$0")/.."

if ! command -v nvidia-smi > /dev/null || ! nvidia-smi --list-gpus 2> /dev/null | grep -q GPU; then
    echo "chestmnist.sh: error: no GPU is visible: expected \`nvidia-smi --list-gpus\` to list one. Nothing was done." >&2
    exit 2
fi
VENV=${VENV:-.venv-gpu}
if [ ! -e "$VENV/ready-chestmnist" ]; then
    "${PYTHON:-python3}" -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet --editable . "tensorflow[and-cuda]"
    touch "$VENV/ready-chestmnist"
fi
exec "$VENV/bin/python" benchmarks/chestmnist.py "$@"
