"""What is asked for by name: attacks, models and sources of data, each a row. A new one is a function, a row, a test.

The command line, its help, the sweep, titles, tables and figures follow from these rows.
"""

import functools
import pkgutil
from dataclasses import dataclass, field


@functools.cache
def resolve(reference):
    """What a reference names, e.g. `"chestrobust.attacks.gradient:pgd"`; its module is imported only now.

    The command line needs names and help without TensorFlow, and what a row names stands in wings above this floor.
    """
    return pkgutil.resolve_name(reference)


def _same(*names, **others):
    return {**{name: name for name in names}, **others}


ITERATED = _same("epsilon", "steps", "restarts", "seed", "precision")
AUTO = {**ITERATED, "random_start": None}
QUERIES = _same("epsilon", "seed", steps="queries", restarts=None, random_start=None)


@dataclass(frozen=True, kw_only=True)
class AttackRow:
    """A named attack.

    Attributes:
        title: Its name in tables and figures.
        function: Reference to `function(model, images, labels, ...)`, or None if the images stay as they are.
        loss: Name of the `Task` attribute that is the loss it climbs, or None if the function takes none.
        weights: Reference to what makes of `(labels, label)` what its loss takes in their place; None: the labels.
        aim: Reference to what makes of a whole split's `(labels, scores)` what takes the place of labels and the loss,
            for an attack on the macro AUC of several labels; None if it sees each image for itself.
        against: The attack, at the same settings, under which these scores are the model's.
        parameters: Which fields of `named.Attack` it has, with the function's name for each, or None for a field that
            is recorded alone, as the function starts like this by itself.
        defaults: Values of these fields that no option sets.
        wanted: What every label is to be, 1 or 0, of an attack whose function fits one change for all images on those
            of training; None if each image has its own.
        gradient, radius, source: Whether it needs the model's gradient, a radius, and another model on which its images
            are made.
        label: Whether it needs the index of a label; None if it takes one, or all labels without one.
        extra: Whether `--extra` offers it.
        help: What it is in the help of `--extra`, if the name doesn't say it.
        note: What a reader of its score has to know besides.
    """

    title: str
    function: str | None
    loss: str | None = "loss"
    weights: str | None = None
    aim: str | None = None
    against: str | None = None
    parameters: dict[str, str | None] = field(default_factory=dict)
    defaults: dict[str, float] = field(default_factory=dict)
    wanted: int | None = None
    gradient: bool = True
    label: bool | None = False
    radius: bool = True
    source: bool = False
    extra: bool = False
    help: str = ""
    note: str = ""


_GRADIENT, _BLACKBOX = "chestrobust.attacks.gradient", "chestrobust.attacks.blackbox"
_AWAY, _TOWARD = "chestrobust.losses:direction", "chestrobust.losses:presence"
_PGD = {"function": f"{_GRADIENT}:pgd", "parameters": {**ITERATED, **_same("step_size", "random_start")}}
_APGD = {"function": "chestrobust.attacks.autopgd:apgd", "parameters": AUTO}
_FALLING = {"function": "chestrobust.attacks.autopgd:falling_pgd", "parameters": AUTO}
_AT_MARGIN = {"loss": None, "aim": "chestrobust.attacks.aim:by_margin", "against": "clean"}
_AT_PAIRS = {"loss": None, "aim": "chestrobust.attacks.aim:by_pairs", "against": "apgd-auc"}
_UNIVERSAL = {
    "function": "chestrobust.attacks.universal:fit",
    "loss": None,
    "parameters": {**_same("epsilon", "precision", "steps"), "seed": None},
    "defaults": {"steps": 200},
    "label": None,
    "extra": True,
}
_CORRUPTIONS = "chestrobust.attacks.corruptions"
_CLINICAL = {"loss": None, "defaults": {"epsilon": 1.0}, "gradient": False, "radius": False}
_SQUARE = {"function": f"{_BLACKBOX}:square", "parameters": QUERIES, "gradient": False}

ATTACKS = {
    "clean": AttackRow(title="clean", function=None, gradient=False, radius=False),
    "fgsm": AttackRow(title="FGSM", function=f"{_GRADIENT}:fgsm", parameters=_same("epsilon", "precision", seed=None)),
    "pgd": AttackRow(title="PGD", **_PGD),
    "pgd-auc": AttackRow(title="PGD-AUC", **_PGD, **_AT_MARGIN),
    "transfer": AttackRow(title="transfer", **_PGD, source=True),
    "apgd-bce": AttackRow(title="APGD-BCE", **_APGD),
    "apgd-ce": AttackRow(title="APGD-CE", **_APGD),
    "apgd-margin": AttackRow(title="APGD-margin", **_APGD, loss="margin"),
    "apgd-auc": AttackRow(title="APGD-AUC", **_APGD, **_AT_MARGIN),
    "apgd-pairs": AttackRow(title="APGD-pairs", **_APGD, **_AT_PAIRS),
    "apgd": AttackRow(
        title="APGD",
        **_APGD,
        loss="margin",
        note="With a single label the attacks on cross-entropy, margin and AUC are one and the same.",
    ),
    "label-margin": AttackRow(title="each label", **_FALLING, loss="linear", weights=_AWAY, label=True),
    "square": AttackRow(title="Square", **_SQUARE),
    "square-margin": AttackRow(title="Square-margin", **_SQUARE, loss="margin"),
    "square-auc": AttackRow(title="Square-AUC", **_SQUARE, **_AT_MARGIN),
    "noise": AttackRow(
        title="noise",
        function=f"{_BLACKBOX}:noise",
        loss=None,
        parameters=_same("epsilon", "seed"),
        gradient=False,
        extra=True,
    ),
    "hide": AttackRow(title="hide", **_APGD, loss="hide", extra=True, help="all findings"),
    "invent": AttackRow(title="invent", **_APGD, loss="linear", weights=_TOWARD, label=True, extra=True),
    "universal-hide": AttackRow(title="universal hide", **_UNIVERSAL, wanted=0, help="one change for all images"),
    "universal-invent": AttackRow(title="universal invent", **_UNIVERSAL, wanted=1),
    "ni-fgsm": AttackRow(
        title="NI-FGSM",
        function=f"{_GRADIENT}:ni_fgsm",
        parameters=_same("epsilon", "steps", "precision"),
        extra=True,
        help="Nesterov momentum",
    ),
    "one-pixel": AttackRow(
        title="one-pixel",
        function=f"{_BLACKBOX}:one_pixel",
        loss="margin",
        parameters=_same("seed", epsilon=None),
        defaults={"epsilon": 1.0},
        gradient=False,
        radius=False,
        extra=True,
    ),
    "corruption": AttackRow(
        title="corruption",
        function=f"{_CORRUPTIONS}:corruption",
        parameters=_same("kind", "strength", "seed", epsilon=None),
        **_CLINICAL,
    ),
    "exposure": AttackRow(
        title="exposure",
        function=f"{_CORRUPTIONS}:exposure",
        parameters=_same("strength", "seed", epsilon=None),
        **_CLINICAL,
    ),
}


def attack(name):
    """The `AttackRow` of a name as options and results have it, such as `invent=mass`; None for a sum of several."""
    return ATTACKS.get(name.partition("=")[0])


def in_a_ball(name):
    """Whether rows of that name are of images with each pixel within a radius, as images as they are have it of any."""
    row = attack(name)
    return name != "certified" and (row is None or row.radius or row.function is None)


def extras():
    """How each attack of `--extra` is written, with its help in brackets."""
    offered = {name: row for name, row in ATTACKS.items() if row.extra}
    findings = {True: "=FINDING", None: "[=FINDING]", False: ""}
    return [f"{name}{findings[row.label]}{f' ({row.help})' if row.help else ''}" for name, row in offered.items()]


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """A model of `--model`.

    Attributes:
        builder: Reference to `build(input_shape, num_labels, ...)` if hand-made, else to what makes a backbone of
            `(row, size, pretrained)`.
        normalization: Reference to the scale and offset of the pixels in [0, 1] that a backbone takes; None if
            hand-made.
        published: Name of the class in `keras.applications`, or of keras-hub's preset.
        patch: Pixels along a side of a transformer's patch; None if it has feature maps.
        published_size: Image size in pixels that the published weights are bound to; None if they take any.
        settings: What else the builder takes.
    """

    builder: str
    normalization: str | None = None
    published: str | None = None
    patch: int | None = None
    published_size: int | None = None
    settings: dict[str, list[int]] = field(default_factory=dict)

    @property
    def hand_made(self):
        return self.normalization is None


_NETWORKS, _BACKBONES = "chestrobust.models.networks", "chestrobust.models.backbones"


def _application(normalization, name):
    return ModelRow(builder=f"{_BACKBONES}:application", normalization=f"{_BACKBONES}:{normalization}", published=name)


def _resnet(preset, *blocks):
    return ModelRow(
        builder=f"{_BACKBONES}:resnet",
        normalization=f"{_BACKBONES}:BY_IMAGENET",
        published=preset,
        settings={"stackwise_num_blocks": list(blocks)},
    )


MODELS = {
    "cnn": ModelRow(builder=f"{_NETWORKS}:build_cnn"),
    "robust_cnn": ModelRow(builder=f"{_NETWORKS}:build_robust_cnn"),
    "vgg": ModelRow(builder=f"{_NETWORKS}:build_vgg"),
    "covid_cnn": ModelRow(builder=f"{_NETWORKS}:build_covid_cnn"),
    "certified_cnn": ModelRow(builder=f"{_NETWORKS}:build_certified_cnn"),
    "resnet18": _resnet("resnet_18_imagenet", 2, 2, 2, 2),
    "resnet34": _resnet("hf://timm/resnet34.a1_in1k", 3, 4, 6, 3),
    "resnet50": _application("CAFFE", "ResNet50"),
    "efficientnet_b0": _application("BYTES", "EfficientNetB0"),
    "densenet121": _application("BY_IMAGENET", "DenseNet121"),
    "vgg16": _application("CAFFE", "VGG16"),
    "mobilenet_v2": _application("AROUND_ZERO", "MobileNetV2"),
    "vit_b16": ModelRow(
        builder=f"{_BACKBONES}:vit",
        normalization=f"{_BACKBONES}:AROUND_ZERO",
        published="vit_base_patch16_224_imagenet",
        patch=16,
        published_size=224,
    ),
    "dinov2_s14": ModelRow(
        builder=f"{_BACKBONES}:dinov2",
        normalization=f"{_BACKBONES}:BY_IMAGENET",
        published="dinov2_small",
        patch=14,
    ),
}


def hand_made():
    """The hand-made models, as help lists them."""
    return ", ".join(name for name, row in MODELS.items() if row.hand_made)


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """A source of data of `--data`.

    Attributes:
        loader: Reference to a function that returns `Splits`.
        parameters: What it takes of `name`, `root`, `size`, `data_dir`, `limit`, `limits` and `progress`; see
            `data.load`.
        size: Image size in pixels unless another is asked for; None if the loader knows.
        root: What the folder holds that its option names; None if there is none.
        help: How the help of `--data` calls it; None if it is one of a kind that is called together.
    """

    loader: str
    parameters: tuple[str, ...]
    size: int | None = None
    root: str | None = None
    help: str | None = None


# The 2-D sets; a test holds this list against medmnist.info.
MEDMNIST = (
    "pathmnist",
    "chestmnist",
    "dermamnist",
    "octmnist",
    "pneumoniamnist",
    "retinamnist",
    "breastmnist",
    "bloodmnist",
    "tissuemnist",
    "organamnist",
    "organcmnist",
    "organsmnist",
)


def _medmnist(help=None):
    return SourceRow(
        loader="chestrobust.data.sources.medmnist_npz:load_name", parameters=("name", "size", "data_dir"), help=help
    )


def _folder(name, root):
    return SourceRow(
        loader=f"chestrobust.data.sources.{name}:load",
        parameters=("root", "size", "data_dir", "limits"),
        size=28,
        root=root,
        help=name,
    )


SOURCES = {
    **{name: _medmnist(name if name in ("chestmnist", "pneumoniamnist") else None) for name in MEDMNIST},
    "nih": _folder("nih", "Data_Entry_2017.csv and images"),
    "covid": _folder("covid", "metadata.csv and images"),
    "folders": _folder("folders", "a folder per class, or train and test folders of such"),
    "phantom": SourceRow(
        loader="chestrobust.data.sources.phantom:load",
        parameters=("size", "limit", "limits", "progress"),
        size=28,
        help="phantom (made-up data)",
    ),
}


def sources():
    """How the help of `--data` calls the sources."""
    return ", ".join(row.help for row in SOURCES.values() if row.help)
