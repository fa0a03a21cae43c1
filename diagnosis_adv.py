"""Train a robust model on chest X-rays and put it beside the baseline, under the same attacks.

    python diagnosis_adv.py                         after python diagnosis.py
    python diagnosis_adv.py --data phantom          built-in made-up data, nothing to download
    python diagnosis_adv.py --init-from RUN         fine-tune a trained model instead of starting from scratch

Writes what diagnosis.py writes, and ends with both models in one table.
"""

import dataclasses
import os
import sys

import config
import data
import devices
import provenance
import report
import runs
import startup
from diagnosis import train_baseline


def main(arguments=None):
    """Train adversarially, attack both models, report."""
    options = config.parse(config.AdversarialConfig, arguments, description=__doc__)
    devices.join(options.strategy)
    run = runs.claim(options)
    if run.finished and options.resume:
        results = run.read("results.json", "data", "training", "evaluations", "baseline")
    else:
        source, baseline = (runs.finished(path) if path else None for path in (options.init_from, options.baseline))
        for other in filter(None, (source, baseline)):
            if options.overwrite and run.path.resolve() in (other.path.resolve(), *other.path.resolve().parents):
                raise runs.RunError(
                    f"{other.path}: --overwrite would remove this run, which is needed. Choose another --run."
                )
        splits = data.load_for(options)
        results = train_robust(options, splits, run, source, baseline)
    print(report.comparison(results), f"\nFigure: {run.path / 'chestxray.png'}", sep="\n")


def train_robust(options, splits, run, source, baseline):
    """Train and evaluate a robust model in `run`, and a baseline on the way if there is none; returns the results.

    Args:
        options: An `AdversarialConfig`.
        splits: The `Splits`.
        run: The `Run` to write.
        source: The finished `Run` whose weights to start from, or None.
        baseline: The finished `Run` to compare with, or None to find or train one.
    """
    data.check_trainable(splits)
    config.check_task(options, splits.task)
    begun = runs.Run(run.path / "baseline").started and not options.overwrite
    if not baseline and not begun:
        baseline = _default_baseline(options, splits)
    for other in filter(None, (source, baseline)):
        runs.check_fits(other, splits)
    static = options.method == "static"
    if source or (static and baseline):
        runs.check_same_model(source or baseline, options)
    devices.start()
    import experiment
    import models
    import robustness
    import static as static_set
    import training

    # Before anything is written or trained: a model that can't be loaded should be known now.
    start_from = models.load(source.path / "model.keras") if source else None
    undefended = models.load(baseline.path / "model.keras") if baseline else None
    classifier = experiment.new_classifier(options, splits)
    given = {"init_from": source, "baseline": baseline}
    origin = {name: provenance.sha256(other.path / "model.keras") for name, other in given.items() if other}
    run.start(options, data=splits.sha256, **origin)
    if not baseline:
        baseline, undefended = _train_own_baseline(options, splits, run)
    if source or static:
        classifier.set_weights((start_from or undefended).get_weights())
    if static:
        print(static_set.WARNING)
        examples, shown = training.clean_examples, static_set.joined(splits, models.logits(classifier), options, run)
    else:
        loss = experiment.attack_loss(options, splits)
        examples, shown = training.adversarial_examples(models.logits(classifier), loss, options), splits
    suite = robustness.quick_suite(options)
    trained_on = baseline.read("results.json", "data")["data"]
    if any(trained_on.get(key) != splits.summary()[key] for key in ("sha256", "counts")):
        print(
            f"Note: {baseline.path} was trained on other images, {report.data_title(trained_on)}; "
            "both models are attacked on those of this run."
        )
    print(f"Robust model ({options.model}), {report.data_title(splits.summary())}, in {run.path}")
    selection = dataclasses.replace(suite[-1], restarts=1)
    classifier, summary = training.train(classifier, shown, options, run, examples=examples, selection=selection)
    print("Attacking both models")
    results = {
        "model": experiment.describe(options, classifier),
        "evaluations": robustness.evaluate(classifier, splits, suite),
        "training": summary,
        "thresholds": experiment.thresholds(classifier, splits),
        "baseline": {
            "run": str(baseline.path),
            "data": trained_on,
            # Of what is attacked, even if another run has taken its place meanwhile.
            "sha256": origin.get("baseline") or provenance.sha256(baseline.path / "model.keras"),
            # From this run's folder, so that it is found from anywhere.
            "path": os.path.relpath(baseline.path.resolve(), run.path.resolve()),
            "evaluations": robustness.evaluate(undefended, splits, suite),
        },
    }
    experiment.draw(classifier, splits, suite, run)
    return run.finish(options, splits, **results)


def _default_baseline(options, splits):
    """`runs/baseline`, if it is finished and the same model trained on the same images with the same seed."""
    try:
        run = runs.finished(config.BaselineConfig.run)
        results = run.read("results.json", "data", "config")
        runs.check_same_model(run, options)
    except runs.RunError:
        return None
    same = all(results["data"].get(key) == splits.summary()[key] for key in ("sha256", "counts", "image_shape"))
    return run if same and results["config"].get("seed") == options.seed else None


def _train_own_baseline(options, splits, run):
    """The run and the model of a baseline with the same options in `RUN/baseline`, which is trained if need be."""
    names = [field.name for field in dataclasses.fields(config.BaselineConfig)]
    own = {**{name: getattr(options, name) for name in names}, "run": str(run.path / "baseline")}
    # A random backbone must learn, even if the one to be fine-tuned is frozen.
    own |= {"resume": True, "overwrite": False, "freeze": options.freeze and options.weights != "none"}
    own_options = config.BaselineConfig(**own)
    own_run = runs.claim(own_options)
    if devices.from_chief(lambda: own_run.finished):
        import models

        return own_run, models.load(own_run.path / "model.keras")
    return own_run, train_baseline(own_options, splits, own_run)[0]


if __name__ == "__main__":
    sys.exit(startup.run_script(main))
