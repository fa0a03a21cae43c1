"""Combine trained models, and attack the combination: through one member, and end to end.

    python ensemble.py RUN RUN ...                   vote, mean of probabilities, mean of logits, stacking
    python ensemble.py RUN RUN RUN --weights 2 1 1

Data, limit and attack are the first run's own unless told. Writes RUN/results.json (default runs/ensemble) and prints
a table.
"""

import dataclasses
import sys
from pathlib import Path

from chestrobust import config, data, devices, runs, startup
from chestrobust.data import ranges
from chestrobust.errors import ExpectedError, RunError
from chestrobust.reporting import page, tables
from chestrobust.runs import provenance, saved


def main(arguments=None):
    """Load, combine, attack, report."""
    options = config.parse(config.EnsembleConfig, arguments, description=__doc__)
    if options.weights and len(options.weights) != len(options.members):
        raise ExpectedError(
            f"--weights: expected one for each of the {len(options.members)} members. Received: {len(options.weights)}."
        )
    pixel_range = ranges.chosen(options.input_range)
    options = _again(options)
    run = runs.claim(options)
    subjects = [saved.find(text) for text in options.members]
    for one in subjects:
        if options.overwrite and run.path.resolve() in one.path.resolve().parents:
            raise RunError(f"{run.path}: --overwrite would remove {one.path}. Choose another --run.")
    chosen = saved.settings(subjects[0], vars(options))
    splits = data.load_for(**config.picked(chosen, config.DATA))
    data.check_trainable(splits)
    saved.check_unseen(subjects, splits)
    for one in subjects:
        saved.check_labels(one, splits)
    runs.lock(run.path)
    devices.join("none")
    devices.start()
    from chestrobust.evaluation import ensembles

    startup.run_file(options.import_)
    results = ensembles.judge(
        *(subjects, splits, config.picked(chosen, config.ATTACK)),
        pixel_range=pixel_range,
        weights=options.weights,
        resamples=options.resamples,
    )
    run.start(options, data=splits.sha256)
    results = run.finish(options, splits, attack_settings=provenance.options(vars(chosen)), **results)
    print(tables.ensemble(results), f"\nResults: {run.path / 'results.json'}", sep="\n")
    if report := page.write(run.path):
        print(f"Report: {report}")


def _again(options):
    """The options; with `--overwrite` if the folder holds nothing but a combination that was broken off."""
    run = runs.Run(Path(options.run).expanduser())
    unfinished = run.started and not run.finished and "members" in run.read("config.json")
    return dataclasses.replace(options, overwrite=True) if unfinished else options


if __name__ == "__main__":
    sys.exit(startup.run_script(main, after_interrupt="The same command begins again."))
