"""Train a baseline on chest X-rays, then see how badly it can be fooled.

    python diagnosis.py                    ChestMNIST, 28 px
    python diagnosis.py --data phantom     built-in made-up data, nothing to download
    python diagnosis.py --folds 5          cross-validation by patient: mean and spread of the scores

Writes RUN/model.keras, RUN/results.json, RUN/history.csv, RUN/chestxray.png, RUN/model_card.md and the page
RUN/report.html, and prints a table. With --folds, a run for each fold in RUN/fold1of5 ..., and RUN/kfold.json;
interrupted, the same command continues with the fold it was at.
"""

import sys

from chestrobust import config, data, devices, runs, startup
from chestrobust.reporting import card, page, tables, verdict


def main(arguments=None):
    """Train, attack, report."""
    options = config.parse(config.BaselineConfig, arguments, description=__doc__)
    data.check_name(options.data)
    devices.join(options.strategy)
    run = None if options.folds else runs.claim(options)
    if run and run.finished and options.resume:
        with runs.read_back(run):
            told = _told(run, run.read("results.json", "data", "training", "evaluations"))
    else:
        splits = data.load_for(**config.picked(options, config.DATA))
        if run:
            data.check_trainable(splits)
        config.check_task(options, splits.task)
        devices.start(**runs.task(options, splits))
        from chestrobust.training import experiment

        if options.folds:
            print(experiment.cross_validate(options, splits))
            return
        results = experiment.train_baseline(options, splits, run)[1]
        page.write(run.path)
        card.write(run.path)
        told = _told(run, results)
    print(told)


def _told(run, results):
    """The table, the verdict, and what to do next."""
    return f"{tables.table(results)}\n\n{verdict.after_training(run.path, results)}"


if __name__ == "__main__":
    sys.exit(startup.run_script(main))
