#!/bin/sh
# Baseline and robust models on ChestMNIST at 28, 128 and 224 px, on a machine with an NVIDIA GPU, in one command:
#
#     sh benchmarks/chestmnist.sh --data-dir ~/.medmnist
#
# The files chestmnist.npz, chestmnist_128.npz and chestmnist_224.npz must lie in that folder. Estimates the time first;
# interrupted, the same command goes on. Options are those of chestmnist.py, which says what is trained and how the radius
# is chosen. PYTHON and VENV may name others than python3 and .venv-gpu. Exit code 2 without a GPU.
#
# With REHEARSAL=1 the same path is taken on any machine, on its processor, such as for small files of that format:
#
#     REHEARSAL=1 sh benchmarks/chestmnist.sh --data-dir FOLDER --sizes 28 --radii 4/255 --options "--epochs 1"
set -eu
cd "$(dirname "$0")/.."

if [ "${REHEARSAL:-0}" = 1 ]; then
    VENV=${VENV:-.venv-rehearsal}
    TENSORFLOW=tensorflow
elif command -v nvidia-smi > /dev/null && nvidia-smi --list-gpus 2> /dev/null | grep -q GPU; then
    VENV=${VENV:-.venv-gpu}
    TENSORFLOW="tensorflow[and-cuda]"
else
    echo "chestmnist.sh: error: no GPU is visible: expected \`nvidia-smi --list-gpus\` to list one. Nothing was done." >&2
    exit 2
fi
if [ ! -e "$VENV/ready-chestmnist" ]; then
    "${PYTHON:-python3}" -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet --editable . "$TENSORFLOW"
    touch "$VENV/ready-chestmnist"
fi
exec "$VENV/bin/python" benchmarks/chestmnist.py "$@"
