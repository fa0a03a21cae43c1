"""How good the recipes of diagnosis_adv.py are: each trained from several seeds and attacked by the standard suite.

    python benchmarks/quality.py --data pneumoniamnist --folder runs/quality
    python benchmarks/quality.py --data pneumoniamnist --folder runs/quality --recipes fast best --seeds 0 1 2
    python benchmarks/quality.py --draw benchmarks/quality.json --figure docs/recipe.png

From each seed, trains a clean-only model (diagnosis.py --recipe best), then each recipe, in FOLDER/RECIPE-SEED, and
writes FOLDER/quality.json and FOLDER/quality.md: mean and spread over seeds of the macro AUC on the test images, clean
and under the suite, with the passes per step and the core-seconds of training, evaluation of the run among them.
Interrupted, the same command goes on. About 10 minutes per recipe and seed on two cores for PneumoniaMNIST. The figure
is drawn from such a JSON file alone.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chestrobust.config import recipes
from chestrobust.reporting.tables import markdown

ROOT = Path(__file__).resolve().parents[1]
EPSILONS = ("0.03", "8/255", "0.05")
EVALUATION = "quality"  # name of the evaluation in each run
SUITE = [
    *("--suite", "standard", "--epsilons", *EPSILONS, "--steps", "50", "--restarts", "1", "--queries", "200"),
    *("--name", EVALUATION),
]


def main(arguments=None):
    """Train, attack and write down what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="pneumoniamnist", help="data set as in diagnosis.py")
    parser.add_argument("--folder", default="runs/quality", help="folder of all runs and of the table")
    parser.add_argument("--recipes", nargs="+", default=list(recipes.RECIPES), choices=list(recipes.RECIPES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--options", default="", help="further options of training, in one string")
    parser.add_argument("--draw", metavar="FILE", help="train nothing, but draw the scores of a quality.json")
    parser.add_argument("--figure", default="recipe.png", help="file of that drawing")
    options = parser.parse_args(arguments)
    if options.draw:
        draw(json.loads(Path(options.draw).read_text()), options.figure)
        return
    folder = Path(options.folder).expanduser().resolve()
    training = ["--data", options.data, *options.options.split()]
    rows = []
    for seed in options.seeds:
        own, baseline = [*training, "--seed", str(seed)], folder / f"clean-{seed}"
        rows.append(measured(baseline, "diagnosis.py", [*own, "--recipe", "best"]))
        for recipe in options.recipes:
            robust = [*own, "--recipe", recipe, "--baseline", str(baseline)]
            rows.append(measured(folder / f"{recipe}-{seed}", "diagnosis_adv.py", robust))
            write(folder, rows)
    print(write(folder, rows))


def measured(run, script, training):
    """Train a run and attack it, as far as that isn't done; returns what the table says of it."""
    cost = run.parent / f"{run.name}.cost.json"
    if not (run / "results.json").exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        go_on = ["--resume"] if (run / "config.json").exists() else []
        before = json.loads(cost.read_text()) if cost.exists() else 0.0
        try:
            call(script, *training, "--run", str(run), *go_on)
        finally:
            cost.write_text(json.dumps(before + taken()))
    if not (run / "evaluations" / f"{EVALUATION}.json").exists():
        call("evaluate.py", str(run), *SUITE)
        taken()
    return row(run, json.loads(cost.read_text()) if cost.exists() else None)


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
    scores = {
        f"{entry['epsilon']:g}" if entry["attack"] == "joint" else "clean": entry["macro_auc"]
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
        "scores": scores,
        "audit": sorted(line["name"] for line in evaluation["audit"] if line["status"] == "failed"),
        "data": results["data"]["sha256"],
    }


def write(folder, rows):
    """Write both files; returns the table."""
    (folder / "quality.json").write_text(json.dumps(rows, indent=2) + "\n")
    attacked = [f"{float(Fraction(epsilon)):g}" for epsilon in EPSILONS]
    header = ["Recipe", "Model", "Passes", "Core-seconds", "Seeds", "Clean", *EPSILONS, "Audit"]
    lines = []
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        same = [row for row in rows if row["recipe"] == recipe]
        seconds = [row["core_seconds"] for row in same if row["core_seconds"] is not None]
        failed = sorted({name for row in same for name in row["audit"]})
        lines.append(
            [
                *(recipe, same[0]["model"], f"{same[0]['passes']:g}"),
                f"{statistics.mean(seconds):.0f}" if seconds else "",
                str(len(same)),
                *(spread([row["scores"][name] for row in same]) for name in ("clean", *attacked)),
                ", ".join(failed) or "passes",
            ]
        )
    table = "\n".join(markdown(header, lines))
    (folder / "quality.md").write_text(table + "\n")
    return table


def draw(rows, path):
    """What each recipe yields, from the cheapest training on: means over seeds, bars from the lowest to the highest."""
    from matplotlib.figure import Figure

    series = [("clean", "clean", "o", "#222222")]
    for epsilon, marker, colour in zip(EPSILONS, "sD^", ("#e69f00", "#009e73", "#0072b2"), strict=True):
        series.append((f"{float(Fraction(epsilon)):g}", f"standard suite, epsilon {epsilon}", marker, colour))
    groups = [[row for row in rows if row["recipe"] == name] for name in dict.fromkeys(row["recipe"] for row in rows)]
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
        f"{group[0]['recipe']}\n{group[0]['model']}, passes: {group[0]['passes']:g}\n{cost:.0f} core-seconds"
        for cost, group in zip(costs, groups, strict=True)
    ]
    axes.set_xticks(range(len(groups)), ticks)
    axes.margins(x=0.15)
    axes.set(ylabel="macro AUC, test images", ylim=(-0.03, 1.03))
    axes.axhline(0.5, color="#888888", linestyle=":", linewidth=1)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=110)


def spread(values):
    """Mean and standard deviation over seeds."""
    return f"{statistics.mean(values):.4f}" + (f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
