"""Train a baseline on chest X-rays, then see how badly it can be fooled.

    python diagnosis.py                    ChestMNIST, 28 px
    python diagnosis.py --data phantom     built-in made-up data, nothing to download

Writes RUN/model.keras, RUN/results.json, RUN/history.csv and RUN/chestxray.png, and prints a table.
"""

import sys

import config
import data
import devices
import report
import runs
import startup


def main(arguments=None):
    """Train, attack, report."""
    options = config.parse(config.BaselineConfig, arguments, description=__doc__)
    devices.join(options.strategy)
    run = runs.claim(options)
    if run.finished and options.resume:
        results = run.read("results.json", "data", "training", "evaluations")
    else:
        splits = data.load_for(options)
        _, results = train_baseline(options, splits, run)
    print(report.table(results), f"\nFigure: {run.path / 'chestxray.png'}", sep="\n")


def train_baseline(options, splits, run):
    """Train and evaluate a standard model in `run`; returns it with what `results.json` holds."""
    data.check_trainable(splits)
    config.check_task(options, splits.task)
    devices.start()
    import experiment
    import robustness
    import training

    # Before anything is written: weights that can't be had should be known now.
    classifier = experiment.new_classifier(options, splits)
    run.start(options, data=splits.sha256)
    print(f"Baseline ({options.model}), {report.data_title(splits.summary())}, in {run.path}")
    classifier, summary = training.train(classifier, splits, options, run)
    suite = robustness.quick_suite(options)
    results = {"model": experiment.describe(options, classifier), "training": summary}
    results["evaluations"] = robustness.evaluate(classifier, splits, suite)
    results["thresholds"] = experiment.thresholds(classifier, splits)
    experiment.draw(classifier, splits, suite, run)
    return classifier, run.finish(options, splits, **results)


if __name__ == "__main__":
    sys.exit(startup.run_script(main))
