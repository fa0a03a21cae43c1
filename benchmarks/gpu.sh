#!/bin/sh
# Both speed benchmarks on a machine with an NVIDIA GPU, in an environment of their own, in one command:
#
#     sh benchmarks/gpu.sh
#
# TensorFlow with its CUDA libraries and PyTorch come from the package index that your pip is set up with. The tables,
# which hold the share of the GPU's peak too, also go to runs/gpu_speed.md. PYTHON and VENV may name others than
# python3 and .venv-gpu. Exit code 2 without a GPU.
set -eu
cd "$(dirname "$0")/.."

if ! command -v nvidia-smi > /dev/null || ! nvidia-smi --list-gpus 2> /dev/null | grep -q GPU; then
    echo "gpu.sh: error: no GPU is visible: expected \`nvidia-smi --list-gpus\` to list one. Nothing was installed." >&2
    exit 2
fi
VENV=${VENV:-.venv-gpu}
if [ ! -e "$VENV/ready" ]; then
    "${PYTHON:-python3}" -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet --editable ".[peers]" "tensorflow[and-cuda]"
    "$VENV/bin/python" -m pip install --quiet torch
    touch "$VENV/ready"
fi
python=$VENV/bin/python
for library in \
    "tensorflow:import tensorflow as tf; assert tf.config.list_physical_devices('GPU')" \
    "torch:import torch; assert torch.cuda.is_available()"; do
    if ! TF_CPP_MIN_LOG_LEVEL=3 "$python" -c "${library#*:}" 2> /dev/null; then
        echo "gpu.sh: error: ${library%%:*} in $VENV sees no GPU. Do its CUDA libraries fit the driver?" >&2
        exit 2
    fi
done
mkdir -p runs
export TF_FORCE_GPU_ALLOW_GROWTH=true  # else TensorFlow takes all memory and leaves none for PyTorch
{ "$python" benchmarks/attack_speed.py && "$python" benchmarks/train_speed.py; } > runs/gpu_speed.md || failed=$?
cat runs/gpu_speed.md
exit "${failed:-0}"
