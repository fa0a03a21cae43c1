"""Combine trained models, and attack the combination: through one member, and end to end.

    python ensemble.py RUN RUN ...                   vote, mean of probabilities, mean of logits, stacking
    python ensemble.py RUN RUN RUN --weights 2 1 1

Data, limit and attack are the first run's own unless told. Writes RUN/results.json (default runs/ensemble) and prints
a table.
"""

import sys
from dataclasses import dataclass

import config
import data
import devices
import report
import runs
import startup
import subjects
from commandline import ARGUMENT, number, option
from errors import ExpectedError


@dataclass(frozen=True)
class EnsembleConfig(subjects.SubjectConfig):
    """Options of `ensemble.py`; what is None is taken from the first run."""

    members: tuple[str, ...] = option(ARGUMENT, "run folders or .keras files", nargs="+", metavar="RUN")
    weights: tuple[float, ...] = option(
        (), "weights of the members in votes and means (default: equal)", number(float, 0, open_low=True), nargs="+"
    )
    run: str = option("runs/ensemble", "folder that the results go to")
    overwrite: bool = option(False, "replace results that are already in the folder", bool)
    resamples: int = option(1000, "bootstrap resamples of the 95 %% intervals", number(int, 10))

    resume = False  # Nothing is written before the end.


def main(arguments=None):
    """Load, combine, attack, report."""
    options = config.parse(EnsembleConfig, arguments, description=__doc__)
    if options.weights and len(options.weights) != len(options.members):
        raise ExpectedError(
            f"--weights: expected one for each of the {len(options.members)} members. Received: {len(options.weights)}."
        )
    run = runs.claim(options)
    saved = [subjects.find(text) for text in options.members]
    for one in saved:
        if options.overwrite and run.path.resolve() in one.path.resolve().parents:
            raise runs.RunError(f"{run.path}: --overwrite would remove {one.path}. Choose another --run.")
    chosen = subjects.settings(saved[0], options)
    splits = subjects.load_data(chosen)
    data.check_trainable(splits)
    for one in saved:
        subjects.check_labels(one, splits)
    runs.lock(run.path)
    devices.join("none")
    devices.start()
    import judging

    members = {name: subjects.load_model(one, splits) for name, one in zip(subjects.names(saved), saved, strict=True)}
    results = judging.judge(members, splits, chosen, options)
    run.start(options, data=splits.sha256)
    results = run.finish(options, splits, attack_settings=vars(chosen), **results)
    print(report.ensemble(results), f"\nResults: {run.path / 'results.json'}", sep="\n")


if __name__ == "__main__":
    sys.exit(startup.run_script(main, after_interrupt="Nothing was written."))
