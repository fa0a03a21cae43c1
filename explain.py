"""Show where a trained model looks and how it errs, on clean and on attacked images.

    python explain.py RUN                             Grad-CAM and integrated gradients of a test image
    python explain.py RUN RUN2                        the same in two models, with the difference of their maps
    python explain.py RUN --show similarity metrics   how far attacks move explanations; a table of every label
    python explain.py RUN --show boxes --boxes BBox_List_2017.csv

Attacks are PGD with the run's own evaluation options. Writes into RUN/explanations.
"""

import sys
from dataclasses import dataclass

import config
import data
import devices
import runs
import startup
import subjects
from commandline import ARGUMENT, length, number, option
from errors import ExpectedError

SHOWN = ("explanation", "similarity", "boxes", "gallery", "features", "confusion", "curves", "metrics")


@dataclass(frozen=True)
class ExplainConfig(subjects.SubjectConfig):
    """Options of `explain.py`; what is None is taken from the first run."""

    subject: str = option(ARGUMENT, "run folder or .keras file", metavar="RUN")
    other: str | None = option(ARGUMENT, "a second one to compare with", metavar="RUN2", nargs="?")
    show: tuple[str, ...] = option(
        ("explanation",), f"any of {', '.join(SHOWN)} (default: explanation)", nargs="+", choices=SHOWN, metavar="VIEW"
    )
    image: int | None = option(None, "number of the test image (default: the first with a finding)", number(int, 0))
    label: str | None = option(None, "finding that is explained (default: the most probable that the image has)")
    layer: str | None = option(
        None, "layer for Grad-CAM, OUTER/INNER in a nested model (default: the last whose output is still an image)"
    )
    path_steps: int = option(
        64,
        "points on the way of integrated gradients; up to 16 times as many where one image needs them",
        number(int, 1),
    )
    boxes: str | None = option(None, "BBox_List_2017.csv, with the images in its folder or below", metavar="FILE")
    images: int = option(4, "images in a gallery", number(int, 1, 20))
    epsilons: tuple[float, ...] = option(
        (1 / 255, 2 / 255, 4 / 255, 8 / 255, 0.05),
        "radii in the gallery, in pixel units of [0, 1] (default: 1/255 2/255 4/255 8/255 0.05)",
        length,
        nargs="+",
    )
    step_sizes: tuple[float, ...] = option(
        (), "step sizes in the gallery, same units (default: 0.05 to 1 times epsilon)", length, nargs="+"
    )
    points: int = option(500, "largest number of images in the picture of features", number(int, 5))
    resamples: int = option(1000, "bootstrap resamples of the 95 %% intervals", number(int, 10))


def main(arguments=None):
    """Load, explain, print."""
    options = config.parse(ExplainConfig, arguments, description=__doc__)
    if ("boxes" in options.show) != bool(options.boxes):
        raise ExpectedError("--boxes: expected together with --show boxes. Received one of them.")
    saved = [subjects.find(text) for text in (options.subject, options.other) if text]
    chosen = subjects.settings(saved[0], options)
    splits = subjects.load_data(chosen)
    data.check_trainable(splits)
    if options.label is not None and options.label not in splits.label_names:
        raise ExpectedError(f"--label: expected one of {', '.join(splits.label_names)}. Received: {options.label}.")
    devices.join("none")
    devices.start()
    from explaining import insights, review

    study = insights.Study(saved, splits, chosen, options)
    runs.lock(study.folder)
    for view in dict.fromkeys(options.show):
        print((insights.VIEWS | review.VIEWS)[view](study))


if __name__ == "__main__":
    sys.exit(startup.run_script(main, after_interrupt="What was finished is kept."))
