"""Train a robust model on chest X-rays and put it beside the baseline, under the same attacks.

    python diagnosis_adv.py                         after python diagnosis.py
    python diagnosis_adv.py --data phantom          built-in made-up data, nothing to download
    python diagnosis_adv.py --recipe best           a network and a training that are harder to fool
    python diagnosis_adv.py --init-from RUN         fine-tune a trained model instead of starting from scratch
    python diagnosis_adv.py --init-from MODEL.keras --data ...     the same of any Keras classifier

Writes what diagnosis.py writes, and ends with both models in one table.
"""

import sys

from chestrobust import config, data, devices, runs, startup
from chestrobust.config import recipes
from chestrobust.data import ranges
from chestrobust.errors import RunError
from chestrobust.reporting import card, page, tables, verdict
from chestrobust.runs import modelfile, saved


def main(arguments=None):
    """Train adversarially, attack both models, report."""
    options = config.parse(config.AdversarialConfig, arguments, description=__doc__)
    data.check_name(options.data)
    devices.join(options.strategy)
    ranges.chosen(options.input_range)
    run = runs.claim(options)
    if run.finished and options.resume:
        with runs.read_back(run):
            told = _told(run, run.read("results.json", "data", "training", "evaluations", "baseline"))
    else:
        source, baseline = (saved.find(path) if path else None for path in (options.init_from, options.baseline))
        for other in filter(None, (source, baseline)):
            if options.overwrite and run.path.resolve() in other.path.resolve().parents:
                raise RunError(
                    f"{other.path}: --overwrite would remove this model, which is needed. Choose another --run."
                )
            modelfile.check(other.path)
        if options.method == "static":
            source = source or (baseline if baseline and not baseline.own_run else None)
        foreign = source is not None and not source.own_run
        if foreign:
            config.check_brought(options)
        splits = data.load_for(**config.picked(options, config.DATA))
        data.check_trainable(splits)
        config.check_task(options, splits.task)
        begun = runs.Run(run.path / "baseline").started and not options.overwrite
        if not baseline and not begun and not foreign:
            baseline = _default_baseline(options, splits)
        saved.check_unseen(filter(None, (source, baseline)), splits)
        for other in filter(None, (source, baseline)):
            if other.own_run:
                runs.check_fits(other.run, splits)
        fitted = source or (baseline if options.method == "static" else None)
        if fitted and not foreign:
            runs.check_same_model(fitted.run, config.picked(options, config.MODEL))
        devices.start(**runs.task(options, splits))
        from chestrobust.training import experiment

        startup.run_file(options.import_)
        results = experiment.train_robust(options, splits, run, source, baseline)
        page.write(run.path)
        card.write(run.path)
        told = _told(run, results)
    print(told)
    if better := recipes.better(options.recipe):
        print(better)


def _told(run, results):
    """Both models in one table, the verdict, and what to do next."""
    return f"{tables.comparison(results)}\n\n{verdict.after_training(run.path, results)}"


def _default_baseline(options, splits):
    """`runs/baseline`, if it is finished and the same model trained on the same images with the same seed."""
    try:
        run = runs.finished(config.BaselineConfig.run)
        results = run.read("results.json", "data", "config")
        runs.check_same_model(run, config.picked(options, config.MODEL))
    except RunError:
        return None
    same = all(results["data"].get(key) == splits.summary()[key] for key in ("sha256", "counts", "image_shape"))
    return saved.find(run.path) if same and results["config"].get("seed") == options.seed else None


if __name__ == "__main__":
    sys.exit(startup.run_script(main))
