"""What the training scripts do once options and data are known: a baseline, and a robust model beside it."""

import dataclasses
import os

import keras

from chestrobust import config, devices, models, runs, titles
from chestrobust.attacks import named
from chestrobust.evaluation import outcomes, picture
from chestrobust.runs import provenance
from chestrobust.training import augment, examples, loop, methods, static_set


def train_baseline(options, splits, run):
    """Train and evaluate a standard model in `run`; returns it with what `results.json` holds."""
    # Before anything is written: weights that can't be had should be known now.
    classifier = new_classifier(options, splits)
    run.start(options, data=splits.sha256)
    print(f"Baseline ({options.model}), {titles.data_title(splits.summary())}, in {run.path}")
    classifier, summary = loop.train(classifier, splits, recipe(options), run)
    suite = named.quick_suite(options, splits.task.several)
    results = {"model": describe(options, classifier), "training": summary}
    results["evaluations"] = outcomes.evaluate(classifier, splits, suite)
    results["thresholds"] = splits.by_label(outcomes.thresholds(models.logits(classifier), splits))
    picture.draw(classifier, splits, suite, run)
    return classifier, run.finish(options, splits, **results)


def train_robust(options, splits, run, source, baseline):
    """Train and evaluate a robust model in `run`, and a baseline on the way if there is none; returns the results.

    Args:
        options: An `AdversarialConfig`.
        splits: The `Splits`.
        run: The `Run` to write.
        source: The finished `Run` whose weights to start from, or None.
        baseline: The finished `Run` to compare with, or None to find or train one.
    """
    static = options.method == "static"
    # Before anything is written or trained: a model that can't be loaded should be known now.
    start_from = models.load(source.path / "model.keras") if source else None
    undefended = models.load(baseline.path / "model.keras") if baseline else None
    classifier = new_classifier(options, splits)
    given = {"init_from": source, "baseline": baseline}
    origin = {name: provenance.sha256(other.path / "model.keras") for name, other in given.items() if other}
    run.start(options, data=splits.sha256, **origin)
    if not baseline:
        baseline, undefended = _train_own_baseline(options, splits, run)
    if source or static:
        classifier.set_weights((start_from or undefended).get_weights())
    if static:
        print(static_set.WARNING)
        shown = static_set.joined(
            *(splits, models.logits(classifier), run),
            epsilon=options.train_epsilon,
            loss=methods.attack_loss(options, splits),
            precision=options.precision,
        )
        make = examples.clean_examples
    else:
        make, shown = methods.examples_of(options, splits, classifier), splits
    suite = named.quick_suite(options, splits.task.several)
    trained_on = baseline.read("results.json", "data")["data"]
    if any(trained_on.get(key) != splits.summary()[key] for key in ("sha256", "counts")):
        print(
            f"Note: {baseline.path} was trained on other images, {titles.data_title(trained_on)}; "
            "both models are attacked on those of this run."
        )
    print(f"Robust model ({options.model}), {titles.data_title(splits.summary())}, in {run.path}")
    classifier, summary = loop.train(
        *(classifier, shown, recipe(options), run),
        examples=make,
        selection=named.choosing_pgd(options, splits.task.several),
        collapse=methods.COLLAPSE.get(options.method),
    )
    print("Attacking both models")
    results = {
        "model": describe(options, classifier),
        "evaluations": outcomes.evaluate(classifier, splits, suite),
        "training": {**summary, "passes": methods.passes(options)},
        "thresholds": splits.by_label(outcomes.thresholds(models.logits(classifier), splits)),
        "baseline": {
            "run": baseline.path.name if baseline.path.is_absolute() else str(baseline.path),
            "data": trained_on,
            # Of what is attacked, even if another run has taken its place meanwhile.
            "sha256": origin.get("baseline") or provenance.sha256(baseline.path / "model.keras"),
            # From this run's folder, so that it is found from anywhere.
            "path": os.path.relpath(baseline.path.resolve(), run.path.resolve()),
            "evaluations": outcomes.evaluate(undefended, splits, suite),
        },
    }
    picture.draw(classifier, splits, suite, run)
    return run.finish(options, splits, **results)


def _train_own_baseline(options, splits, run):
    """The run and the model of a baseline with the same options in `RUN/baseline`, which is trained if need be."""
    names = [field.name for field in dataclasses.fields(config.BaselineConfig)]
    settings = {**{name: getattr(options, name) for name in names}, "run": str(run.path / "baseline")}
    # A random backbone must learn, even if the one to be fine-tuned is frozen.
    settings |= {"resume": True, "overwrite": False, "freeze": options.freeze and options.weights != "none"}
    options = config.BaselineConfig(**settings)
    run = runs.claim(options)
    if devices.from_chief(lambda: run.finished):
        return run, models.load(run.path / "model.keras")
    return run, train_baseline(options, splits, run)[0]


def new_classifier(options, splits):
    """The options' model, with weights from their seed or where they say, on all devices.

    Raises:
        ModelError: If the weights can't be had.
    """
    keras.utils.set_random_seed(options.seed)
    with devices.strategy().scope():
        return models.build(
            options.model,
            splits.image_shape,
            len(splits.label_names),
            dropout=options.dropout,
            activation=splits.task.activation,
            attention=options.attention,
            weights=options.weights,
            freeze=options.freeze,
            backbone_size=options.backbone_size,
        )


def recipe(options):
    """The `loop.Recipe` in a `BaselineConfig`."""
    names = [field.name for field in dataclasses.fields(loop.Recipe) if field.name != "augmentation"]
    changes = {field.name: getattr(options, field.name) for field in dataclasses.fields(augment.Augmentation)}
    return loop.Recipe(
        augmentation=augment.of(options.augment, **changes), **{name: getattr(options, name) for name in names}
    )


def describe(options, classifier):
    """What `results.json` says about the model."""
    return {"name": options.model, "attention": options.attention, "parameters": classifier.count_params()}
