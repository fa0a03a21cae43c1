"""Options of the scripts that look at trained models: `evaluate.py`, `explain.py`, `ensemble.py` and `report.py`."""

from dataclasses import dataclass

from chestrobust import catalogue
from chestrobust.commandline import (
    ARGUMENT,
    count_or_all,
    extra_attack,
    file_name,
    length,
    number,
    option,
    positive_length,
)
from chestrobust.config import shared
from chestrobust.config.shared import FoldersConfig

OF_TWO = ("explanation", "patient", "similarity", "boxes", "reliability")  # views that take a second model too
SHOWN = (*OF_TWO, "gallery", "features", "confusion", "curves", "metrics")
# Gradient steps of a suite unless told: of the standard one the fewest whose scores are within 0.002 of what ten times
# as many find, on three models (benchmarks/suite_cost.py).
STEPS = {"quick": 10, "standard": 20, "clinical": 10}
# Whole grey levels.
STORABLE_RADII = tuple(level / 255 for level in (1, 2, 4, 8, 12))


@dataclass(frozen=True)
class EvaluateConfig(FoldersConfig):
    """Options of `evaluate.py`."""

    subject: str = option(
        ARGUMENT, "run folder, or a .keras file with sigmoid, softmax or logit outputs", metavar="RUN"
    )
    others: tuple[str, ...] = option(
        ARGUMENT,
        "further ones, to be compared with the first under the same attacks on the same images",
        nargs="*",
        metavar="RUN2",
    )
    data: str | None = option(
        None, "data set as in diagnosis.py, labels are matched by name (default: the run's own)", group="data"
    )
    input_range: tuple[str, ...] = shared.input_range()
    import_: str | None = shared.import_()
    size: int | None = shared.size("the run's own")
    data_dir: str = shared.data_dir(shared.DATA_DIR)
    limit: int | None = shared.limit(
        "use only this many images of each split (default: the run's own, or all if --data is given)"
    )
    suite: str = option(
        "quick",
        "quick: FGSM and PGD; standard: APGD, per-label and Square too; clinical: quick, and what happens to X-rays "
        "without an attacker (noise, blur, exposure)",
        group="attacks",
        choices=tuple(STEPS),
    )
    epsilons: tuple[float, ...] = option(
        (0.0, *STORABLE_RADII),
        "radii in pixel units of [0, 1]; unless told, the run's own too",
        length,
        group="attacks",
        nargs="+",
    )
    steps: int | None = option(
        None,
        f"gradient steps of PGD and APGD (default: {STEPS['quick']}, in the standard suite {STEPS['standard']}); take "
        "50 or more for a number to publish",
        number(int, 1),
        group="attacks",
    )
    restarts: int = option(
        1,
        "starts of each attack, the first at the image, others random; the worst per image counts",
        number(int, 1),
        group="attacks",
    )
    queries: int = option(500, "queries per image of the Square attack", number(int, 1), group="more: attacks")
    extra: tuple[str, ...] = option(
        (),
        f"further attacks: {', '.join(catalogue.extras())}",
        extra_attack,
        group="more: attacks",
        nargs="+",
        metavar="ATTACK",
    )
    certify: bool = option(
        False,
        "bound the logits over each whole ball too: scores that no attack can go below, of models whose layers have "
        "known bounds",
        bool,
        group="attacks",
    )
    smooth: float | None = option(
        None,
        "deviation of Gaussian noise, in pixel units: tell how long a Euclidean change reports surely survive, by "
        "randomized smoothing; for any model",
        positive_length,
        group="more: attacks",
        metavar="SIGMA",
    )
    draws: int = option(200, "draws of noise per image for --smooth", number(int, 1), group="more: attacks")
    transfer_from: str | None = option(
        None, "run or .keras file on which transferred images are made", group="more: attacks", metavar="RUN"
    )
    by: tuple[str, ...] = option(
        (),
        "break scores down by what is known of the patients",
        group="scores",
        nargs="+",
        choices=("view", "age", "sex"),
    )
    thresholds: str = option(
        "best",
        "cuts for F1 and reports, from clean validation images: best F1 over all, or over 0.05, 0.10 ... 0.40",
        group="more: scores",
        choices=("best", "grid"),
    )
    resamples: int = shared.resamples()
    stored: bool = option(True, "also score attacked images as a file of 8 bits holds them", bool, group="more: scores")
    save_images: str | None = option(
        None,
        "save this many test images, or all: clean, attacked and the perturbation as PNG, and a table of findings",
        count_or_all,
        group="scores",
        metavar="N",
    )
    name: str | None = option(
        None, "name of the result in RUN/evaluations (default: DATA-SUITE)", file_name, group="run"
    )
    seed: int = shared.seed(0, "attacks and resamples")
    strict: bool = option(False, "exit with code 1 if the audit fails", bool, group="run")
    verbose: bool = option(False, "print what the audit passed too, not only what it found", bool, group="run")
    verify: bool = option(
        False, "only recompute the run's own results, and exit with code 1 if they differ", bool, group="run"
    )
    precision: str = shared.precision("convolutions in gradient attacks")
    strategy: str = shared.strategy()
    debug: bool = shared.debug()

    def __post_init__(self):
        if self.steps is None:
            object.__setattr__(self, "steps", STEPS[self.suite])


@dataclass(frozen=True, kw_only=True)
class SubjectConfig(FoldersConfig):
    """Options of scripts that take trained models; what is None is taken from the first one's run."""

    data: str | None = option(
        None, "data set as in diagnosis.py (default: the first run's, as for all that follow)", group="data"
    )
    input_range: tuple[str, ...] = shared.input_range()
    import_: str | None = shared.import_()
    size: int | None = shared.size("the first run's")
    data_dir: str | None = shared.data_dir(None)
    limit: int | None = shared.limit()
    epsilon: float | None = option(None, "radius of the attack in pixel units of [0, 1]", length, group="attack")
    step_size: float | None = option(None, "length of one PGD step, same units", length, group="attack")
    steps: int | None = option(None, "PGD steps", number(int, 1), group="attack")
    restarts: int | None = option(None, "random starts of PGD", number(int, 1), group="attack")
    seed: int | None = shared.seed(None, "attacks, resamples and t-SNE")
    debug: bool = shared.debug()


@dataclass(frozen=True)
class Views:
    """The own options of `explain.py`: what is looked at, and how."""

    subject: str = option(ARGUMENT, "run folder or .keras file", metavar="RUN")
    other: str | None = option(ARGUMENT, "a second one to compare with", metavar="RUN2", nargs="?")
    show: tuple[str, ...] = option(
        ("explanation",),
        f"any of {', '.join(SHOWN)}",
        group="views",
        nargs="+",
        choices=SHOWN,
        metavar="VIEW",
    )
    image: int | None = option(
        None, "number of the test image (default: the first with a finding)", number(int, 0), group="views"
    )
    label: str | None = option(
        None, "finding that is explained (default: the most probable that the image has)", group="views"
    )
    boxes: str | None = option(
        None, "BBox_List_2017.csv, with the images in its folder or below", group="views", metavar="FILE"
    )
    layer: str | None = option(
        None,
        "layer for Grad-CAM, OUTER/INNER in a nested model (default: the last whose output is still an image)",
        group="more: views",
    )
    path_steps: int = option(
        64,
        "points on the way of integrated gradients; up to 16 times as many where one image needs them",
        number(int, 1),
        group="more: views",
    )
    images: int = option(4, "images in a gallery", number(int, 1, 20), group="more: views")
    epsilons: tuple[float, ...] = option(
        STORABLE_RADII,
        "radii in the gallery, in pixel units of [0, 1]",
        length,
        group="more: views",
        nargs="+",
    )
    step_sizes: tuple[float, ...] = option(
        (),
        "step sizes in the gallery, same units (default: 0.05 to 1 times epsilon)",
        length,
        group="more: views",
        nargs="+",
    )
    points: int = option(
        500, "largest number of images in the picture of features", number(int, 5), group="more: views"
    )
    resamples: int = shared.resamples()


@dataclass(frozen=True)
class ExplainConfig(Views, SubjectConfig):
    """Options of `explain.py`; what is None is taken from the first run."""


@dataclass(frozen=True)
class ReportConfig:
    """Options of `report.py`."""

    subjects: tuple[str, ...] = option(ARGUMENT, "run folders", nargs="+", metavar="RUN")
    out: str | None = option(
        None,
        "page to write (default: report.html in the run folder; of several runs, in the folder around the first)",
        group="page",
        metavar="FILE",
    )
    debug: bool = shared.debug()


@dataclass(frozen=True)
class EnsembleConfig(SubjectConfig):
    """Options of `ensemble.py`; what is None is taken from the first run."""

    members: tuple[str, ...] = option(ARGUMENT, "run folders or .keras files", nargs="+", metavar="RUN")
    weights: tuple[float, ...] = option(
        (),
        "weights of the members in votes and means (default: equal)",
        number(float, 0, open_low=True),
        group="ensemble",
        nargs="+",
    )
    run: str = shared.run("runs/ensemble", "folder that the results go to")
    overwrite: bool = shared.overwrite()
    resamples: int = shared.resamples()

    resume = False  # Nothing is written before the end.
