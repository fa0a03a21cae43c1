"""Every option of the scripts, once: name, default, unit and range. The command line is made from it."""

import argparse
import dataclasses
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path


class ExpectedError(Exception):
    """Something the user can put right: printed as one line, exit code 2, no traceback."""


def option(default, text, parse=str, **settings):
    """A dataclass field that is also a command-line option, or an argument if the default is `ARGUMENT`.

    `parse` and `settings` go to argparse.
    """
    return dataclasses.field(default=default, metadata={"help": text, "parse": parse, **settings})


ARGUMENT = dataclasses.MISSING


def length(text):
    """Parse a length in pixel units of [0, 1], as a decimal or as papers write it: `8/255`."""
    try:
        numerator, slash, denominator = text.partition("/")
        value = float(numerator) / (float(denominator) if slash else 1)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(
            f"expected a number in [0, 1] such as 0.03 or 8/255. Received: {text!r}"
        ) from None
    if not 0 <= value <= 1:
        hint = f" Did you mean {text}/255?" if 1 < value <= 255 and "/" not in text else ""
        raise argparse.ArgumentTypeError(
            f"images run from 0 to 1, so a length must lie in [0, 1]. Received: {text}.{hint}"
        )
    return value


def number(kind, low, high=math.inf, *, open_low=False, open_high=False):
    """A parser for an `int` or `float` between `low` and `high`; an open end is excluded."""
    bounds = f"{'>' if open_low else '>='} {low}"
    if high < math.inf:
        bounds += f" and {'<' if open_high else '<='} {high}"

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        inside = (low < value if open_low else low <= value) and (value < high if open_high else value <= high)
        if not inside or math.isinf(value):
            noun = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"expected {noun} {bounds}. Received: {text}")
        return value

    return parse


def file_name(text):
    """Check a name that becomes a file's: no folder in it."""
    if not text or text.startswith(".") or "/" in text or "\\" in text:
        raise argparse.ArgumentTypeError(f"expected a name without folders. Received: {text!r}")
    return text


def extra_attack(text):
    """Check the name of an attack for `--extra`; whether its finding exists is known once the data are."""
    name, _, finding = text.partition("=")
    if (name == "invent") != bool(finding) or name not in ("noise", "hide", "invent", "one-pixel"):
        raise argparse.ArgumentTypeError(f"expected noise, hide, invent=FINDING or one-pixel. Received: {text}")
    return text


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


@dataclass(frozen=True)
class BaselineConfig:
    """Options of `diagnosis.py`; `diagnosis_adv.py` has them too."""

    data: str = option(
        "chestmnist",
        "chestmnist, pneumoniamnist, another 2-D MedMNIST set, phantom (made-up data), or a path to an .npz file",
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
    dropout: float = option(0.5, "share of units dropped before each dense layer", number(float, 0, 1, open_high=True))

    epsilon: float = option(0.05, "radius of the evaluation attacks in pixel units of [0, 1], e.g. 8/255", length)
    step_size: float = option(0.01, "length of one PGD step of the evaluation, same units", length)
    steps: int = option(10, "PGD steps of the evaluation", number(int, 1))
    restarts: int = option(1, "random starts of the evaluation's PGD; the worst per image counts", number(int, 1))


@dataclass(frozen=True)
class AdversarialConfig(BaselineConfig):
    """Options of `diagnosis_adv.py`."""

    run: str = option("runs/robust", "folder that this run writes")
    init_from: str | None = option(None, "run whose weights to start from (fine-tuning) instead of random ones")
    baseline: str | None = option(
        None, "finished run to compare with (default: runs/baseline if it fits, else one is trained in RUN/baseline)"
    )
    adv_weight: float = option(0.5, "share of the loss that comes from adversarial images", number(float, 0, 1))
    train_epsilon: float = option(0.05, "radius of the training attacks in pixel units of [0, 1]", length)
    train_step_size: float = option(0.0125, "length of one PGD step in training, same units", length)
    train_steps: int = option(7, "PGD steps in training", number(int, 1))


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of `evaluate.py`."""

    subject: str = option(
        ARGUMENT, "run folder, or a .keras file with sigmoid, softmax or logit outputs", metavar="RUN"
    )
    data: str | None = option(None, "data set as in diagnosis.py (default: the run's own)")
    size: int | None = option(None, "image size in pixels (default: the run's own)", int, choices=(28, 64, 128, 224))
    data_dir: str = option("~/.medmnist", "folder of the MedMNIST files")
    limit: int | None = option(None, "use only this many images of each split (default: the run's own)", number(int, 1))
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
        "further attacks: noise, hide (all findings), invent=FINDING, one-pixel",
        extra_attack,
        nargs="+",
        metavar="ATTACK",
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


class OneLineParser(argparse.ArgumentParser):
    """argparse without abbreviations, whose errors are one line."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, formatter_class=argparse.ArgumentDefaultsHelpFormatter, **settings)

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message}\n")


def parse(config_class, arguments=None, **settings):
    """Read a `config_class` from the command line; wrong options end the program with one line and code 2.

    Options in the file that `--params` names are read before those of the command line, which thus win.
    """
    parser = _parser(config_class, settings)
    read = parser.parse_args(arguments)
    if getattr(read, "params", None):
        given = sys.argv[1:] if arguments is None else arguments
        read = parser.parse_args([*_arguments(read.params, config_class), *given])
    return config_class(**vars(read))


def given(config_class, arguments=None):
    """Names of the options that are on the command line or in the file that `--params` names."""
    parser = _parser(config_class, {"add_help": False})
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    read = vars(parser.parse_args(arguments))
    return set(read) | set(_params(read["params"]) if "params" in read else ())


def _parser(config_class, settings):
    parser = OneLineParser(**settings)
    for field in dataclasses.fields(config_class):
        settings = dict(field.metadata)
        kind = settings.pop("parse")
        if field.name in getattr(config_class, "WITHOUT", ()):
            continue
        if kind is bool:
            settings["action"] = argparse.BooleanOptionalAction
        else:
            settings["type"] = kind
        if field.default is ARGUMENT:
            parser.add_argument(field.name, **settings)
            continue
        # A suppressed default keeps "(default: None)" out of the help; the dataclass supplies the value.
        hidden = field.default is None or isinstance(field.default, tuple)
        default = argparse.SUPPRESS if hidden else field.default
        parser.add_argument("--" + field.name.replace("_", "-"), dest=field.name, default=default, **settings)
    return parser


def _arguments(path, config_class):
    """The options in a file as command-line arguments; those that only the other training script has are left out."""
    names = {field.name for field in dataclasses.fields(config_class)}
    values = {name: value for name, value in _params(path).items() if name in names}
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def _params(path):
    """The options in a JSON file, by name."""
    try:
        values = json.loads(Path(path).expanduser().read_text())
    except (OSError, ValueError) as error:
        raise ExpectedError(f"--params {path}: expected a JSON file of options. Received: {error}.") from None
    known = {field.name for field in dataclasses.fields(AdversarialConfig) if field.metadata["parse"] is not bool}
    if not isinstance(values, dict) or not set(values) <= known - {"params"}:
        wrong = ", ".join(sorted(set(values) - known)) if isinstance(values, dict) else type(values).__name__
        raise ExpectedError(f"--params {path}: expected options of the training scripts. Received: {wrong}.")
    return values


def to_json(config):
    """The configuration as indented JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"
