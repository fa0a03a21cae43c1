"""How good the recipes of diagnosis_adv.py are: each trained from several seeds and attacked by the standard suite.

    python benchmarks/quality.py --data pneumoniamnist --folder runs/quality
    python benchmarks/quality.py --data pneumoniamnist --folder runs/quality --recipes fast best --seeds 0 1 2
    python benchmarks/quality.py --data pneumoniamnist --folder runs/quality --recipes clean
    python benchmarks/quality.py --data phantom --options "--limit 99" --robust "--train-epsilon 4/255" --epsilons 4/255
    python benchmarks/quality.py --draw benchmarks/quality.json --figure docs/recipe.png

From each seed, trains a clean-only model (diagnosis.py --recipe best), then each recipe, in FOLDER/RECIPE-SEED; what is
finished there is taken as it is. With `--recipes clean` that is all. Writes FOLDER/quality.json and FOLDER/quality.md:
mean and spread over seeds of the macro AUC on the test images, clean and under the suite, with the passes per image and
the core-seconds of training, evaluation of the run among them. Of a single seed it has intervals of 95 % instead of the
spread, and of several labels a table of each label's AUC too. Interrupted, the same command goes on. About 10 minutes
per recipe and seed on two cores for PneumoniaMNIST. The figure is drawn from such a JSON file alone.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chestrobust import titles
from chestrobust.config import recipes
from chestrobust.reporting.cells import markdown, with_interval

ROOT = Path(__file__).resolve().parents[1]
EPSILONS = ("0.03", "8/255", "0.05")
EVALUATION = "quality"  # name of the evaluation in each run
CLEAN = "clean"  # the models that robust ones are compared with, in the table whether or not they are asked for


def main(arguments=None):
    """Train, attack and write down what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="pneumoniamnist", help="data set as in diagnosis.py")
    parser.add_argument("--folder", default="runs/quality", help="folder of all runs and of the table")
    parser.add_argument("--recipes", nargs="+", default=list(recipes.RECIPES), choices=[*recipes.RECIPES, CLEAN])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--options", default="", help="further options of all trainings, in one string")
    parser.add_argument("--robust", default="", help="further options of diagnosis_adv.py alone, in one string")
    parser.add_argument("--epsilons", nargs="+", default=list(EPSILONS), help="radii of the suite")
    parser.add_argument("--steps", type=int, default=50, help="gradient steps of the suite")
    parser.add_argument("--draw", metavar="FILE", help="train nothing, but draw the scores of a quality.json")
    parser.add_argument("--figure", default="recipe.png", help="file of that drawing")
    options = parser.parse_args(arguments)
    if options.draw:
        draw(json.loads(Path(options.draw).read_text()), options.figure)
        return
    folder = Path(options.folder).expanduser().resolve()
    training = ["--data", options.data, *options.options.split()]
    suite = ["--suite", "standard", "--epsilons", *options.epsilons, "--steps", str(options.steps)]
    suite += ["--restarts", "1", "--queries", "200", "--name", EVALUATION]
    rows, baselines = [], {folder / f"{CLEAN}-{seed}": [*training, "--seed", str(seed)] for seed in options.seeds}
    for seed, (baseline, own) in zip(options.seeds, baselines.items(), strict=True):
        trained(baseline, "diagnosis.py", [*own, "--recipe", "best"])
        for recipe in (name for name in options.recipes if name != CLEAN):
            run, robust = folder / f"{recipe}-{seed}", ["--recipe", recipe, "--baseline", str(baseline)]
            trained(run, "diagnosis_adv.py", [*own, *robust, *options.robust.split()])
            rows.append(attacked(run, suite))
            write(folder, rows)
    # Last, as they fall at once: what the recipes yield should be known first.
    print(write(folder, [*(attacked(baseline, suite) for baseline in baselines), *rows]))


def trained(run, script, training):
    """Train a run as far as that isn't done, and write down what it costs."""
    cost = cost_file(run)
    if not (run / "results.json").exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        go_on = ["--resume"] if (run / "config.json").exists() else []
        before = json.loads(cost.read_text()) if cost.exists() else 0.0
        try:
            call(script, *training, "--run", str(run), *go_on)
        finally:
            cost.write_text(json.dumps(before + taken()))


def attacked(run, suite):
    """What the table says of a trained run, which is attacked by a suite as far as that isn't done."""
    if not (run / "evaluations" / f"{EVALUATION}.json").exists():
        call("evaluate.py", str(run), *suite)
        taken()
    cost = cost_file(run)
    return row(run, json.loads(cost.read_text()) if cost.exists() else None)


def cost_file(run):
    """Where the core-seconds of a run's training are kept."""
    return run.parent / f"{run.name}.cost.json"


def call(script, *arguments):
    """Run a script of this checkout."""
    print(f"{script} {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, str(ROOT / script), *arguments], check=True)


_counted = 0.0


def taken():
    """Core-seconds that the scripts have taken since the last call."""
    global _counted
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    before, _counted = _counted, usage.ru_utime + usage.ru_stime
    return _counted - before


def row(run, seconds):
    """What the table is made of, from a run's results and its evaluation."""
    results = json.loads((run / "results.json").read_text())
    evaluation = json.loads((run / "evaluations" / f"{EVALUATION}.json").read_text())
    settings = results["config"]
    entries = {
        titles.radius(entry["epsilon"]) if entry["attack"] == "joint" else "clean": entry
        for entry in evaluation["evaluations"]
        if entry["attack"] in ("clean", "joint")
    }
    robust = "method" in settings
    return {
        "recipe": settings["recipe"] if robust else "clean only",
        "seed": settings["seed"],
        "model": settings["model"],
        "parameters": results["model"]["parameters"],
        "passes": results["training"].get("passes", 1),
        "core_seconds": seconds,
        "validation": results["training"]["best_val_auc"],
        "epochs": results["training"]["epochs"],
        "scores": {name: entry["macro_auc"] for name, entry in entries.items()},
        "intervals": {name: entry["intervals"]["macro_auc"] for name, entry in entries.items()},
        "labels": {name: entry["per_label_auc"] for name, entry in entries.items()},
        "label_intervals": {name: entry["intervals"]["per_label_auc"] for name, entry in entries.items()},
        "audit": sorted(line["name"] for line in evaluation["audit"] if line["status"] == "failed"),
        "data": results["data"]["sha256"],
    }


def write(folder, rows):
    """Write both files; returns the text of the second, a table, and one of each label if there are several."""
    (folder / "quality.json").write_text(json.dumps(rows, indent=2) + "\n")
    names = list(rows[0]["scores"])
    groups = by_recipe(rows)
    header = ["Recipe", "Model", "Passes per image", "Core-seconds", "Seeds", *map(str.capitalize, names), "Audit"]
    lines = []
    for recipe, same in groups.items():
        seconds = [row["core_seconds"] for row in same if row["core_seconds"] is not None]
        failed = sorted({name for row in same for name in row["audit"]})
        lines.append(
            [
                *(recipe, same[0]["model"], passes(same[0])),
                f"{statistics.mean(seconds):.0f}" if seconds else "",
                str(len(same)),
                *(spread(same, name) for name in names),
                ", ".join(failed) or "passes",
            ]
        )
    text = "\n".join(markdown(header, lines)) + "\n"
    if len(rows[0]["labels"]["clean"]) > 1:
        text += "\n" + "\n".join(by_label(groups, names)) + "\n"
    (folder / "quality.md").write_text(text)
    return text


def passes(row):
    """Forward and backward passes of a training per image, over all epochs."""
    return f"{row['passes'] * row['epochs']:g}"


def by_recipe(rows):
    """The rows of each recipe, by its name."""
    return {
        name: [row for row in rows if row["recipe"] == name] for name in dict.fromkeys(row["recipe"] for row in rows)
    }


def by_label(groups, names):
    """A table of each label's AUC, for each recipe its first seed's: clean, and at the first of the radii."""
    shown = [(recipe, same[0], name) for recipe, same in groups.items() for name in names[:2]]
    lines = [
        [
            label,
            *(with_interval(row["labels"][name][label], row["label_intervals"][name][label]) for _, row, name in shown),
        ]
        for label in shown[0][1]["labels"]["clean"]
    ]
    return markdown(["Label", *(f"{recipe}, {name}" for recipe, _, name in shown)], lines)


def draw(rows, path):
    """What each recipe yields, from the cheapest training on: means over seeds, bars from the lowest to the highest."""
    from matplotlib.figure import Figure

    clean, *radii = rows[0]["scores"]
    series = [(clean, clean, "o", "#222222")]
    looks = zip("sD^v", ("#e69f00", "#009e73", "#0072b2", "#cc79a7"), strict=True)
    for radius, (marker, colour) in zip(radii, looks, strict=False):
        series.append((radius, f"standard suite, epsilon {radius}", marker, colour))
    groups = by_recipe(rows).values()
    costs = [statistics.mean(row["core_seconds"] or 0 for row in group) for group in groups]
    costs, groups = zip(*sorted(zip(costs, groups, strict=True), key=lambda pair: pair[0]), strict=True)
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    for key, label, marker, colour in series:
        scores = [[row["scores"][key] for row in group] for group in groups]
        means = [statistics.mean(each) for each in scores]
        below = [mean - min(each) for mean, each in zip(means, scores, strict=True)]
        above = [max(each) - mean for mean, each in zip(means, scores, strict=True)]
        axes.errorbar(range(len(groups)), means, [below, above], fmt=marker, color=colour, capsize=4, label=label)
    ticks = [
        f"{group[0]['recipe']}\n{group[0]['model']}, passes: {passes(group[0])}\n{cost:.0f} core-seconds"
        for cost, group in zip(costs, groups, strict=True)
    ]
    axes.set_xticks(range(len(groups)), ticks)
    axes.margins(x=0.15)
    axes.set(ylabel="macro AUC, test images", ylim=(-0.03, 1.03))
    axes.axhline(0.5, color="#888888", linestyle=":", linewidth=1)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=110)


def spread(rows, name):
    """Mean and standard deviation over seeds of a score; of a single one the interval of 95 %."""
    values = [row["scores"][name] for row in rows]
    if len(rows) == 1:
        return with_interval(values[0], rows[0]["intervals"][name])
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}"


if __name__ == "__main__":
    sys.exit(main())
