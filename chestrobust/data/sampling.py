"""Which training images an epoch shows, and in which order: a function of the seed and the epoch alone."""

import numpy as np

from chestrobust.data import batching


def order(sampler, labels, *, seed, epoch):
    """Numbers of the training images of an epoch.

    Args:
        sampler: `"shuffle"` for each image once, or `"balanced"` for `balanced`.
        labels: Labels of the training split, `(count, num_labels)`.

    Returns:
        int64, `(count,)`. An image's number is its index; drawn again, it is higher by a `count` each time, so that
        what happens to it at random is new.
    """
    if sampler == "shuffle":
        return batching.shuffled(len(labels), seed=seed, epoch=epoch)
    drawn = balanced(labels, seed=seed, epoch=epoch)
    by_image = np.argsort(drawn, kind="stable")
    _, starts, counts = np.unique(drawn[by_image], return_index=True, return_counts=True)
    again = np.empty_like(drawn)
    again[by_image] = np.arange(len(drawn)) - np.repeat(starts, counts)
    return drawn + again * len(labels)


def balanced(labels, *, seed, epoch):
    """As many draws as there are images: first a label, then an image that has it, both evenly and with replacement.

    Images without any finding are a label of their own. An image with several labels is drawn for each of them.

    Reference: class-aware sampling, Shen et al., 2016, https://arxiv.org/abs/1512.05830
    """
    labels = np.asarray(labels, bool)
    groups = [np.flatnonzero(group) for group in (*labels.T, ~labels.any(axis=1))]
    groups = [group for group in groups if len(group)]
    rng = np.random.default_rng([seed, epoch])
    draws, places = rng.integers(len(groups), size=len(labels)), rng.random(len(labels))
    chosen = np.empty(len(labels), np.int64)
    for number, group in enumerate(groups):
        own = draws == number
        chosen[own] = group[(places[own] * len(group)).astype(np.int64)]
    return chosen
