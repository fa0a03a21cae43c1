"""What one attacked image per patient leaves of the macro AUC, by what the attack aims at: a Markdown table.

    python benchmarks/aimed.py --data chestmnist_28.npz --run runs/aimed

Trains three undefended models, which differ in the loss alone, and an adversarially trained one, or takes those that
are already in the folders 0 to 3 of the run, and attacks the test split with the suite's gradient attacks.
The macro AUC is blind to a shift or a positive factor of a label's logits; cross-entropy and margin aren't, and are
fooled by the loss that a model was trained with.
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
    "adversarially trained, bce": ["--loss", "bce"],
}
ATTACKS = ("apgd-bce", "apgd-margin", "apgd-auc", "apgd-pairs")


def main(arguments=None):
    """Train what is missing, attack, and print a row per model."""
    options = parse(arguments)
    folders = {name: Path(options.run) / str(number) for number, name in enumerate(MODELS)}
    for name, folder in folders.items():
        if not runs.Run(folder).finished:
            train(name, folder, options, baseline=folders["bce, undefended"])
    from chestrobust.attacks import named

    splits = data.load(options.data)
    settings = {"epsilon": options.epsilon, "steps": options.steps, "restarts": 1, "queries": 1, "seed": 0}
    suite = named.standard_suite(splits.task, len(splits.label_names), **settings)
    header = ["Model", "clean", *(suite[name][0].row.title for name in ATTACKS), "joint", "floor"]
    print(
        f"{len(splits.test)} test images, epsilon {options.epsilon:.4f}, {options.steps} steps, seed {options.seed}\n"
    )
    print("|", " | ".join(header), "|\n|", " | ".join(["---", *["---:"] * (len(header) - 1)]), "|", flush=True)
    for name, folder in folders.items():
        print("|", " | ".join([name, *row(folder / "model.keras", splits, suite)]), "|", flush=True)


def train(name, folder, options, baseline):
    """One of the models by the training scripts, with the options that it takes to be evaluated at this radius."""
    step = options.epsilon / 4
    given = ["--data", options.data, "--run", folder, "--epsilon", options.epsilon, "--step-size", step]
    given += ["--seed", options.seed, "--epochs", options.epochs, *MODELS[name], "--resume"]
    script = "diagnosis.py"
    if name.startswith("adversarially"):
        script = "diagnosis_adv.py"
        given += ["--baseline", baseline, "--train-epsilon", options.epsilon, "--train-step-size", step]
        given += ["--method", "online"]
    subprocess.run(
        [sys.executable, Path(__file__).resolve().parents[1] / script, *map(str, given)], check=True, stdout=sys.stderr
    )


def row(path, splits, suite):
    """Macro AUCs of a model: clean, under each attack, the worst image of them all, and per-label worst found."""
    from chestrobust import models
    from chestrobust.attacks import named
    from chestrobust.evaluation import metrics, outcomes

    task, labels, model = splits.task, splits.test.labels, models.logits(models.load(path))
    known = {}
    for attack in (named.CLEAN, *(suite[name][0] for name in ATTACKS), *suite["label-margin"]):
        known[attack] = outcomes.run(model, task, splits.test, attack, known=known)
    found = np.stack([outcome.logits for outcome in known.values()])
    single = [*found[: 1 + len(ATTACKS)], outcomes.joint(task, labels, found, found[0])]
    return [f"{metrics.macro(metrics.auc(labels, z)):.4f}" for z in (*single, outcomes.floor(task, labels, found))]


def parse(arguments):
    """The options; lengths are written as in the scripts, e.g. 4/255."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    count = commandline.number(int, 1)
    parser.add_argument("--data", required=True, help="multi-label data, as in diagnosis.py")
    parser.add_argument("--run", default="runs/aimed", help="folder of the four runs")
    parser.add_argument("--epsilon", type=commandline.length, default=4 / 255, help="radius in pixel units of [0, 1]")
    parser.add_argument("--steps", type=count, default=50, help="gradient steps of each attack")
    parser.add_argument("--epochs", type=count, default=20, help="of each training")
    parser.add_argument("--seed", type=commandline.number(int, 0), default=0, help="of each training")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(startup.run_script(main))
