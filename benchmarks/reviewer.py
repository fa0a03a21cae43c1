"""A reviewer's attack on finished runs: what many more steps and starts take off the standard suite's number.

    python benchmarks/reviewer.py runs/quality/best-? runs/quality/default-? --epsilons 0.03 8/255 0.05

APGD of 200 steps from ten starts, on both losses of the task and of several labels on their AUC too, from another seed
than the suite's. With a single label both losses rank images alike, so that one is enough. The table has, for each run
and radius, the suite's joint score in RUN/evaluations/NAME.json, and what is left once the worst of the suite's own
images and of the reviewer's counts for each patient. Exit code 1 if that takes off more than `--most` anywhere.
Each row goes to `--out` as soon as it is known; interrupted, the same command goes on with those that aren't there.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from chestrobust import commandline, config, data, devices, files, startup
from chestrobust.errors import ExpectedError
from chestrobust.reporting.cells import markdown
from chestrobust.runs import arrays, provenance, saved


def main(arguments=None):
    """Attack each run at each radius, and print a table of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    count = commandline.number(int, 1)
    parser.add_argument("subjects", nargs="+", metavar="RUN", help="run folders")
    parser.add_argument("--evaluation", default="quality", help="name of the evaluation in each run")
    parser.add_argument("--epsilons", nargs="+", type=commandline.length, default=[0.03], help="radii of it")
    parser.add_argument("--steps", type=count, default=200, help="gradient steps")
    parser.add_argument("--restarts", type=count, default=10, help="starts")
    parser.add_argument("--seed", type=commandline.number(int, 0), default=2026, help="of the random starts")
    parser.add_argument("--most", type=float, default=0.005, help="what may be taken off")
    parser.add_argument("--out", default="runs/reviewer.json", help="file of the rows that are done")
    options = parser.parse_args(arguments)
    out, rows = Path(options.out).expanduser(), []
    known = json.loads(out.read_text()) if out.exists() else []
    for text in options.subjects:
        subject = saved.checked(text)
        for epsilon in options.epsilons:
            asked = identity(subject, epsilon, options)
            row = next((row for row in known if asked.items() <= row.items()), None)
            if row is None:
                row = asked | {"run": subject.name, "reviewer": attacked(subject, epsilon, options)}
                known.append(row)
                out.parent.mkdir(parents=True, exist_ok=True)
                with files.writing(out) as temporary:
                    temporary.write_text(json.dumps(known, indent=2) + "\n")
            rows.append(row)
    print("\n".join(table(rows)))
    return 0 if all(taken_off(row) <= options.most for row in rows) else 1


def identity(subject, epsilon, options):
    """What a row is of: the model, the suite's score at a radius, and the reviewer's settings."""
    file = subject.run.path / "evaluations" / f"{options.evaluation}.json"
    settings = {"steps": options.steps, "restarts": options.restarts, "seed": options.seed}
    return {
        "sha256": provenance.sha256(subject.path),
        "epsilon": epsilon,
        "suite": recorded(file, epsilon),
        **settings,
    }


def attacked(subject, epsilon, options):
    """What the reviewer leaves of a `saved.Saved` model at a radius, on the data of its run."""
    splits = data.load_for(**saved.completed(subject, config.picked(config.EvaluateConfig, config.DATA)))
    devices.start()
    return scores(subject, splits, epsilon, options)[1]


def table(rows):
    """The rows as lines of Markdown, the suite's scores beside the reviewer's."""
    lines = [
        [
            row["run"],
            f"{row['epsilon']:.4g}",
            *(f"{row[key]:.4f}" for key in ("suite", "reviewer")),
            f"{taken_off(row):.4f}",
        ]
        for row in rows
    ]
    return markdown(["Run", "Epsilon", "Suite", "Reviewer", "Taken off"], lines)


def taken_off(row):
    """By how much the reviewer's images lower the suite's score."""
    return row["suite"] - row["reviewer"]


def scores(subject, splits, epsilon, options):
    """Macro AUC at a radius of one image per patient: the worst of the suite's, and the worst of the reviewer's too."""
    from chestrobust import models
    from chestrobust.attacks import named
    from chestrobust.evaluation import metrics, outcomes

    task, labels, model = splits.task, splits.test.labels, models.logits(models.load(subject.path))
    settings = {"steps": options.steps, "restarts": options.restarts, "queries": 1, "seed": options.seed}
    suite = named.standard_suite(task, len(splits.label_names), epsilon=epsilon, **settings)
    known = {}
    for attack in (named.CLEAN, *(group[0] for name, group in suite.items() if name.startswith("apgd"))):
        known[attack] = outcomes.run(model, task, splits.test, attack, progress=True, known=known)
    clean = known.pop(named.CLEAN).logits
    own = [clean, *of_suite(subject.run.path / "evaluations" / options.evaluation, epsilon, clean.shape)]

    def score(candidates):
        worst = outcomes.joint(task, labels, np.stack(candidates), clean)
        return metrics.macro(metrics.auc(labels, task.ranks(worst)))

    before = recorded(subject.run.path / "evaluations" / f"{options.evaluation}.json", epsilon)
    # The suite's images joined anew may come out lower than its row, which then is what is compared with.
    return before, min(before, score([*own, *(outcome.logits for outcome in known.values())]))


def recorded(file, epsilon):
    """The joint score of an evaluation at a radius.

    Raises:
        ExpectedError: If there is none.
    """
    rows = json.loads(file.read_text())["evaluations"] if file.exists() else []
    for row in rows:
        if row["attack"] == "joint" and abs(row["epsilon"] - epsilon) < 1e-9:
            return row["macro_auc"]
    raise ExpectedError(
        f"{file}: expected a joint score at epsilon {epsilon:.4g}. Received none. Run evaluate.py --suite standard."
    )


def of_suite(folder, epsilon, shape):
    """The logits of images at a radius that the suite has kept."""
    found = []
    for file in sorted(folder.glob("*.npz")):
        kept = arrays.load(file)
        record = json.loads(str(kept["identity"]))[0][0]
        if abs(record["epsilon"] - epsilon) < 1e-9 and kept["logits"].shape == shape:
            found.append(kept["logits"].astype(np.float32))
    return found


if __name__ == "__main__":
    sys.exit(startup.run_script(main))
