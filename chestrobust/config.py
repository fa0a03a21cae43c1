"""Every option of the scripts, once: name, default, unit and range. The command line is made from it."""

import argparse
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from chestrobust import catalogue
from chestrobust.commandline import ARGUMENT, extra_attack, file_name, length, number, option, parser_of
from chestrobust.errors import ExpectedError

# Options of one run alone: they aren't repeated with its others.
OF_ONE_RUN = ("run", "overwrite", "resume", "params", "debug")


def _precision(what):
    return option(
        "auto",
        f"arithmetic of {what}; scores are always computed in float32. auto takes what the hardware is made for",
        choices=("auto", "float32", "bfloat16", "float16"),
    )


def _strategy():
    return option(
        "auto",
        "devices: mirrored takes all GPUs of a machine, multiworker those of the machines in TF_CONFIG; "
        "auto takes what is there, none a single device",
        choices=("auto", "none", "mirrored", "multiworker"),
    )


def debug_option():
    return option(False, "show where in the code an error arose, also one that you can put right", bool)


def _root(source):
    return option(None, f"folder with {catalogue.SOURCES[source].root}, for --data {source}", metavar="DIR")


def _input_range():
    return option(
        (),
        "pixels that a .keras file takes, epsilon stays in [0, 1]: LOW HIGH, standardized MEAN DEVIATION, imagenet, or "
        "per-image (default: 0 1; it is checked)",
        nargs="+",
        metavar="RANGE",
    )


def _import():
    return option(
        None,
        "Python file that registers the classes of a .keras file; it is run, so it must be one that you trust, while "
        "no code in a model file ever is",
        metavar="FILE",
    )


def _subset(part):
    return option(None, f"use only this many {part} images, by a fixed shuffle", number(int, 1))


@dataclass(frozen=True, kw_only=True)
class FoldersConfig:
    """Options of data that are folders of images, for every script."""

    nih_root: str | None = _root("nih")
    covid_root: str | None = _root("covid")
    folders_root: str | None = _root("folders")
    train_subset: int | None = _subset("training")
    val_subset: int | None = _subset("validation")
    metadata: bool | None = option(
        None, "join age, sex and view to the features of the image, where the data tell them: nih, covid", bool
    )


@dataclass(frozen=True)
class BaselineConfig(FoldersConfig):
    """Options of `diagnosis.py`; `diagnosis_adv.py` has them too."""

    data: str = option(
        "chestmnist",
        f"{catalogue.sources()}, another 2-D MedMNIST set, or a path to an .npz file",
    )
    size: int | None = option(
        None, "image size in pixels (default: what a file holds, else 28)", int, choices=(28, 64, 128, 224)
    )
    data_dir: str = option("~/.medmnist", "folder of the MedMNIST files, shared with the medmnist package")
    limit: int | None = option(None, "use only this many images of each split, by a fixed shuffle", number(int, 1))
    params: str | None = option(
        None, "JSON file of options, such as tune.py's best.json; the command line wins over it"
    )
    run: str = option("runs/baseline", "folder that this run writes")
    overwrite: bool = option(False, "replace a run that is already in the folder", bool)
    resume: bool = option(False, "continue an unfinished run in the folder", bool)
    precision: str = _precision("convolutions in training and gradient attacks")
    strategy: str = _strategy()
    seed: int = option(0, "seed of weights, shuffling, dropout and attacks", number(int, 0, 2**31 - 1))
    debug: bool = debug_option()

    model: str = option(
        "cnn", f"architecture: hand-made ({catalogue.hand_made()}) or a known backbone", choices=tuple(catalogue.MODELS)
    )
    weights: str = option(
        "none",
        "where a backbone's weights come from: none (random), imagenet (downloaded; dinov2_s14's are those of its "
        "authors), or a .keras or .h5 FILE of the same backbone",
    )
    freeze: bool = option(False, "train the head alone and leave the backbone as it is, its BatchNorm too", bool)
    backbone_size: int | None = option(
        None,
        "pixels along a side that a backbone sees, images are resized in the model (default: their own size, at "
        "least 32; transformers 224)",
        number(int, 32, 1024),
    )
    attention: str = option(
        "none",
        "squeeze-and-excitation or CBAM, after each block of a hand-made model or on a backbone's last feature map",
        choices=("none", "se", "cbam"),
    )

    loss: str = option(
        "bce",
        "loss of training: bce (softmax cross-entropy if multi-class), weighted by how rare each label is, focal, or "
        "asymmetric (multi-label alone)",
        choices=("bce", "weighted", "focal", "asymmetric"),
    )
    sampler: str = option(
        "shuffle",
        "shuffle shows each training image once per epoch; balanced draws as many images, from each finding and from "
        "those without any equally often",
        choices=("shuffle", "balanced"),
    )

    epochs: int = option(20, "largest number of passes over the training images", number(int, 1))
    batch_size: int = option(64, "images per training step", number(int, 1))
    learning_rate: float = option(1e-3, "learning rate at the start", number(float, 0, open_low=True))
    optimizer: str = option("adam", "optimizer", choices=("adam", "adamw", "rmsprop", "sgd"))
    schedule: str = option(
        "exponential",
        "learning rate over time: exponential multiplies it by 0.9 per 1000 steps, cosine ends at 0",
        choices=("exponential", "cosine", "constant"),
    )
    weight_decay: float = option(0.004, "weight decay of adamw", number(float, 0))
    patience: int = option(5, "epochs without a better validation macro AUC before training stops", number(int, 1))
    dropout: float = option(
        0.5, "share of units dropped before dense layers; covid_cnn has none", number(float, 0, 1, open_high=True)
    )
    augment: str = option(
        "none",
        "random changes of training images: vgg is rotation 15, translation 0.1 and flip, covid_cnn crop 0.875, "
        "rotation 30 and flip; the options that follow change or replace these",
        choices=("none", "vgg", "covid_cnn"),
    )
    rotation: float | None = option(None, "largest rotation either way, in degrees", number(float, 0, 180))
    translation: float | None = option(None, "largest shift either way, as a share of the side", number(float, 0, 1))
    flip: bool | None = option(None, "mirror half of the images; a mirrored chest has its heart on the right", bool)
    crop: float | None = option(
        None,
        "share of the side that a random crop keeps before it is enlarged again",
        number(float, 0, 1, open_low=True),
    )

    epsilon: float = option(0.05, "radius of the evaluation attacks in pixel units of [0, 1], e.g. 8/255", length)
    step_size: float = option(0.01, "length of one PGD step of the evaluation, same units", length)
    steps: int = option(10, "PGD steps of the evaluation", number(int, 1))
    restarts: int = option(1, "random starts of the evaluation's PGD; the worst per image counts", number(int, 1))

    def __post_init__(self):
        check_model(self)


@dataclass(frozen=True)
class AdversarialConfig(BaselineConfig):
    """Options of `diagnosis_adv.py`."""

    run: str = option("runs/robust", "folder that this run writes")
    init_from: str | None = option(None, "run whose weights to start from (fine-tuning) instead of random ones")
    baseline: str | None = option(
        None, "finished run to compare with (default: runs/baseline if it fits, else one is trained in RUN/baseline)"
    )
    method: str = option(
        "online",
        "online makes adversarial images of the current weights in every step; static makes them once, by FGSM on the "
        "model it starts from (--init-from, else the baseline), and fine-tunes on clean and adversarial images alike",
        choices=("online", "static"),
    )
    attack_loss: str = option(
        "task",
        "loss that the training attacks climb: the task's cross-entropy, or that of --loss",
        choices=("task", "training"),
    )
    adv_weight: float = option(0.5, "share of the loss that comes from adversarial images", number(float, 0, 1))
    train_epsilon: float = option(0.05, "radius of the training attacks in pixel units of [0, 1]", length)
    train_step_size: float = option(0.0125, "length of one PGD step in training, same units", length)
    train_steps: int = option(7, "PGD steps in training", number(int, 1))

    def __post_init__(self):
        super().__post_init__()
        unused = ("adv_weight", "train_step_size", "train_steps") if self.method == "static" else ()
        if given := [name for name in unused if getattr(self, name) != getattr(AdversarialConfig, name)]:
            name = f"--{given[0].replace('_', '-')}"
            raise ExpectedError(
                f"{name}: expected --method online. Received static, which takes one step of FGSM and lets all images "
                f"count alike. Leave {name} out."
            )


@dataclass(frozen=True)
class EvaluateConfig(FoldersConfig):
    """Options of `evaluate.py`."""

    subject: str = option(
        ARGUMENT, "run folder, or a .keras file with sigmoid, softmax or logit outputs", metavar="RUN"
    )
    input_range: tuple[str, ...] = _input_range()
    import_: str | None = _import()
    data: str | None = option(None, "data set as in diagnosis.py, labels are matched by name (default: the run's own)")
    size: int | None = option(None, "image size in pixels (default: the run's own)", int, choices=(28, 64, 128, 224))
    data_dir: str = option("~/.medmnist", "folder of the MedMNIST files")
    limit: int | None = option(
        None,
        "use only this many images of each split (default: the run's own, or all if --data is given)",
        number(int, 1),
    )
    name: str | None = option(None, "name of the result in RUN/evaluations (default: DATA-SUITE)", file_name)
    suite: str = option(
        "quick", "quick: FGSM and PGD; standard: APGD, per-label and Square too", choices=("quick", "standard")
    )
    epsilons: tuple[float, ...] = option(
        (0.0, 0.5 / 255, 1 / 255, 2 / 255, 4 / 255, 8 / 255, 0.03, 0.05),
        "radii in pixel units of [0, 1] (default: 0 0.5/255 1/255 2/255 4/255 8/255 0.03 0.05)",
        length,
        nargs="+",
    )
    steps: int = option(10, "gradient steps of PGD and APGD; take 50 or more for a number to publish", number(int, 1))
    restarts: int = option(
        1, "starts of each attack, the first at the image, others random; the worst per image counts", number(int, 1)
    )
    queries: int = option(500, "queries per image of the Square attack", number(int, 1))
    extra: tuple[str, ...] = option(
        (),
        f"further attacks: {', '.join(catalogue.extras())}",
        extra_attack,
        nargs="+",
        metavar="ATTACK",
    )
    by: tuple[str, ...] = option(
        (), "break scores down by what is known of the patients", nargs="+", choices=("view", "age", "sex")
    )
    transfer_from: str | None = option(None, "run or .keras file on which transferred images are made")
    thresholds: str = option(
        "best",
        "cuts for F1 and reports, from clean validation images: best F1 over all, or over 0.05, 0.10 ... 0.40",
        choices=("best", "grid"),
    )
    resamples: int = option(1000, "bootstrap resamples of the 95 %% intervals", number(int, 10))
    precision: str = _precision("convolutions in gradient attacks")
    strategy: str = _strategy()
    seed: int = option(0, "seed of attacks and resamples", number(int, 0, 2**31 - 1))
    strict: bool = option(False, "exit with code 1 if the audit fails", bool)
    verify: bool = option(False, "only recompute the run's own results, and exit with code 1 if they differ", bool)
    debug: bool = debug_option()


def parse(config_class, arguments=None, **settings):
    """Read a `config_class` from the command line; wrong options end the program with one line and code 2.

    Options in the file that `--params` names are read before those of the command line, which thus win.
    """
    parser = parser_of(config_class, settings)
    read = parser.parse_args(arguments)
    if getattr(read, "params", None):
        given = sys.argv[1:] if arguments is None else arguments
        read = parser.parse_args([*_arguments(read.params, config_class), *given])
    return config_class(**vars(read))


def given(config_class, arguments=None):
    """Names of the options that are on the command line or in the file that `--params` names."""
    parser = parser_of(config_class, {"add_help": False})
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    read = vars(parser.parse_args(arguments))
    return set(read) | set(_params(read["params"]) if "params" in read else ())


def _arguments(path, config_class):
    """The options in a file as command-line arguments; those that only the other training script has are left out."""
    names = {field.name for field in dataclasses.fields(config_class)} - set(getattr(config_class, "WITHOUT", ()))
    values = {name.replace("_", "-"): value for name, value in _params(path).items() if name in names}
    return [
        f"--{'' if value else 'no-'}{name}" if isinstance(value, bool) else f"--{name}={value}"
        for name, value in values.items()
    ]


def _params(path):
    """The options in a JSON file, by name."""
    try:
        values = json.loads(Path(path).expanduser().read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ExpectedError(f"--params {path}: expected a JSON file of options. Received: {error}.") from None
    known = {field.name for field in dataclasses.fields(AdversarialConfig)}
    if isinstance(values, dict):
        # A run's config.json has all options: those that aren't set, and those of that run alone, say nothing here.
        values = {name: value for name, value in values.items() if value is not None and name not in OF_ONE_RUN}
    if not isinstance(values, dict) or not set(values) <= known:
        wrong = ", ".join(sorted(set(values) - known)) if isinstance(values, dict) else type(values).__name__
        raise ExpectedError(f"--params {path}: expected options of the training scripts. Received: {wrong}.")
    return values


def check_model(options):
    """Refuse options of the model that contradict each other.

    Raises:
        ExpectedError: With the options and what to do.
    """
    name, row, source = options.model, catalogue.MODELS[options.model], getattr(options, "init_from", None)
    patch, size = row.patch, row.published_size
    if row.hand_made and (options.weights != "none" or options.freeze or options.backbone_size):
        raise ExpectedError(
            f"--weights, --freeze, --backbone-size: expected a backbone, such as --model resnet18. Received: {name}."
        )
    if patch and options.attention != "none":
        raise ExpectedError(
            f"--attention {options.attention}: expected a model with feature maps. Received: {name}, "
            "whose blocks are attention already. Use --attention none."
        )
    if patch and options.backbone_size and options.backbone_size % patch:
        raise ExpectedError(
            f"--backbone-size: expected a multiple of {patch} for {name}. Received: {options.backbone_size}."
        )
    if size and options.weights == "imagenet" and options.backbone_size not in (None, size):
        raise ExpectedError(
            f"--backbone-size: expected {size}, the size of {name}'s ImageNet weights. "
            f"Received: {options.backbone_size}."
        )
    if options.weights not in ("none", "imagenet") and not Path(options.weights).expanduser().is_file():
        raise ExpectedError(f"--weights: expected none, imagenet or a file. Received: {options.weights}.")
    if source and options.weights != "none":
        raise ExpectedError("--init-from and --weights: expected one source of weights. Received both.")
    if options.freeze and options.weights == "none" and not source:
        raise ExpectedError("--freeze: expected --weights, as a random backbone would stay random. Received none.")


def check_task(options, task):
    """Refuse a loss that isn't defined for the data's task."""
    if options.loss not in task.training_losses:
        known = ", ".join(task.training_losses)
        raise ExpectedError(f"--loss {options.loss}: expected one of {known} for {task} data. Use focal.")


def to_json(config):
    """The configuration as indented JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"


@dataclass(frozen=True, kw_only=True)
class SubjectConfig(FoldersConfig):
    """Options of scripts that take trained models; what is None is taken from the first one's run."""

    data: str | None = option(None, "data set as in diagnosis.py (default: the first run's, as for all that follow)")
    size: int | None = option(None, "image size in pixels", int, choices=(28, 64, 128, 224))
    data_dir: str | None = option(None, "folder of the MedMNIST files")
    limit: int | None = option(None, "use only this many images of each split", number(int, 1))
    input_range: tuple[str, ...] = _input_range()
    import_: str | None = _import()
    epsilon: float | None = option(None, "radius of the attack in pixel units of [0, 1]", length)
    step_size: float | None = option(None, "length of one PGD step, same units", length)
    steps: int | None = option(None, "PGD steps", number(int, 1))
    restarts: int | None = option(None, "random starts of PGD", number(int, 1))
    seed: int | None = option(None, "seed of attacks, resamples and t-SNE", number(int, 0, 2**31 - 1))
    debug: bool = debug_option()


SHOWN = ("explanation", "similarity", "boxes", "gallery", "features", "confusion", "curves", "metrics")


@dataclass(frozen=True)
class ExplainConfig(SubjectConfig):
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


@dataclass(frozen=True)
class TuneConfig(AdversarialConfig):
    """Options of `tune.py`: those of training, but for what would continue or compare a single run."""

    WITHOUT = ("overwrite", "resume", "init_from", "baseline", "strategy", "method")

    run: str = option("runs/tune", "folder of the search")
    trials: int = option(30, "trainings in all, over all starts and processes", number(int, 1))
    adversarial: bool = option(False, "search options of diagnosis_adv.py", bool)
    objective: str = option("clean", "validation AUC to maximize: clean, or under PGD", choices=("clean", "robust"))


@dataclass(frozen=True)
class EnsembleConfig(SubjectConfig):
    """Options of `ensemble.py`; what is None is taken from the first run."""

    members: tuple[str, ...] = option(ARGUMENT, "run folders or .keras files", nargs="+", metavar="RUN")
    weights: tuple[float, ...] = option(
        (), "weights of the members in votes and means (default: equal)", number(float, 0, open_low=True), nargs="+"
    )
    run: str = option("runs/ensemble", "folder that the results go to")
    overwrite: bool = option(False, "replace results that are already in the folder", bool)
    resamples: int = option(1000, "bootstrap resamples of the 95 %% intervals", number(int, 10))

    resume = False  # Nothing is written before the end.
