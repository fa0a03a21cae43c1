"""Reports that no small change in the Euclidean norm can alter, of any model at all: randomized smoothing.

    found = smoothing.smoothed(model, splits.task, splits.test.images, thresholds, sigma=0.25)
    sensitivity, specificity = found.shares(splits.test.labels, radius=0.2)

The smoothed model names a finding where the model does so under most of all Gaussian noise. If that is at least a share
p of it, no change shorter than sigma * Phi^-1(p) takes the finding out of the report. The share is estimated, so that a
radius holds with a stated confidence, for this smoothed model, which answers less well than the model itself.

Reference: Cohen et al., 2019, https://arxiv.org/abs/1902.02918
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, norm
from tqdm import tqdm

from chestrobust import devices
from chestrobust.data.splits import as_floats
from chestrobust.errors import ModelError
from chestrobust.evaluation import measured, metrics, outcomes

ALPHA = 0.001
RADII = (0.0, 0.5, 1.0, 1.5)  # of the noise, that results tell of; 200 draws prove up to 1.8 of it, of 14 labels 1.6


@dataclass(frozen=True)
class Smoothed:
    """What a smoothed model reports.

    Attributes:
        reported: Whether a finding is, bool `(count, num_labels)`.
        radius: Length of a change in pixel units of [0, 1], summed in squares over pixels, below which that can't
            change, float64 `(count, num_labels)`; 0 where noise left it open.
    """

    reported: np.ndarray
    radius: np.ndarray

    def worst(self, labels, radius=0.0):
        """The worst reports that a change of a length may lead to: wrong where they aren't sure, bool.

        Args:
            labels: 0 or 1, `(count, num_labels)`.
            radius: The length, as the attribute.
        """
        return np.where(self.radius > radius, self.reported, ~np.asarray(labels, bool))

    def shares(self, labels, radius=0.0):
        """Macro sensitivity and specificity that no change of a length can go below; arguments as in `worst`."""
        return tuple(map(metrics.macro, metrics.shares(labels, self.worst(labels, radius))))

    def unchanged(self, radius=0.0):
        """Share of images of whose report nothing changes within a length."""
        return float((self.radius > radius).all(axis=1).mean())


def smoothed(model, task, images, thresholds, *, sigma, draws=1000, alpha=ALPHA, seed=0, indices=None):
    """Ask a model about each image under many draws of noise.

    Args:
        model: Callable `model(images, training=False)` returning logits.
        task: The `Task`.
        images: uint8, `(count, height, width, channels)`.
        thresholds: Of probabilities, `(num_labels,)`, fixed on clean validation images.
        sigma: Standard deviation of the noise, in pixel units of [0, 1]; pixels may leave that range.
        draws: How many for each image; the largest radius there can be grows with it, slowly.
        alpha: Probability that anything said of an image's report is wrong, over all labels together.
        seed: Of the noise, which is a function of it and the number of the image.
        indices: Number of each image; default: 0 to `count - 1`.

    Returns:
        A `Smoothed`.

    Raises:
        ModelError: If a logit isn't finite.
        ValueError: If sigma, draws or alpha are out of range.
    """
    if sigma <= 0 or draws < 1 or not 0 < alpha < 1:
        raise ValueError(
            "`sigma` must be above 0, `draws` 1 or more and `alpha` between 0 and 1. "
            f"Received: sigma={sigma}, draws={draws}, alpha={alpha}"
        )
    indices = range(len(images)) if indices is None else indices
    hits = [
        _hits(model, task, image, thresholds, sigma, draws, (seed, int(index)))
        for image, index in zip(images, indices, strict=True)
    ]
    return _judged(np.array(hits), sigma, draws, alpha)


def record(subject, *, sigma, draws, seed):
    """What results hold of a model that is smoothed, with the scores of the test split that no change can go below.

    Args:
        subject: A `sweep.Subject`.
        sigma, draws, seed: As in `smoothed`.

    Returns:
        A dictionary with `sigma`, `draws`, `alpha`, the `largest_radius` that so many draws can prove, and `radii`:
        for each its `radius`, the share of images whose report is `unchanged`, and `macro_` and `per_label_`
        `sensitivity` and `specificity`, the former with `intervals`.
    """
    task, split, names = subject.splits.task, subject.splits.test, subject.splits.label_names
    parts, mine = outcomes.pieces([subject.model], split)
    hits = np.zeros(split.labels.shape, np.float32)

    def ask(piece, model):
        for index in parts[piece]:
            image = split.images[index]
            hits[index] = _hits(model, task, image, subject.thresholds, sigma, draws, (seed, int(index)))
            bar.update()

    total = sum(len(parts[piece]) for piece in mine)
    with tqdm(total=total, desc="Smoothing", unit=" images", leave=False, **devices.bars()) as bar:
        devices.spread(ask, mine, subject.model)
    found = _judged(devices.total(hits), sigma, draws, ALPHA)
    largest = float(_judged(np.full((1, len(names)), draws), sigma, draws, ALPHA).radius.max())

    def at(radius):
        worst, row = found.worst(split.labels, radius), {"radius": radius, "unchanged": found.unchanged(radius)}
        present, ends = split.labels.astype(bool), {}
        resampled = measured.resampled_shares(present, worst, **subject.resampling, patients=split.patients)
        for name, shares in measured.shares(present, worst, split.patients).items():
            values, of_labels = shares[:, 0], list(map(measured.pair, shares[:, 1:]))
            row[f"macro_{name}"] = metrics.number(metrics.macro(values))
            row[f"per_label_{name}"] = dict(zip(names, map(metrics.number, values), strict=True))
            ends[f"macro_{name}"] = measured.mean_ends(values, resampled[name], of_labels, len(split))
        return {**row, "intervals": ends}

    radii = [at(share * sigma) for share in RADII if share * sigma < largest]
    return {"sigma": sigma, "draws": draws, "alpha": ALPHA, "largest_radius": largest, "radii": radii}


def _hits(model, task, image, thresholds, sigma, draws, seed):
    """Under how many draws of noise a model reports each finding of an image, `(num_labels,)`."""
    generator, clean, hits = np.random.default_rng(seed), as_floats(image), 0
    together = max(1, outcomes.PIXELS_PER_BATCH // (image.shape[0] * image.shape[1]))
    for begin in range(0, draws, together):
        shape = (min(together, draws - begin), *clean.shape)
        noisy = clean + np.float32(sigma) * generator.standard_normal(shape, np.float32)
        logits = outcomes.answers(model, noisy)
        if not np.isfinite(logits).all():
            raise ModelError(
                "Smoothing: expected finite logits of noisy images, whose pixels may leave [0, 1]. Received NaN or "
                "infinity. Clip pixels inside the model, or take less noise."
            )
        hits = hits + task.predicted(logits, thresholds).sum(axis=0)
    return hits


def _judged(hits, sigma, draws, alpha):
    """The `Smoothed` model of these hits, `(count, num_labels)`."""
    # Each label is one of several claims about an image.
    low, high = share_between(hits, draws, alpha / hits.shape[1])
    return Smoothed(low > 0.5, sigma * norm.ppf(np.maximum(np.maximum(low, 1 - high), 0.5)))


def share_between(hits, draws, alpha):
    """Ends of the exact interval of a share, of which a number of draws were hits (Clopper and Pearson, 1934).

    Args:
        hits: Numbers from 0 to `draws`, of any shape.
        draws: How many were drawn.
        alpha: Probability that the share lies outside.
    """
    low = np.where(hits > 0, beta.ppf(alpha / 2, np.maximum(hits, 1), draws - hits + 1), 0.0)
    high = np.where(hits < draws, beta.ppf(1 - alpha / 2, hits + 1, np.maximum(draws - hits, 1)), 1.0)
    return low, high
