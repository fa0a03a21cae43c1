"""Made-up frontal chest radiographs in ChestMNIST's format, drawn from formulas and a seed.

Phantoms, not patients: they let every script run without a download and say nothing about any
diagnosis. Coordinates are the patient's: x runs from -1 (image left, the patient's right) to 1,
y from -1 (top) to 1 (bottom), whatever the size in pixels. Brightness is in [0, 1], bone white.
"""

import hashlib
import json

import numpy as np

from chestrobust.config import SIZE
from chestrobust.data.sources.phantom_anatomy import Draws, heart, lungs, markings, pose, skeleton, texture, trunk
from chestrobust.data.sources.phantom_findings import SIGNS
from chestrobust.data.splits import CHEST_LABELS as FINDINGS
from chestrobust.data.splits import Split, Splits, selection

COUNTS = {"train": 4200, "val": 600, "test": 1200}
VERSION = 1  # of the pictures: part of the data's identity, to be raised with every change that alters one
# Positives among ChestMNIST's 22,433 test images, softened, so that a few hundred images hold several of every finding.
POSITIVES = np.array([2420, 582, 2754, 3938, 1133, 1335, 242, 1089, 957, 413, 509, 362, 734, 42])
FREQUENCIES = 0.3 * np.sqrt(POSITIVES / 22_433)
SICK = 0.6  # only these patients have findings, so that about half of the images have none
COMPANIONS = (("edema", "effusion"), ("edema", "cardiomegaly"), ("pneumonia", "infiltration"))
COMPANION_FREQUENCY = 0.3  # how often the first of a pair brings the second along

LABEL_STREAM, IMAGE_STREAM = 1, 2  # keep the random numbers of labels and images apart
CHUNK_PIXELS = 2**18  # drawn at once: about 1 MB per layer, some 50 MB in all
BLOCKS, DRAWS = 2 + len(FINDINGS), 64  # random numbers for the anatomy, the texture and each finding


def load(*, size=SIZE, limit=None, limits=None, seed=0, counts=COUNTS, progress=None):
    """The phantom as a data set; only the images that are kept are drawn.

    Args:
        size: Height and width in pixels.
        limit: Largest number of images per split.
        limits: Of these, of a split by its name, or None.
        seed: Which set of patients; it is no option of the scripts, so that all their runs share their images.
        counts: Images of each split.
        progress: See `render`.

    Returns:
        The `Splits`.
    """
    identity = json.dumps({"phantom": VERSION, "size": size, "seed": seed, "counts": counts}, sort_keys=True)
    findings = labels(sum(counts.values()), seed=seed)
    parts, first = {}, 0
    for part, count in counts.items():
        indices = np.arange(first, first + count)[selection(count, limit)]
        indices = indices[selection(len(indices), (limits or {}).get(part))]
        first += count
        images = render(indices, findings[indices], size=size, seed=seed, progress=progress)
        parts[part] = Split(images, findings[indices])
    sha256 = hashlib.sha256(identity.encode()).hexdigest()
    return Splits("phantom", "multi-label", FINDINGS, **parts, sha256=sha256, synthetic=True)


def labels(count, *, seed=0):
    """Draw the findings of made-up patients.

    Args:
        count: Number of patients; the labels of patient i do not depend on it.
        seed: Non-negative integer.

    Returns:
        Labels in {0, 1}, uint8, `(count, 14)`, in ChestMNIST's order (`FINDINGS`).
    """
    columns = 1 + len(FINDINGS) + len(COMPANIONS)
    uniform = np.random.default_rng((LABEL_STREAM, seed)).random((count, columns))
    sick, own, company = np.split(uniform, [1, 1 + len(FINDINGS)], axis=1)
    present = (sick < SICK) & (own < FREQUENCIES / SICK)
    for (first, second), chance in zip(COMPANIONS, company.T, strict=True):
        present[:, FINDINGS.index(second)] |= present[:, FINDINGS.index(first)] & (chance < COMPANION_FREQUENCY)
    return present.astype(np.uint8)


def render(indices, labels, *, size, seed=0, progress=None):
    """Draw made-up frontal chest radiographs with the findings that the labels name.

    An image depends on its index, its labels, the size and the seed alone. The same index at
    another size, or with other labels, is the same patient.

    Args:
        indices: Patients to draw, non-negative integers, `(n,)`.
        labels: Their labels in {0, 1}, `(n, 14)`.
        size: Height and width in pixels.
        seed: Non-negative integer.
        progress: Callable that wraps the iterable of chunks, such as `tqdm`.

    Returns:
        Images in [0, 255], uint8, `(n, size, size, 1)`.

    Raises:
        ValueError: If `labels` does not have one row per index and one column per finding.
    """
    indices, labels = np.asarray(indices), np.asarray(labels)
    if labels.shape != (len(indices), len(FINDINGS)):
        raise ValueError(
            f"`labels` must have shape {(len(indices), len(FINDINGS))}. Received: labels.shape={labels.shape}"
        )
    images = np.empty((len(indices), size, size, 1), np.uint8)
    length = max(1, CHUNK_PIXELS // size**2)
    chunks = [slice(start, start + length) for start in range(0, len(indices), length)]
    for chunk in progress(chunks) if progress else chunks:
        generators = [np.random.default_rng((IMAGE_STREAM, seed, int(index))) for index in indices[chunk]]
        uniform = np.stack([g.random((BLOCKS, DRAWS), dtype=np.float32) for g in generators])
        grain = np.stack([g.standard_normal((size, size), dtype=np.float32) for g in generators])
        images[chunk, ..., 0] = radiograph(uniform, labels[chunk], grain)
    return images


def radiograph(uniform, labels, grain):
    """Images in [0, 255], uint8, `(n, size, size)`, from random numbers, labels and pixel noise."""
    anatomy, waves, *rest = (Draws(uniform[:, block]) for block in range(BLOCKS))
    draws = dict(zip(FINDINGS, rest, strict=True))
    present = dict(zip(FINDINGS, labels.T.astype(np.float32)[..., None, None], strict=True))
    severity = {name: draws[name](0.5, 1) * present[name] for name in FINDINGS}
    side = {name: draws[name].side() for name in FINDINGS}

    scene = pose(anatomy, size=grain.shape[-1])
    scene.texture = texture(waves, 2, 6, size=grain.shape[-1])
    lungs(scene, anatomy, severity, side["atelectasis"])
    heart(scene, anatomy, severity)
    scene.markings = markings(scene, anatomy, severity)
    image = trunk(scene, anatomy) + skeleton(scene, anatomy) - scene.air + scene.markings
    for name, sign in SIGNS.items():
        rows = np.flatnonzero(present[name])
        if len(rows):
            image[rows] += sign(scene.take(rows), severity[name][rows], side[name][rows], draws[name].take(rows))
    return expose(scene, image, anatomy, grain)


def expose(scene, image, draws, grain):
    """Take the picture: vignetting, tone curve, contrast and noise, as uint8."""
    image *= 1 - draws(0, 0.12) * (np.square(scene.x) + np.square(scene.y))
    image = np.clip(image, 0, 1)
    # The shape of a gamma curve without its slow power.
    bend = draws(-0.25, 0.5)
    image = image * (1 + bend) / (1 + bend * image)
    image = draws(0, 0.06) + image * draws(0.82, 1.08)
    # Coarser pixels average the noise of finer ones; bright is where few photons arrive.
    noise = draws(0.004, 0.012) * np.sqrt(scene.x.shape[-1] / 224)
    blurred = 0.6 * grain + 0.3 * (np.roll(grain, 1, axis=1) + np.roll(grain, 1, axis=2))
    image += noise * blurred * np.sqrt(0.3 + np.maximum(image, 0))
    return np.clip(255 * image + 0.5, 0, 255).astype(np.uint8)
