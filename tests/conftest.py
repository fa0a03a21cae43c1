"""What several test files share: real samples where they are at hand, and small data and models where not."""

import os
import signal
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from chestrobust.data.splits import CHEST_LABELS, Split, Splits

# Whoever runs tests in the background has them ignore Ctrl-C, which some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)

SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def samples():
    """Folder of real sample data that lies beside a developer's checkout."""
    if not SAMPLES.is_dir():
        pytest.skip("real sample data are not beside this checkout (../shared/data)")
    return SAMPLES


def make_splits(counts=(24, 12, 12), size=8, task="multi-label", num_labels=3, seed=0):
    """Random images whose brightness in one corner tells each label, so that a model can learn something."""
    rng = np.random.default_rng(seed)

    def split(count):
        images = rng.integers(0, 100, (count, size, size, 1), dtype=np.uint8)
        # Every label is present and absent in every split, so that all scores are defined.
        classes = np.arange(count) % num_labels
        labels = np.eye(num_labels, dtype=np.uint8)[classes]
        if task != "multi-class":
            labels ^= rng.random(labels.shape) < 0.3
            labels[:2] = [[1] * num_labels, [0] * num_labels]
        for label in range(num_labels):
            images[labels[:, label] == 1, label * 2 : label * 2 + 2] += 100
        return Split(images, labels)

    names = CHEST_LABELS[:num_labels]
    return Splits("corners", task, names, *(split(count) for count in counts), sha256="0" * 64, synthetic=True)


@pytest.fixture
def splits():
    return make_splits()
