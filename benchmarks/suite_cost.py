"""What each part of the standard suite costs, and how much it takes off the score: Markdown tables.

    python benchmarks/suite_cost.py --of runs/robust/model.keras pneumoniamnist.npz 0.03 --limit 128

For each model: joint score and floor by the number of gradient steps, each beside ten times as many, until they differ
by 0.002 at most; then, at the first such budget, what each member alone finds and what the scores rise by without it;
and what more starts find. Gradient steps are counted where they are taken, per image. Answers are kept in the folder
`--run`, so that the same command goes on.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from chestrobust import commandline, config, data, files, startup
from chestrobust.errors import RunError

STEPS, RESTARTS, TIMES, NEAR = (10, 20, 50, 100), (2, 5), 10, 0.002


def main(arguments=None):
    """Print the tables of each model."""
    options = parse(arguments)
    from chestrobust import models

    for number, (path, source, epsilon) in enumerate(options.of):
        splits = data.load(source, limit=options.limit)
        model = models.logits(models.load(Path(path)))
        bill = Bill(model, splits, commandline.length(epsilon), Path(options.run) / str(number), Path(path))
        print(f"\n{path}: {len(splits.test)} test images, epsilon {epsilon}, seed 0\n", flush=True)
        chosen = by_steps(bill)
        by_member(bill, chosen)
        by_restarts(bill, chosen)


class Bill:
    """Scores of one model under a suite, and how many gradient steps each attack of it took.

    Args:
        model: Callable returning logits.
        splits: The `Splits`.
        epsilon: Radius in pixel units of [0, 1].
        folder: Where answers are kept.
        path: The model's file.
    """

    def __init__(self, model, splits, epsilon, folder, path):
        from chestrobust.attacks import gradient
        from chestrobust.evaluation import sweep

        self.epsilon, self.folder, self.taken = epsilon, folder, 0
        compiled = gradient.compiled

        def counted(*of):
            climbed, losses = compiled(*of)

            def count(images, labels):
                self.taken += len(images)
                return climbed(images, labels)

            return count, losses

        gradient.compiled = counted
        options = config.EvaluateConfig(str(path), suite="standard", stored=False, resamples=10)
        self.subject = sweep.Subject(model, splits, options, folder, path=path)
        self.subject.cache.keep = self._counting(self.subject.cache.keep)
        self.steps = json.loads(self.file.read_text()) if self.file.is_file() else {}

    @property
    def file(self):
        """Where the gradient steps per image of the answers that are kept are counted."""
        return self.folder / "steps.json"

    def outcomes(self, **budget):
        """Logits by the names of the suite's rows, a list for each, and the gradient steps per image of each row."""
        self.subject.options = dataclasses.replace(self.subject.options, **budget)
        found, steps = {}, {}
        for name, attacks in self.subject.attacks(self.epsilon).items():
            found[name] = [self._outcome(attack).logits for attack in attacks]
            steps[name] = sum(map(self._taken_by, attacks))
        return found, steps

    def _name(self, attack):
        return f"{self.subject.identity} on {len(self.subject.labels)} of {self.subject.splits.sha256}: {attack!r}"

    def _taken_by(self, attack):
        try:
            return self.steps[self._name(attack)]
        except KeyError:
            raise RunError(
                f"{self.folder}: expected how many steps each answer took. Received none for {attack.title}. Remove "
                "the folder, or choose another --run."
            ) from None

    def _outcome(self, attack):
        self.asked, self.before = self._name(attack), self.taken
        return self.subject.outcome(attack)

    def _counting(self, keep):
        """A way to keep answers that writes their steps down first: none is ever kept without."""

        def count(made_by, outcome):
            self.steps[self.asked] = (self.taken - self.before) / len(self.subject.labels)
            with files.writing(self.file) as temporary:
                temporary.write_text(json.dumps(self.steps))
            keep(made_by, outcome)

        return count

    def scores(self, found, without=None):
        """Joint score and floor of a suite's answers."""
        from chestrobust.evaluation import metrics

        subject = self.subject
        rows = [logits for name, logits in found.items() if name != without]
        candidates = np.stack([subject.clean, *(one for row in rows for one in row)])
        worst = (subject.worst(candidates, apart) for apart in (False, True))
        ranks = zip((subject.splits.task, subject.splits.task.apart()), worst, strict=True)
        return [metrics.macro(metrics.auc(subject.labels, task.ranks(logits))) for task, logits in ranks]


def by_steps(bill):
    """Print the scores of each budget, and return the cheapest near enough to ten times as much."""
    head("Steps", "Gradient steps per image", "Joint", "Floor", f"Joint, {TIMES} times", "Floor", f"Within {NEAR}")
    for steps in STEPS:
        found, taken = bill.outcomes(steps=steps, restarts=1)
        more, _ = bill.outcomes(steps=TIMES * steps, restarts=1)
        few, many = bill.scores(found), bill.scores(more)
        near = max(np.subtract(few, many)) <= NEAR
        row(steps, f"{sum(taken.values()):.0f}", *map(shown, (*few, *many)), "yes" if near else "no")
        if near:
            break
    return steps


def by_member(bill, steps):
    """Print what each member of the suite finds at a budget, and what the scores rise by without it."""
    found, taken = bill.outcomes(steps=steps, restarts=1)
    whole = bill.scores(found)
    head(f"Member, {steps} steps", "Gradient steps per image", "Alone: joint", "floor", "Without it: joint", "floor")
    for name in found:
        alone, without = bill.scores({name: found[name]}), np.subtract(bill.scores(found, name), whole)
        row(name, f"{taken[name]:.0f}", *map(shown, alone), *(f"{rise:+.4f}" for rise in without))


def by_restarts(bill, steps):
    """Print what more starts find."""
    head(f"Starts, {steps} steps", "Gradient steps per image", "Joint", "Floor")
    for restarts in (1, *RESTARTS):
        found, taken = bill.outcomes(steps=steps, restarts=restarts)
        row(restarts, f"{sum(taken.values()):.0f}", *map(shown, bill.scores(found)))


def head(*cells):
    """Print the first two lines of a table."""
    print()
    row(*cells)
    row("---", *["---:"] * (len(cells) - 1))


def row(*cells):
    """Print a line of a table."""
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def shown(score):
    """A score as tables have it."""
    return f"{score:.4f}"


def parse(arguments):
    """The options; lengths are written as in the scripts, e.g. 4/255."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--of",
        nargs=3,
        action="append",
        required=True,
        metavar=("MODEL", "DATA", "EPSILON"),
        help="a model of ours, its data as in diagnosis.py, and the radius; may be repeated",
    )
    parser.add_argument("--limit", type=commandline.number(int, 1), help="use only this many images of each split")
    parser.add_argument("--run", default="runs/suite_cost", help="folder that answers are kept in")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(startup.run_script(main))
