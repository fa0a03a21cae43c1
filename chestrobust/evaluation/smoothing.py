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

from chestrobust.data.splits import as_floats
from chestrobust.evaluation import metrics, outcomes


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

    def shares(self, labels, radius=0.0):
        """Macro sensitivity and specificity that no change of a length can go below.

        Args:
            labels: 0 or 1, `(count, num_labels)`.
            radius: The length, as the attribute.
        """
        present, sure = np.asarray(labels, bool), self.radius > radius
        with np.errstate(invalid="ignore"):
            shares = [
                (those & (self.reported == answer) & sure).sum(axis=0) / those.sum(axis=0)
                for those, answer in ((present, True), (~present, False))
            ]
        return tuple(map(metrics.macro, shares))

    def unchanged(self, radius=0.0):
        """Share of images of whose report nothing changes within a length."""
        return float((self.radius > radius).all(axis=1).mean())


def smoothed(model, task, images, thresholds, *, sigma, draws=1000, alpha=0.001, seed=0, indices=None):
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
        ValueError: If sigma, draws or alpha are out of range.
    """
    if sigma <= 0 or draws < 1 or not 0 < alpha < 1:
        raise ValueError(
            "`sigma` must be above 0, `draws` 1 or more and `alpha` between 0 and 1. "
            f"Received: sigma={sigma}, draws={draws}, alpha={alpha}"
        )
    together = max(1, outcomes.PIXELS_PER_BATCH // (images.shape[1] * images.shape[2]))
    counts = []
    for image, index in zip(images, range(len(images)) if indices is None else indices, strict=True):
        generator, clean, hits = np.random.default_rng((seed, int(index))), as_floats(image), 0
        for begin in range(0, draws, together):
            shape = (min(together, draws - begin), *clean.shape)
            noisy = clean + np.float32(sigma) * generator.standard_normal(shape, np.float32)
            hits = hits + task.predicted(outcomes.answers(model, noisy), thresholds).sum(axis=0)
        counts.append(hits)
    # Each label is one of several claims about an image.
    low, high = share_between(np.array(counts), draws, alpha / len(counts[0]))
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
