"""Ranges of pixels that models take; the data's own, in which every epsilon is given, is 0 to 1."""

import math
from dataclasses import dataclass

from chestrobust.errors import ExpectedError, setting

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and standard deviation of red, green and blue


@dataclass(frozen=True)
class Range:
    """How pixels in [0, 1] become what a model takes.

    Attributes:
        name: As it follows `--input-range`.
        scale, offset: `scale * pixels + offset`; numbers, or one of each colour.
        per_image: Whether each image is moved to mean 0 and standard deviation 1 afterwards.
    """

    name: str
    scale: float | tuple[float, ...] = 1.0
    offset: float | tuple[float, ...] = 0.0
    per_image: bool = False

    @property
    def shown(self):
        """The name in a sentence."""
        return shown(self.name)


def shown(name):
    """The name of a range in a sentence: `0 ... 255`."""
    return " ... ".join(name.split()) if name.count(" ") == 1 else name


def between(low, high):
    """The range from `low` to `high`."""
    return Range(f"{low:g} {high:g}", high - low, low)


def standardized(mean, deviation, name=None):
    """Pixels less their mean, divided by their standard deviation, both of pixels in [0, 1]."""
    if isinstance(mean, tuple):
        scale = tuple(1 / one for one in deviation)
        return Range(name, scale, tuple(-one * by for one, by in zip(mean, scale, strict=True)))
    return Range(f"standardized {mean:g} {deviation:g}", 1 / deviation, -mean / deviation)


OWN = between(0, 1)
# What a model that was trained on other pixels most likely takes.
PLAUSIBLE = (
    OWN,
    between(0, 255),
    between(-1, 1),
    standardized(*IMAGENET, "imagenet"),
    Range("per-image", per_image=True),
)


def chosen(words):
    """The `Range` of an `--input-range`, or None if it is left open.

    Raises:
        ExpectedError: If it is none.
    """
    return parse(words) if words else None


def parse(words):
    """The `Range` of an `--input-range`: two numbers, `standardized MEAN DEVIATION`, `imagenet` or `per-image`.

    Raises:
        ExpectedError: If it is none of these.
    """
    known = {one.name: one for one in PLAUSIBLE}
    words = [str(word) for word in words]
    if " ".join(words) in known:
        return known[" ".join(words)]
    kind = words[0] if words and words[0] == "standardized" else None
    try:
        first, second = map(float, words[1:] if kind else words)
    except ValueError:
        first = second = math.nan
    if math.isfinite(first) and math.isfinite(second) and (second > 0 if kind else second > first):
        return standardized(first, second) if kind else between(first, second)
    raise ExpectedError(
        f"{setting('input_range')}: expected LOW HIGH, standardized MEAN DEVIATION (of pixels in [0, 1]), imagenet or "
        f"per-image. Received: {' '.join(words) or 'nothing'}."
    )
