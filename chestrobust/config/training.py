"""Options of the scripts that train: `diagnosis.py`, `diagnosis_adv.py` and `tune.py`."""

from dataclasses import dataclass

from chestrobust import catalogue
from chestrobust.commandline import length, number, option
from chestrobust.config import methods, recipes, shared
from chestrobust.config.architecture import check_model
from chestrobust.config.shared import FoldersConfig
from chestrobust.errors import ExpectedError, setting


@dataclass(frozen=True)
class BaselineConfig(FoldersConfig):
    """Options of `diagnosis.py`; `diagnosis_adv.py` has them too."""

    data: str = option(
        "chestmnist",
        f"{catalogue.sources()}, another 2-D MedMNIST set, or a path to an .npz file",
        group="data",
    )
    size: int | None = shared.size(f"what a file holds, else {shared.SIZE}")
    data_dir: str = shared.data_dir(shared.DATA_DIR)
    limit: int | None = shared.limit()
    run: str = shared.run("runs/baseline")
    overwrite: bool = shared.overwrite()
    resume: bool = option(False, "continue an unfinished run in the folder", bool, group="run")
    seed: int = shared.seed(0, "weights, shuffling, dropout and attacks")
    recipe: str | None = option(
        None,
        f"set of options, which those of the command line win over: {recipes.described()} (default of diagnosis_adv.py "
        "without --method, --init-from and --params: default; else none of them)",
        group="training",
        choices=tuple(recipes.RECIPES),
    )
    params: str | None = option(
        None,
        "JSON file of options, such as tune.py's best.json or a run's config.json; the command line wins over it",
        group="run",
        metavar="FILE",
    )
    folds: int | None = option(
        None,
        "cross-validation: deal all images out anew, by patient, and train and test this many times; mean and spread "
        "of the scores go to RUN/kfold.json (default of --run: runs/kfold)",
        number(int, 3),
        group="run",
    )
    precision: str = shared.precision("convolutions in training and gradient attacks")
    strategy: str = shared.strategy()
    debug: bool = shared.debug()

    model: str = option(
        "cnn",
        f"architecture: hand-made ({catalogue.hand_made()}) or a known backbone",
        group="model",
        choices=tuple(catalogue.MODELS),
    )
    weights: str = option(
        "none",
        "where a backbone's weights come from: none (random), imagenet (downloaded; dinov2_s14's are those of its "
        "authors), or a .keras or .h5 FILE of the same backbone",
        group="model",
    )
    freeze: bool = option(
        False, "train the head alone and leave the backbone as it is, its BatchNorm too", bool, group="more: model"
    )
    backbone_size: int | None = option(
        None,
        "pixels along a side that a backbone sees, images are resized in the model (default: their own size, at "
        "least 32; transformers 224)",
        number(int, 32, 1024),
        group="more: model",
    )
    attention: str = option(
        "none",
        "squeeze-and-excitation or CBAM, after each block of a hand-made model or on a backbone's last feature map",
        group="more: model",
        choices=("none", "se", "cbam"),
    )
    dropout: float = option(
        shared.DROPOUT,
        "share of units dropped before dense layers; covid_cnn has none",
        number(float, 0, 1, open_high=True),
        group="more: model",
    )

    epochs: int = option(20, "largest number of passes over the training images", number(int, 1), group="training")
    batch_size: int = option(64, "images per training step", number(int, 1), group="training")
    learning_rate: float = option(1e-3, "learning rate at the start", number(float, 0, open_low=True), group="training")
    loss: str = option(
        "bce",
        "loss of training: bce (softmax cross-entropy if multi-class), weighted by how rare each label is, focal; or "
        "if labels don't exclude each other, asymmetric or pairwise (half of it for the AUC)",
        group="training",
        choices=("bce", "weighted", "focal", "asymmetric", "pairwise"),
    )
    patience: int = option(
        5, "epochs without a better validation macro AUC before training stops", number(int, 1), group="more: training"
    )
    sampler: str = option(
        "shuffle",
        "shuffle shows each training image once per epoch; balanced draws as many images, from each finding and from "
        "those without any equally often",
        group="more: training",
        choices=("shuffle", "balanced"),
    )
    optimizer: str = option("adam", "optimizer", group="more: training", choices=("adam", "adamw", "rmsprop", "sgd"))
    schedule: str = option(
        "exponential",
        "learning rate over time: exponential multiplies it by 0.9 per 1000 steps, cosine and linear end at 0",
        group="more: training",
        choices=("exponential", "cosine", "linear", "constant"),
    )
    warmup: float = option(
        0.0,
        "share of the steps in which the learning rate first rises from 0; then the schedule begins",
        number(float, 0, 1, open_high=True),
        group="more: training",
    )
    weight_decay: float = option(0.004, "weight decay of adamw", number(float, 0), group="more: training")
    clip_norm: float = option(
        0.0, "largest length of a step's gradient; 0 for any", number(float, 0), group="more: training"
    )
    ema: float = option(
        0.0,
        "share of the running average of all weights that is kept at each step, such as 0.995: the average is "
        "validated and saved in the place of the weights; 0 for none",
        number(float, 0, 1, open_high=True),
        group="more: training",
    )
    label_smoothing: float = option(
        0.0,
        "share of the way that the labels of the loss are moved towards a half, or towards all classes alike",
        number(float, 0, 1),
        group="more: training",
    )
    augment: str = option(
        "none",
        "random changes of training images: light is rotation 4, translation 1/28, scale 0.05 and edges, vgg rotation "
        "15, translation 0.1 and flip, covid_cnn crop 0.875, rotation 30 and flip; what follows changes these",
        group="more: augmentation",
        choices=("none", "light", "vgg", "covid_cnn"),
    )
    rotation: float | None = option(
        None, "largest rotation either way, in degrees", number(float, 0, 180), group="more: augmentation"
    )
    translation: float | None = option(
        None, "largest shift either way, as a share of the side", number(float, 0, 1), group="more: augmentation"
    )
    flip: bool | None = option(
        None,
        "mirror half of the images; a mirrored chest has its heart on the right",
        bool,
        group="more: augmentation",
    )
    crop: float | None = option(
        None,
        "share of the side that a random crop keeps before it is enlarged again",
        number(float, 0, 1, open_low=True),
        group="more: augmentation",
    )
    scale: float | None = option(
        None,
        "largest change of size either way, as a share of it",
        number(float, 0, 1, open_high=True),
        group="more: augmentation",
    )
    edges: bool | None = option(
        None,
        "repeat the pixels at the edge where an image is moved in from outside; else that is black",
        bool,
        group="more: augmentation",
    )

    epsilon: float = option(
        0.05, "radius of the evaluation attacks in pixel units of [0, 1], e.g. 8/255", length, group="evaluation"
    )
    step_size: float = option(0.01, "length of one PGD step of the evaluation, same units", length, group="evaluation")
    steps: int = option(10, "PGD steps of the evaluation", number(int, 1), group="evaluation")
    restarts: int = option(
        1,
        "random starts of the evaluation's PGD; the worst per image counts",
        number(int, 1),
        group="evaluation",
    )

    def __post_init__(self):
        check_model(self)


@dataclass(frozen=True)
class AdversarialConfig(BaselineConfig):
    """Options of `diagnosis_adv.py`."""

    WITHOUT = ("folds",)
    RECIPE = "default"

    run: str = shared.run("runs/robust")
    init_from: str | None = option(
        None,
        "run whose weights to start from (fine-tuning) instead of random ones, or any .keras or .h5 FILE, which brings "
        "its own architecture",
        group="adversarial training",
        metavar="RUN",
    )
    baseline: str | None = option(
        None,
        "finished run to compare with, or any .keras or .h5 FILE (default: the file of --init-from, else runs/baseline "
        "if it fits, else one is trained in RUN/baseline)",
        group="adversarial training",
        metavar="RUN",
    )
    input_range: tuple[str, ...] = shared.input_range()
    import_: str | None = shared.import_()
    train_epsilon: float = option(
        0.05, "radius of the training attacks in pixel units of [0, 1]", length, group="adversarial training"
    )
    train_step_size: float = option(
        0.0125, "length of one PGD step in training, same units", length, group="adversarial training"
    )
    train_steps: int = option(
        7,
        "PGD steps in training; of free, steps of the optimizer on each batch, at a pass each",
        number(int, 1),
        group="adversarial training",
    )
    method: str = option(
        "online",
        f"adversarial images of the current weights in every step: {methods.described()}. Or static: made once, by "
        "FGSM on the model it starts from (--init-from, else the baseline), and fine-tuned on clean and adversarial "
        "images alike",
        group="more: adversarial training",
        choices=tuple(methods.METHODS),
    )
    adv_weight: float = option(
        0.5,
        "share of the loss that comes from adversarial images, or from bounds; 1 leaves clean ones out, but for online",
        number(float, 0, 1),
        group="more: adversarial training",
    )
    beta: float = option(
        6.0, "weight of the divergence of trades", number(float, 0), group="more: adversarial training"
    )
    weight_epsilon: float = option(
        0.005,
        "how far awp moves each kernel's weights up the loss, as a share of their length",
        number(float, 0, 1),
        group="more: adversarial training",
    )
    radius_warmup: float | None = option(
        None,
        "share of the steps in which the radius of the training attacks grows from 0 to its full size, and the weight "
        "of bounds with it (default: 0; certified: 0.5)",
        number(float, 0, 1),
        group="more: adversarial training",
    )
    select_epsilon: float | None = option(
        None,
        "radius of the attack on validation images, or of their bounds, that chooses the checkpoint (default: that of "
        "the evaluation)",
        length,
        group="more: adversarial training",
    )
    attack_loss: str = option(
        "task",
        "loss that the training attacks climb: the task's cross-entropy, or that of --loss",
        group="more: adversarial training",
        choices=("task", "training"),
    )

    def __post_init__(self):
        super().__post_init__()
        methods.check_used(self, AdversarialConfig)


@dataclass(frozen=True)
class TuneConfig(AdversarialConfig):
    """Options of `tune.py`: those of training, but for what would continue or compare a single run."""

    WITHOUT = (
        *("overwrite", "resume", "folds", "init_from", "baseline", "input_range", "import_"),
        *("strategy", "recipe", "method", "beta", "weight_epsilon"),
    )
    RECIPE = None

    run: str = shared.run("runs/tune", "folder of the search")
    trials: int = option(30, "trainings in all, over all starts and processes", number(int, 1), group="search")
    adversarial: bool = option(False, "search options of diagnosis_adv.py", bool, group="search")
    objective: str = option(
        "clean",
        "validation AUC to maximize: clean, or under PGD",
        group="search",
        choices=("clean", "robust"),
    )


def check_brought(options):
    """Refuse options of the model beside a file that brings its own.

    Raises:
        ExpectedError: With the first of them.
    """
    for name in ("model", "attention", "dropout", "backbone_size", "freeze"):
        if (received := getattr(options, name)) != getattr(BaselineConfig, name):
            raise ExpectedError(
                f"{setting(name)}: expected none beside a file that brings its own model. Received: {received}. "
                f"Leave {setting(name)} out."
            )


def check_task(options, task):
    """Refuse a loss that isn't defined for the data's task."""
    if options.loss not in task.training_losses:
        known = ", ".join(task.training_losses)
        raise ExpectedError(f"{setting('loss', options.loss)}: expected one of {known} for {task} data. Use focal.")
