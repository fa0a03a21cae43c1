"""Options that several scripts have, and the values that more than one place needs."""

from dataclasses import dataclass

from chestrobust import catalogue
from chestrobust.commandline import number, option

FOLDERS = tuple(name for name, row in catalogue.SOURCES.items() if row.root)  # data that are folders of images
SIZE, SIZES = 28, (28, 64, 128, 224)  # pixels along a side, and those of MedMNIST's files
DATA_DIR = "~/.medmnist"
DROPOUT = 0.5
RESAMPLES = 1000


def size(text):
    """Pixels along a side; `text` says what it is otherwise."""
    known = ", ".join(map(str, SIZES))
    return option(
        None, f"image size in pixels; MedMNIST has {known} (default: {text})", number(int, 8, 4096), group="data"
    )


def input_range():
    """Words that say which pixels a file takes, as `ranges.parse` reads them."""
    text = (
        "pixels that a .keras file takes, while epsilon stays in [0, 1]: LOW HIGH, standardized MEAN DEVIATION, "
        "imagenet, or per-image (default: 0 1; it is checked)"
    )
    return option((), text, group="model", nargs="+", metavar="RANGE")


def import_():
    """A file that is run before a model is read."""
    text = (
        "Python file that registers the classes of a .keras file. It is run, so take one that you trust; no code in a "
        "model file ever is"
    )
    return option(None, text, group="more: model", metavar="FILE")


def data_dir(default):
    """Where downloads are kept."""
    text = "folder of the MedMNIST files, shared with the medmnist package"
    return option(default, text, group="more: data", metavar="DIR")


def limit(text="use only this many images of each split, by a fixed shuffle"):
    """How many images of each split are used."""
    return option(None, text, number(int, 1), group="data")


def subset(part):
    """How many images of one part of the data are used."""
    return option(
        None, f"use only this many {part} images, by a fixed shuffle", number(int, 1), group="more: data", metavar="N"
    )


def run(default, text="folder that this run writes"):
    """The folder that is written."""
    return option(default, text, group="run")


def overwrite():
    """Whether a folder may be replaced."""
    return option(False, "replace what is already in the folder", bool, group="run")


def seed(default, text):
    """The seed of `text`."""
    return option(default, f"seed of {text}", number(int, 0, 2**31 - 1), group="run")


def resamples():
    """How many resamples an interval takes."""
    return option(RESAMPLES, "bootstrap resamples of the 95 %% intervals", number(int, 10), group="more: scores")


def precision(what):
    """The arithmetic of `what`."""
    return option(
        "auto",
        f"arithmetic of {what}; scores are always computed in float32. auto takes what the hardware is made for",
        group="more: running",
        choices=("auto", "float32", "bfloat16", "float16"),
    )


def strategy():
    """Which devices take part."""
    return option(
        "auto",
        "devices: mirrored takes all GPUs of a machine, multiworker those of the machines in TF_CONFIG; "
        "auto takes what is there, none a single device",
        group="more: running",
        choices=("auto", "none", "mirrored", "multiworker"),
    )


def debug():
    """Whether expected errors keep their traceback."""
    text = "show where in the code an error arose, also one that you can put right"
    return option(False, text, bool, group="more: running")


@dataclass(frozen=True, kw_only=True)
class FoldersConfig:
    """Options of data that are folders of images, for every script."""

    root: str | None = option(
        None,
        f"folder of the images, for --data {'; '.join(f'{name}: {catalogue.SOURCES[name].root}' for name in FOLDERS)}",
        group="data",
        formerly=tuple(f"{source}_root" for source in FOLDERS),
        metavar="DIR",
    )
    labels: str | None = option(
        None,
        "names of the labels of an .npz file of your own, with commas between them (default: its array label_names, "
        "else those of the MedMNIST set that it is called after)",
        group="more: data",
        metavar="A,B,C",
    )
    train_subset: int | None = subset("training")
    val_subset: int | None = subset("validation")
    metadata: bool | None = option(
        None,
        "join age, sex and view to the features of the image, where the data tell them: nih, covid",
        bool,
        group="more: data",
    )
