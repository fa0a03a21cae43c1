"""The one-off set of adversarial images: made once, joined to the clean ones, and never made again.

It is here to be compared with training on the fly. FGSM images are kept as the sign of each pixel's change, in a file
of the run's folder, with its checksum in another: whole gray values would round the change, and floats would take four
times the room.
"""

import dataclasses
import json

import numpy as np
from tqdm import tqdm

from chestrobust import devices, files
from chestrobust.attacks import gradient
from chestrobust.data.lazy import Lazy
from chestrobust.data.splits import Split, as_floats
from chestrobust.errors import RunError
from chestrobust.runs import provenance

WARNING = (
    "Warning: --method static makes its adversarial images once, on the weights it starts from. The model learns these "
    "images and not the attack: against attacks on its own weights expect a score near the baseline's "
    "(Goodfellow et al., 2015, renew them all the time for that reason, https://arxiv.org/abs/1412.6572). "
    "Use --method online for a robust model."
)
FILE, CHECKSUM = "adversarial.npy", "adversarial.json"


def with_twins(images, signs, epsilon):
    """Clean images followed by their adversarial twins, a `Lazy` float32 array in which white is 1.

    Args:
        images: uint8 images, `(count, height, width, channels)`.
        signs: int8 of the same shape: -1, 0 or 1 for each pixel.
        epsilon: Length of the step, in pixel units of [0, 1].
    """
    count, epsilon = len(images), np.float32(epsilon)

    def take(indices):
        rows = indices % count
        steps = np.where((indices >= count)[:, None, None, None], signs[rows], 0)
        return np.clip(as_floats(images[rows]) + epsilon * steps, 0, 1)

    return Lazy((2 * count, *images.shape[1:]), np.float32, take, white=1)


def _is_whole(run):
    """Whether the set is there as it was made; if it has been damaged or altered since, it is made again."""
    try:
        recorded = run.read(CHECKSUM, "sha256")["sha256"]
    except RunError:
        return False
    return files.is_own(run.path / FILE) and provenance.sha256(run.path / FILE) == recorded


def joined(splits, model, run, *, epsilon, loss, precision):
    """The splits with FGSM images of a model beside the clean ones in the training split.

    Args:
        splits: The `Splits`.
        model: Callable returning logits: the one that training starts from.
        run: The `Run` in whose folder the signs are kept until it is finished.
        epsilon: Length of the step, in pixel units of [0, 1].
        loss: Function from `losses` that the step climbs.
        precision: Arithmetic of the gradients, as in `attacks.fgsm`.
    """
    train, path = splits.train, run.path / FILE
    if devices.chief() and not _is_whole(run):
        with files.writing(path) as temporary:
            signs = np.lib.format.open_memmap(temporary, "w+", np.int8, train.images.shape)
            size = 256
            for begin in tqdm(range(0, len(train), size), "Making the adversarial set", leave=False, disable=None):
                rows = np.arange(begin, min(begin + size, len(train)))
                clean = as_floats(train.images[rows])
                attacked = gradient.fgsm(
                    *(model, clean, train.labels[rows].astype(np.float32)),
                    epsilon=epsilon,
                    loss=loss,
                    batch_size=64,
                    precision=precision,
                )
                signs[rows] = np.sign(attacked - clean)
            signs.flush()
        run.write(CHECKSUM, json.dumps({"sha256": provenance.sha256(path)}) + "\n")
    devices.wait()
    images = with_twins(train.images, np.load(path, mmap_mode="r"), epsilon)
    patients = None if train.patients is None else np.tile(train.patients, 2)
    return dataclasses.replace(splits, train=Split(images, np.tile(train.labels, (2, 1)), patients))
