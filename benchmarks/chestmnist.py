"""Baseline and robust models on ChestMNIST, beside what the project's namesake reported.

    sh benchmarks/chestmnist.sh --data-dir ~/.medmnist                on a machine with a GPU
    python benchmarks/chestmnist.py --data-dir FOLDER --sizes 28      on any other

At each size a baseline, and a robust model for each radius of training, all with the options of the same recipe. Of
these radii the one is chosen that the rule says; the table and the figure have all of them, which is the curve that the
rule looks at. First the time is estimated, from short trainings on a part of the images; with `--estimate` that is all.
Interrupted, the same command goes on. Writes FOLDER/chestmnist.json, FOLDER/chestmnist.md and FOLDER/chestmnist.png.

The rule: the largest radius whose model keeps its clean macro AUC on the validation images within 0.02 of the
baseline's; if none does, the smallest. The namesake's robust model lost 0.0176 on its test images. A robust model that
has lost its clean score is none, and the test images choose nothing.
"""

import argparse
import csv
import json
import sys
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from quality import call

from chestrobust import config
from chestrobust.config import methods, recipes
from chestrobust.reporting.tables import markdown

RADII = ("1/255", "2/255", "4/255", "8/255")
LOSS = 0.02  # of clean validation macro AUC, at most
# FGSM and PGD as in the namesake's code, and the radius that most report on.
ATTACKS = (("fgsm", "0.01"), ("pgd", "4/255"), ("pgd", "0.03"))
EVALUATION = "chestmnist"
# Its macro AUC, clean and under FGSM and PGD, at radii that it doesn't tell.
REPORTED = (
    ("reported: baseline", "0.7510", "0.1670", "", "0.0627"),
    ("reported: adversarially trained", "0.7334", "0.7081", "", "0.6212"),
)
IMAGES = 78_468


def main(arguments=None):
    """Estimate, train, attack, choose, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", required=True, help="folder of the MedMNIST files")
    parser.add_argument("--folder", default="runs/chestmnist", help="folder of all runs and of the table")
    parser.add_argument("--sizes", nargs="+", type=int, default=[28, 128, 224], help="pixels along a side")
    parser.add_argument("--radii", nargs="+", default=list(RADII), help="of training")
    parser.add_argument("--recipe", default="best", choices=list(recipes.RECIPES))
    parser.add_argument("--options", default="", help="further options of training, in one string")
    parser.add_argument("--share", type=int, default=2000, help="images of each split that the estimate takes")
    parser.add_argument("--estimate", action="store_true", help="only estimate the time")
    options = parser.parse_args(arguments)
    folder = Path(options.folder).expanduser().resolve()
    hours = {size: estimated(options, size, folder) for size in options.sizes}
    for size, number in hours.items():
        print(f"{size} px: at most {number:.1f} hours of training, attacks not counted", flush=True)
    if options.estimate:
        return
    rows = []
    for size in options.sizes:
        rows += of_size(options, size, folder)
        write(folder, rows)
    print(write(folder, rows))


def training(options, size):
    """Options of the training scripts for images of a size."""
    data = ["--data", "chestmnist", "--size", str(size), "--data-dir", str(Path(options.data_dir).expanduser())]
    return [*data, "--recipe", options.recipe, *options.options.split()]


def robust(settings, radius):
    """Options of a robust training that trains and chooses at a radius, with steps of half its length if it has any."""
    lengths = ["--train-epsilon", radius, "--select-epsilon", radius]
    if "train_step_size" not in methods.unused(config.parse(config.AdversarialConfig, settings).method):
        lengths += ["--train-step-size", str(Fraction(radius) / 2)]
    return [*settings, *lengths]


def estimated(options, size, folder):
    """Hours that all trainings of a size take at most, from one epoch of a baseline and one of a robust model."""
    settings, seconds = training(options, size), 0
    common = [*settings, "--limit", str(options.share), "--epochs", "1"]
    baseline = folder / f"estimate-{size}" / "baseline"
    trained(baseline, "diagnosis.py", common)
    trained(baseline.with_name("robust"), "diagnosis_adv.py", [*robust(common, "4/255"), "--baseline", str(baseline)])
    for name, models, options_of in (
        ("baseline", 1, config.BaselineConfig),
        ("robust", len(options.radii), config.AdversarialConfig),
    ):
        epochs = config.parse(options_of, settings).epochs
        results = json.loads((baseline.with_name(name) / "results.json").read_text())
        seconds += models * epochs * IMAGES / results["training"]["images_per_second"]
    return seconds / 3600


def of_size(options, size, folder):
    """What the table says of the models of a size, all of them trained and attacked."""
    baseline = folder / f"{size}-baseline"
    trained(baseline, "diagnosis.py", training(options, size))
    rows = [attacked(baseline, size, "")]
    for radius in options.radii:
        run = folder / f"{size}-{radius.replace('/', 'of')}"
        trained(run, "diagnosis_adv.py", [*robust(training(options, size), radius), "--baseline", str(baseline)])
        rows.append(attacked(run, size, radius))
    radius = chosen(rows)
    return [row | {"chosen": row["radius"] == radius} for row in rows]


def trained(run, script, settings):
    """Train a run as far as that isn't done."""
    if not (run / "results.json").exists():
        go_on = ["--resume"] if (run / "config.json").exists() else []
        call(script, *settings, "--run", str(run), *go_on)


def attacked(run, size, radius):
    """A run's scores: clean on validation images, and on test images under each of the attacks."""
    file = run / "evaluations" / f"{EVALUATION}.json"
    if not file.exists():
        radii = list(dict.fromkeys(epsilon for _, epsilon in ATTACKS))
        call("evaluate.py", str(run), "--epsilons", "0", *radii, "--steps", "20", "--name", EVALUATION)
    results, found = json.loads((run / "results.json").read_text()), json.loads(file.read_text())
    with (run / "history.csv").open() as history:
        epochs = list(csv.DictReader(history))
    scores = {(row["attack"], round(row["epsilon"], 6)): row["macro_auc"] for row in found["evaluations"]}
    return {
        "size": size,
        "radius": radius,
        "validation": float(epochs[results["training"]["best_epoch"] - 1]["val_auc"]),
        "clean": scores["clean", 0.0],
        **{f"{attack} {epsilon}": scores[attack, round(float(Fraction(epsilon)), 6)] for attack, epsilon in ATTACKS},
        "audit": sorted(line["name"] for line in found["audit"] if line["status"] == "failed"),
        "seconds": results["training"]["seconds"],
        "data": results["data"]["sha256"],
        "hardware": results["hardware"],
    }


def chosen(rows):
    """The radius of training that the rule chooses among the rows of a size, whose first is the baseline's."""
    baseline, *models = rows
    radii = sorted((row["radius"] for row in models), key=Fraction)
    kept = {row["radius"] for row in models if baseline["validation"] - row["validation"] <= LOSS}
    return next((radius for radius in reversed(radii) if radius in kept), radii[0])


def curve(rows):
    """A figure of the scores over the radius of training, the baseline at 0: a panel per size."""
    from matplotlib.figure import Figure

    sizes = list(dict.fromkeys(row["size"] for row in rows))
    figure = Figure(figsize=(1.5 + 3.8 * len(sizes), 4.6), layout="constrained")
    panels = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    series = [("validation", "validation, clean", "d--", "#222222"), ("clean", "test, clean", "o-", "#222222")]
    looks = zip(("s-", "D-", "^-"), ("#e69f00", "#009e73", "#0072b2"), strict=True)
    for (attack, epsilon), look in zip(ATTACKS, looks, strict=True):
        series.append((f"{attack} {epsilon}", f"test, {title(f'{attack} {epsilon}')}", *look))
    for axes, size in zip(panels, sizes, strict=True):
        same = sorted((row for row in rows if row["size"] == size), key=lambda row: Fraction(row["radius"] or 0))
        for key, label, look, colour in series:
            axes.plot(range(len(same)), [row[key] for row in same], look, color=colour, label=label)
        axes.axhline(same[0]["validation"] - LOSS, color="#888888", linestyle=":", label="least validation score")
        axes.axvline(
            [row["chosen"] for row in same].index(True), color="#cc79a7", linewidth=6, alpha=0.3, label="chosen"
        )
        axes.set_xticks(range(len(same)), [row["radius"] or "baseline" for row in same])
        axes.set(title=f"{size} px", xlabel="radius of training")
        axes.grid(axis="y", alpha=0.3)
    panels[0].set_ylabel("macro AUC")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3 if len(sizes) > 1 else 2)
    return figure


def title(name):
    """What tables and figures call an attack and its radius."""
    return name.replace("fgsm", "FGSM").replace("pgd", "PGD-20")


def write(folder, rows):
    """Write all three files; returns the table."""
    attacks = [f"{attack} {epsilon}" for attack, epsilon in ATTACKS]
    header = ["Model", "Clean", *map(title, attacks)]
    header += ["Validation, clean", "Audit"]
    lines = [[*row, "", ""] for row in REPORTED]
    for row in rows:
        name = f"robust, {row['radius']}{', chosen' * row['chosen']}" if row["radius"] else "baseline"
        scores = (f"{row[key]:.4f}" for key in ("clean", *attacks, "validation"))
        lines.append([f"{row['size']} px: {name}", *scores, ", ".join(row["audit"]) or "passes"])
    table = "\n".join(markdown(header, lines))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chestmnist.json").write_text(json.dumps(rows, indent=2) + "\n")
    (folder / "chestmnist.md").write_text(table + "\n")
    curve(rows).savefig(folder / "chestmnist.png", dpi=110)
    return table


if __name__ == "__main__":
    sys.exit(main())
