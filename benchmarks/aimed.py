"""What one attacked image per patient leaves of the macro AUC, by what the attack aims at: two Markdown tables.

    python benchmarks/aimed.py --data chestmnist_28.npz --run runs/aimed

Trains three undefended models, which differ in the loss alone, and an adversarially trained one by the default recipe,
or takes those that are already in the folders 0 to 3 of the run, and attacks the test split with the suite's gradient
attacks. The macro AUC is blind to a shift or a positive factor of a label's logits; cross-entropy and margin aren't,
and are fooled by the loss that a model was trained with. The second table says how much the joint score changes when
logits are calibrated: of the attacks on all labels at once, as in the first but for those on each label alone.
"""

import argparse
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from chestrobust import commandline, data, runs, startup

MODELS = {
    "bce, undefended": ["--loss", "bce"],
    "focal, undefended": ["--loss", "focal"],
    "asymmetric, undefended": ["--loss", "asymmetric"],
    "adversarially trained": [],
}
CALIBRATIONS = ("+3", "prior correction", "pos_weight 20", "factors 0.1 to 10")
ATTACKS = ("apgd-bce", "apgd-margin", "apgd-auc", "apgd-pairs")


def main(arguments=None):
    """Train what is missing, attack, and print a row per model in each table."""
    options = parse(arguments)
    folders = {name: Path(options.run) / str(number) for number, name in enumerate(MODELS)}
    for name, folder in folders.items():
        if not runs.Run(folder).finished:
            train(name, folder, options, baseline=folders["bce, undefended"])
    from chestrobust import models
    from chestrobust.attacks import named

    splits = data.load(options.data)
    settings = {"epsilon": options.epsilon, "steps": options.steps, "restarts": 1, "queries": 1, "seed": 0}
    suite = named.standard_suite(splits.task, len(splits.label_names), **settings)
    together = [suite[name][0] for name in ATTACKS]
    classifiers = {name: models.logits(models.load(folder / "model.keras")) for name, folder in folders.items()}
    print(f"{len(splits.test)} test images, epsilon {options.epsilon:.4f}, {options.steps} steps, seed {options.seed}")
    head("Model", "clean", *(attack.row.title for attack in together), "joint", "floor")
    for name, model in classifiers.items():
        row(name, *(f"{score:.4f}" for score in scores(model, splits, together, suite["label-margin"])))
    head("Model", *CALIBRATIONS)
    for name, model in classifiers.items():
        row(name, *(f"{change:+.4f}" for change in changes(model, splits, together)))


def train(name, folder, options, baseline):
    """One of the models by the training scripts, with the options that it takes to be evaluated at this radius."""
    step = options.epsilon / 4
    given = ["--data", options.data, "--run", folder, "--epsilon", options.epsilon, "--step-size", step]
    given += ["--seed", options.seed, *MODELS[name], "--resume"]
    given += ["--epochs", options.epochs] if options.epochs else []
    script = "diagnosis.py"
    if name.startswith("adversarially"):
        script = "diagnosis_adv.py"
        given += ["--baseline", baseline]
    subprocess.run(
        [sys.executable, Path(__file__).resolve().parents[1] / script, *map(str, given)], check=True, stdout=sys.stderr
    )


def scores(model, splits, together, each):
    """Macro AUCs of a model: clean, under each attack, the worst image of them all, and per-label worst found."""
    from chestrobust.evaluation import metrics, outcomes

    task, labels, found = splits.task, splits.test.labels, answers(model, splits, [*together, *each])
    single = [*found[: 1 + len(together)], outcomes.joint(task, labels, found, found[0])]
    return [metrics.macro(metrics.auc(labels, logits)) for logits in (*single, outcomes.floor(task, labels, found))]


def changes(model, splits, together):
    """By how much the joint score of a model changes with each of the `CALIBRATIONS`, which no clean AUC notices."""
    from chestrobust.evaluation import metrics, outcomes

    def joint(factors, offsets):
        found = answers(calibrated(model, factors, offsets), splits, together)
        return metrics.macro(metrics.auc(labels, outcomes.joint(splits.task, labels, found, found[0])))

    labels = splits.test.labels
    before = joint(1.0, 0.0)
    return [joint(*how) - before for how in calibrations(splits)]


def calibrations(splits):
    """Factors and offsets of the labels' logits, as training labels tell them, in the order of `CALIBRATIONS`."""
    from chestrobust import losses

    positives, count = splits.train.labels.sum(axis=0, dtype=float), len(splits.train)
    prior = np.log((count - positives + 1) / (positives + 1))
    weighted = np.log(losses.rarity(splits.task, splits.train.labels))
    return (1.0, 3.0), (1.0, prior), (1.0, weighted), (np.geomspace(0.1, 10, len(positives)), 0.0)


def calibrated(model, factors, offsets):
    """A model whose logits are multiplied and moved, by a layer that its fast twin knows."""
    import keras

    many = np.ones(model.output_shape[-1])
    rescaled = keras.layers.Rescaling((factors * many).tolist(), (offsets * many).tolist())(model.output)
    return keras.Model(model.input, rescaled)


def answers(model, splits, attacks):
    """Logits of the test images, clean and under each attack, `(1 + len(attacks), count, num_labels)`."""
    from chestrobust.attacks import named
    from chestrobust.evaluation import outcomes

    known = {}
    for attack in (named.CLEAN, *attacks):
        known[attack] = outcomes.run(model, splits.task, splits.test, attack, progress=True, known=known)
    return np.stack([outcome.logits for outcome in known.values()])


def head(first, *others):
    """The two lines with which a table begins."""
    print()
    row(first, *others)
    row("---", *["---:"] * len(others))


def row(*cells):
    """A line of a table."""
    print("|", " | ".join(cells), "|", flush=True)


def parse(arguments):
    """The options; lengths are written as in the scripts, e.g. 4/255."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    count = commandline.number(int, 1)
    parser.add_argument("--data", required=True, help="multi-label data, as in diagnosis.py")
    parser.add_argument("--run", default="runs/aimed", help="folder of the four runs")
    parser.add_argument("--epsilon", type=commandline.length, default=4 / 255, help="radius in pixel units of [0, 1]")
    parser.add_argument("--steps", type=count, default=50, help="gradient steps of each attack")
    parser.add_argument("--epochs", type=count, help="of each training (default: those of the training scripts)")
    parser.add_argument("--seed", type=commandline.number(int, 0), default=0, help="of each training")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(startup.run_script(main))
