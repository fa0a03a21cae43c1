"""What the speed benchmarks share: the machine in words, its peak, contestants timed in turn, and the model's work."""

import ctypes
import importlib.metadata
import importlib.util
import math
import os
import platform
import random
import statistics
import sys
import time
from pathlib import Path

from tqdm import tqdm

GEMM = 3072  # rows and columns of the matrices whose product is timed
DISTURBED = 0.05  # share of the processors that others may take


def machine():
    """One line: processor, cores, GPUs and versions."""
    import tensorflow as tf

    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next((line.partition(":")[2].strip() for line in info.splitlines() if "model name" in line), "")
    units = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {unit} " in info]
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    libraries = [library for library in ("tensorflow", "keras", "torch") if installed(library)]
    return "; ".join(
        [
            f"{len(os.sched_getaffinity(0))} cores of {name or platform.processor()} ({' '.join(units)})",
            ", ".join(gpus) or "no GPU",
            ", ".join(f"{library} {importlib.metadata.version(library)}" for library in libraries),
        ]
    )


def keep_memory():
    """Have the C library keep freed memory instead of handing it back, for all contestants alike.

    Else every large array is made of fresh pages that the system must clear first, which takes as long as the work.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_ARENA_MAX, 1)  # Those of other threads hand memory back whatever is asked of them.
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # as in malloc.h


def installed(module):
    """Whether a module of this name can be imported."""
    return importlib.util.find_spec(module) is not None


def peaks():
    """GFLOP/s of a product of two large matrices: `{(library, dtype): median}`."""
    return {
        (library, dtype): _gemm(library, dtype)
        for library in ("tensorflow", "torch")
        if installed(library)
        for dtype in ("float32", "bfloat16")
    }


def _gemm(library, dtype, repeats=7):
    if library == "torch":
        import pytorch

        factor = pytorch.random_matrix(GEMM, dtype)

        def product():
            (factor @ factor)[0, 0].item()  # Waits for a GPU.
    else:
        import tensorflow as tf

        factor = tf.cast(tf.random.normal((GEMM, GEMM)), dtype)

        def product():
            tf.linalg.matmul(factor, factor)[0, 0].numpy()

    product()
    return 2 * GEMM**3 / statistics.median(seconds(product) for _ in range(repeats)) / 1e9


def seconds(work):
    """How long a call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def rounds(contestants, count, *, title=""):
    """Run every contestant once per round, in random order, after one warm-up of each that isn't counted.

    Args:
        contestants: Dict of functions without arguments.
        count: Number of rounds.

    Returns:
        Dict of the seconds of each contestant, a list with an entry per round: those of a round belong together.
    """
    for work in tqdm(contestants.values(), f"{title} warm-up", leave=False, disable=None):
        work()
    begun, others = time.perf_counter(), _others()
    times = {name: [] for name in contestants}
    order, shuffle = list(contestants), random.Random(0).shuffle
    for _ in tqdm(range(count), title, leave=False, disable=None):
        shuffle(order)
        for name in order:
            times[name].append(seconds(contestants[name]))
    share = (_others() - others) / (time.perf_counter() - begun) / os.cpu_count()
    if share > DISTURBED:
        print(f"{title}: DISTURBED: other processes took {share:.0%} of the processors. Don't use the ratios.")
    return times


def _others():
    """Seconds of processor time that all other processes have taken since the start of the machine; 0 if unknown."""
    file = Path("/proc/stat")
    if not file.exists():
        return 0.0
    user, nice, system, _, _, interrupts, *rest = map(int, file.read_text().splitlines()[0].split()[1:])
    busy = user + nice + system + interrupts + rest[0]
    return busy / os.sysconf("SC_CLK_TCK") - sum(os.times()[:2])


def ratio(theirs, ours):
    """Text of the median, least and largest ratio of two lists of paired seconds."""
    ratios = sorted(their / our for their, our in zip(theirs, ours, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def forward_flops(layers):
    """Operations of an image's forward pass, counting two per multiplication in convolutions and dense layers."""
    return 2 * sum(
        math.prod(layer.output.shape[1:-1]) * math.prod(weight.shape)
        for layer in layers
        for weight in layer.trainable_weights
        if len(weight.shape) > 1 and not getattr(layer, "layers", None)
    )
