"""Attack one trained model with other libraries and with ours at an equal budget: a Markdown table.

    python benchmarks/peers.py --data phantom --run runs/baseline

Needs `make peers`; about 5 minutes on two cores. RUN holds a finished run of diagnosis.py or diagnosis_adv.py
on multi-label or binary data, whose test images are attacked. "BCE" is our loss, handed to a library or put in
by a subclass; "as it comes" is a library's attack with no part replaced. PGD from the image must be equal in all rows,
up to float32's rounding; from a random start it differs as the starts do.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from chestrobust import commandline, data, devices, runs, startup, titles
from chestrobust.errors import DataError

SHORT, LONG, QUERIES = 10, 50, 150  # gradient steps, and queries of the gradient-free attack
FIRST_LABEL = "Label: the first with the largest value, label 0 without a finding"
ONE_CLASS = FIRST_LABEL + "; left alone unless it has the highest logit"


@dataclass
class Attack:
    """One row of the table, called by `outcomes.run`; `generate(images, labels, indices)` does the work."""

    library: str
    name: str
    generate: Callable
    remark: str = ""
    kept: list = field(default_factory=list)  # of each image without findings: whether it was left unchanged

    @property
    def title(self):
        return f"{self.library}: {self.name}"

    def __call__(self, model, images, labels, *, task, indices):
        adversarial = np.asarray(self.generate(images, labels, indices))
        self.kept.extend((adversarial == images).all(axis=(1, 2, 3))[~labels.any(axis=1)])
        return adversarial


def main(arguments=None):
    """Attack with everything there is and print a row when it is done."""
    options = parse(arguments)
    run = runs.finished(options.run)
    splits = data.load(options.data, limit=options.limit)
    runs.check_fits(run, splits)
    if splits.task.exclusive:
        raise DataError(f"{splits.name}: expected independent labels. Received a {splits.task} task.")
    devices.import_tensorflow()
    from chestrobust import models

    model = models.logits(models.load(run.path / "model.keras"))
    print(
        f"{titles.data_title(splits.summary())}: {len(splits.test)} test images; epsilon "
        f"{titles.length(options.epsilon)}, step size {titles.length(options.step_size)}, restarts {options.restarts}",
        "\n| Library | Attack | Macro AUC | Mean BCE | No finding, left unchanged | Remark |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        sep="\n",
    )
    for attacks_of in (ours, cleverhans, art, foolbox):
        try:
            attacks = attacks_of(model, splits, options)
        except ModuleNotFoundError as error:
            print(f"| {attacks_of.__name__} | | | | | Not installed: {error.name} |")
            continue
        except ValueError as error:
            print(f"| {attacks_of.__name__} | all | refused | | | {error} |")
            continue
        for attack in attacks:
            print("|", " | ".join(cells(model, splits, attack, options)), "|", flush=True)
    for cell in suite_cells(model, splits, options):
        print("|", " | ".join(cell), "|", flush=True)


def cells(model, splits, attack, options):
    """Run an attack on the test split; returns its row, or one that says how it was refused."""
    import keras

    from chestrobust.evaluation import metrics, outcomes

    keras.utils.set_random_seed(0)  # Of numpy and TensorFlow too, which is where other libraries draw.
    try:
        outcome = outcomes.run(model, splits.task, splits.test, attack, progress=True)
    except ValueError as error:
        return [attack.library, attack.name, "refused", "", "", str(error).strip().splitlines()[-1].strip()]
    auc = metrics.macro(metrics.auc(splits.test.labels, outcome.logits))
    bce = splits.task.training_loss("bce")(splits.test.labels.astype(np.float32), outcome.logits)
    kept = f"{np.mean(attack.kept):.0%}" if attack.kept else "none there"
    outside = outcome.largest > options.epsilon + 1e-6 or outcome.low < 0 or outcome.high > 1
    remark = attack.remark + outside * f" Leaves the ball or [0, 1]: largest change {outcome.largest:.3f}"
    return [attack.library, attack.name, f"{auc:.4f}", f"{np.mean(bce):.4f}", kept, remark.strip()]


def suite_cells(model, splits, options):
    """Rows of our standard suite: the worst image of all its attacks, and the worst answer for each label."""
    from chestrobust.attacks import named
    from chestrobust.evaluation import metrics, outcomes

    task, labels = splits.task, splits.test.labels
    budget = {"steps": LONG, "restarts": options.restarts, "queries": QUERIES, "seed": 0, "precision": "float32"}
    suite = named.standard_suite(task, len(splits.label_names), epsilon=options.epsilon, **budget)
    members = [attack for group in suite.values() for attack in group]
    known = {named.CLEAN: outcomes.run(model, task, splits.test, named.CLEAN)}
    for attack in members:
        known[attack] = outcomes.run(model, task, splits.test, attack, known=known)
    candidates, clean = np.stack([known[attack].logits for attack in members]), known[named.CLEAN].logits
    worst = {
        "joint": outcomes.joint(task, labels, candidates, clean),
        "floor": outcomes.floor(task, labels, candidates),
    }
    for name, logits in worst.items():
        bce = task.training_loss("bce")(labels.astype(np.float32), logits.astype(np.float32))
        auc = metrics.macro(metrics.auc(labels, logits))
        yield ["ours", f"standard suite, {name}", f"{auc:.4f}", f"{np.mean(bce):.4f}", "", f"{len(members)} attacks"]


def ours(model, splits, options):
    """No attack, and this repository's."""
    from chestrobust import attacks
    from chestrobust.attacks import blackbox
    from chestrobust.losses import binary_cross_entropy

    def row(name, attack, **settings):
        def generate(images, labels, indices):
            given = settings if attack is attacks.fgsm else {"indices": indices, **settings}
            return attack(model, images, labels, epsilon=options.epsilon, loss=binary_cross_entropy, **given)

        return Attack("ours", name, generate)

    pgd = {"step_size": options.step_size, "restarts": options.restarts, "precision": "float32"}
    return [
        Attack("none", "clean", lambda images, labels, indices: images),
        row("FGSM, BCE", attacks.fgsm, precision="float32"),
        row(f"PGD-{SHORT}, BCE", attacks.pgd, steps=SHORT, **pgd),
        row(f"PGD-{LONG}, BCE", attacks.pgd, steps=LONG, **pgd),
        row(f"PGD-{LONG} from the image, BCE", attacks.pgd, steps=LONG, **pgd | {"restarts": 1}, random_start=False),
        row(f"APGD-{LONG}, BCE", attacks.apgd, steps=LONG, restarts=options.restarts, precision="float32"),
        row(f"Square-{QUERIES}, BCE", blackbox.square, queries=QUERIES),
    ]


def cleverhans(model, splits, options):
    """CleverHans, whose functions take a loss, the momentum method's apart; they have no restarts."""
    from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method as fgsm
    from cleverhans.tf2.attacks.momentum_iterative_method import momentum_iterative_method as momentum
    from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent as pgd

    from chestrobust.losses import binary_cross_entropy

    def row(name, attack, *lengths, truth=True, remark="", **settings):
        def generate(images, labels, indices):
            given = {"norm": np.inf, "clip_min": 0.0, "clip_max": 1.0, "y": labels if truth else None, **settings}
            return attack(model, images, options.epsilon, *lengths, **given, sanity_checks=False)

        return Attack("CleverHans", name, generate, remark)

    short, long = ((options.step_size, steps) for steps in (SHORT, LONG))
    bce, predicted = {"loss_fn": binary_cross_entropy}, {"truth": False, "remark": "Label: the highest logit"}
    return [
        row("FGSM, as it comes", fgsm),
        row("FGSM, BCE", fgsm, **bce),
        row(f"PGD-{SHORT}, BCE", pgd, *short, **bce, rand_init=True),
        row(f"PGD-{LONG}, BCE", pgd, *long, **bce, rand_init=True),
        row(f"PGD-{LONG} from the image, BCE", pgd, *long, **bce),
        row(f"PGD-{LONG}, as it comes, no labels", pgd, *long, **predicted, rand_init=True),
        row(f"MI-FGSM-{LONG}, as it comes, no labels", momentum, *long, **predicted),
    ]


def art(model, splits, options):
    """The Adversarial Robustness Toolbox, most of whose attacks take the classifier's loss."""
    import keras
    from art.attacks import evasion
    from art.estimators.classification import TensorFlowV2Classifier

    from chestrobust.losses import binary_cross_entropy

    classifier = TensorFlowV2Classifier(
        model=model,
        nb_classes=len(splits.label_names),
        input_shape=splits.image_shape,
        loss_object=keras.losses.BinaryCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )

    def row(name, attack, remark="", **settings):
        made = attack(classifier, eps=options.epsilon, batch_size=256, **settings)
        return Attack("ART", name, lambda images, labels, indices: made.generate(images, labels), remark)

    fgsm, pgd, square = evasion.FastGradientMethod, evasion.ProjectedGradientDescent, evasion.SquareAttack
    steps = {"eps_step": options.step_size, "verbose": False}
    starts = {**steps, "num_random_init": options.restarts}
    # The first step is twice the radius, as in the paper and in ours.
    apgd = {"eps_step": 2 * options.epsilon, "nb_random_init": options.restarts, "max_iter": LONG, "verbose": False}
    queries = {"max_iter": QUERIES, "verbose": False}
    bce = {
        "adv_criterion": lambda predicted, labels: np.zeros(len(labels), bool),  # Never done: there is no one class.
        "loss": lambda images, labels: -binary_cross_entropy(labels, classifier.predict(images)).numpy(),
    }
    return [
        row("FGSM, BCE", fgsm, "Divides labels by their sum: 0/0 without a finding"),
        row(f"PGD-{SHORT}, BCE", pgd, max_iter=SHORT, **starts),
        row(f"PGD-{LONG}, BCE", pgd, max_iter=LONG, **starts),
        row(f"PGD-{LONG} from the image, BCE", pgd, max_iter=LONG, **steps),
        row(f"APGD-{LONG}, BCE", evasion.AutoProjectedGradientDescent, ONE_CLASS, **apgd),
        row(f"Square-{QUERIES}, as it comes", square, ONE_CLASS, **queries),
        row(f"Square-{QUERIES}, BCE", square, "Same window in all images", **queries, **bce),
    ]


def foolbox(model, splits, options):
    """Foolbox, whose attacks ask for one class per image; our loss goes in by a subclass. No restarts there."""
    import eagerpy
    import foolbox
    import tensorflow as tf

    from chestrobust.losses import binary_cross_entropy

    class MultiLabelPGD(foolbox.attacks.LinfPGD):
        def get_loss_fn(self, model, labels):
            return lambda x: eagerpy.astensor(tf.reduce_sum(binary_cross_entropy(labels.raw, model(x).raw)))

    device = "/GPU:0" if tf.config.list_physical_devices("GPU") else "/CPU:0"
    bounded = foolbox.TensorFlowModel(model, bounds=(0, 1), device=device)

    def row(name, attack, steps, classes=lambda labels: labels, remark="", random_start=True):
        made = attack(abs_stepsize=options.step_size, steps=steps, random_start=random_start)

        def generate(images, labels, indices):
            return made.run(bounded, tf.constant(images), tf.constant(classes(labels)), epsilon=options.epsilon)

        return Attack("Foolbox", name, generate, remark)

    return [
        row(f"PGD-{LONG}, as it comes", foolbox.attacks.LinfPGD, LONG),
        row(f"PGD-{LONG}, one label", foolbox.attacks.LinfPGD, LONG, lambda labels: labels.argmax(1), FIRST_LABEL),
        row(f"PGD-{SHORT}, BCE", MultiLabelPGD, SHORT),
        row(f"PGD-{LONG}, BCE", MultiLabelPGD, LONG),
        row(f"PGD-{LONG} from the image, BCE", MultiLabelPGD, LONG, random_start=False),
    ]


def parse(arguments):
    """The options; lengths are written as in the scripts, e.g. 4/255."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    count = commandline.number(int, 1)
    parser.add_argument("--data", default="phantom", help="as in diagnosis.py")
    parser.add_argument("--run", default="runs/baseline", help="finished run whose model is attacked")
    parser.add_argument("--limit", type=count, default=256, help="largest number of test images")
    parser.add_argument("--epsilon", type=commandline.length, default=0.05, help="radius in pixel units of [0, 1]")
    parser.add_argument("--step-size", type=commandline.length, default=0.01, help="length of a PGD step, same units")
    parser.add_argument("--restarts", type=count, default=1, help="random starts, of the attacks that have several")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(startup.run_script(main))
