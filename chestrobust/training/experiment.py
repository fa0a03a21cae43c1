"""What the training scripts do once options and data are known: a baseline, and a robust model beside it."""

import dataclasses
import os
from pathlib import Path

import keras

from chestrobust import config, devices, files, models, runs, titles
from chestrobust.attacks import named
from chestrobust.data import ranges
from chestrobust.evaluation import gallery, outcomes, picture
from chestrobust.runs import provenance, saved
from chestrobust.training import augment, examples, folds, loop, methods, static_set

FOLDS = "runs/kfold"


def train_baseline(options, splits, run):
    """Train and evaluate a standard model in `run`; returns it with what `results.json` holds."""
    # Before anything is written: weights that can't be had should be known now.
    classifier = new_classifier(options, splits)
    run.start(options, data=splits.sha256)
    print(f"Baseline ({options.model}), {titles.data_title(splits.summary())}, in {run.path}")
    classifier, summary = loop.train(classifier, splits, recipe(options), run)
    print(kept(summary))
    pgd = named.reported_pgd(**config.picked(options, config.ATTACK))
    suite = named.quick_suite(pgd, splits.task.several)
    results = {"model": describe(options, classifier), "training": summary}
    cuts = outcomes.thresholds(models.logits(classifier), splits)
    results |= _scored(classifier, splits, suite, cuts, options.seed)[0]
    _show({run.path.resolve().name: classifier}, splits, [cuts], suite, run)
    return classifier, run.finish(options, splits, **results)


def cross_validate(options, splits):
    """Train and test a baseline once per fold in RUN/fold1of5 ..., as `folds.cross_validate`; returns its table.

    Folds that are there already are taken as they are, unfinished ones continued; `--overwrite` trains all again.
    """
    folder = Path(FOLDS if options.run == config.BaselineConfig.run else options.run)

    def train(dealt, name):
        once = {"resume": not options.overwrite, "folds": None, "params": None}
        own = dataclasses.replace(options, run=str(folder / name), **once)
        run = runs.claim(own)
        if run.finished and not options.overwrite:
            return run.read("results.json", "evaluations")
        return train_baseline(own, dealt, run)[1]

    return folds.cross_validate(train, splits, options.folds, folder.expanduser())


def train_robust(options, splits, run, source, baseline):
    """Train and evaluate a robust model in `run`, and a baseline on the way if there is none; returns the results.

    Args:
        options: An `AdversarialConfig`.
        splits: The `Splits`.
        run: The `Run` to write.
        source: The `saved.Saved` model to start from, or None; a file that is no run's brings its own architecture.
        baseline: The `saved.Saved` model to compare with, or None: such a file itself, else one is found or trained.
    """
    # Before anything is written or trained: a model that can't be loaded should be known now.
    foreign = source is not None and not source.own_run
    baseline = baseline or (source if foreign else None)
    start_from = _loaded(source, splits, options) if source else None
    undefended = _loaded(baseline, splits, options) if baseline else None
    classifier = start_from if foreign else new_classifier(options, splits)
    methods.check(options, splits.task, classifier)
    origin = _hashes(init_from=source, baseline=baseline)
    run.start(options, data=splits.sha256, **origin)
    if not baseline:
        baseline, undefended = _train_own_baseline(options, splits, run)
    if not foreign and (source or options.method == "static"):
        classifier.set_weights((start_from or undefended).get_weights())
    shown, make = _trained_on(options, splits, run, classifier)
    pgd = named.reported_pgd(**config.picked(options, config.ATTACK))
    suite = named.quick_suite(pgd, splits.task.several)
    trained_on = _images_of(baseline, splits)
    name = source.path.name if foreign else options.model
    print(f"Robust model ({name}), {titles.data_title(splits.summary())}, in {run.path}")
    classifier, summary = loop.train(
        *(classifier, shown, recipe(options), run),
        examples=make,
        selection=methods.selection(options, pgd, splits.task),
        collapse=methods.COLLAPSE.get(options.method),
    )
    print(kept(summary))
    print("Attacking both models")
    cuts = [outcomes.thresholds(models.logits(model), splits) for model in (classifier, undefended)]
    scores, after = _scored(classifier, splits, suite, cuts[0], options.seed)
    baselines, before = _scored(undefended, splits, suite, cuts[1], options.seed)
    results = {
        "model": describe(options, classifier) | {"name": name},
        **scores,
        "training": {**summary, "passes": methods.passes(options)},
        "baseline": {
            "data": trained_on,
            **_whereabouts(baseline, undefended, run, origin),
            **baselines,
            "differences": [
                {"attack": attack.attack, "epsilon": attack.epsilon, **robust.minus(standard)}
                for attack, robust, standard in zip(suite, after, before, strict=True)
            ],
        },
    }
    _show({"baseline": undefended, "robust": classifier}, splits, cuts[::-1], suite, run)
    return run.finish(options, splits, **results)


def _hashes(**given):
    """The hash of each `saved.Saved` model that there is, by its name."""
    return {name: provenance.sha256(other.path) for name, other in given.items() if other}


def _images_of(baseline, splits):
    """What results say of the data that a baseline was trained on; says so if they aren't those of this run."""
    trained_on = baseline.data if baseline.own_run else {}
    if trained_on and any(trained_on.get(key) != splits.summary()[key] for key in ("sha256", "counts")):
        print(
            f"Note: {baseline.run.path} was trained on other images, {titles.data_title(trained_on)}; "
            "both models are attacked on those of this run."
        )
    return trained_on


def _show(classifiers, splits, thresholds, suite, run):
    """Write the picture and the gallery of classifiers by name, each with its thresholds."""
    shown = {name: models.logits(classifier) for name, classifier in classifiers.items()}
    cuts = dict(zip(shown, thresholds, strict=True))
    picture.draw(shown, splits, cuts, suite, run)
    gallery.write(shown, splits, cuts, run.path, precision=suite[0].precision)


def _trained_on(options, splits, run, classifier):
    """The `Splits` that adversarial training goes through, and what each of its steps makes of them."""
    if options.method != "static":
        return splits, methods.examples_of(options, splits, classifier)
    print(static_set.WARNING)
    joined = static_set.joined(
        *(splits, models.logits(classifier), run),
        epsilon=options.train_epsilon,
        loss=methods.attack_loss(options, splits),
        precision=options.precision,
    )
    return joined, examples.clean_examples


def _scored(classifier, splits, suite, thresholds, seed):
    """A model's `evaluations` and `thresholds` as results hold them, and its `Measured` answers to each attack."""
    rows, answers = zip(*outcomes.judged(classifier, splits, suite, thresholds=thresholds, seed=seed), strict=True)
    return {"evaluations": list(rows), "thresholds": splits.by_label(thresholds)}, answers


def _loaded(subject, splits, options):
    """The classifier of a `saved.Saved` model; around a stranger's stand the layers that make it one of these data."""
    with devices.strategy().scope():
        if subject.own_run:
            return models.load(subject.path)
        found = models.opened(subject.path, splits, ranges.chosen(options.input_range))
        if found.adapters:
            print(f"Put around {subject.path.name}: {'; '.join(found.adapters)}.")
        return found.classifier(splits.task)


def _whereabouts(baseline, undefended, run, origin):
    """What results say of where the baseline is; a stranger's is kept as it was attacked, in `RUN/baseline`."""
    path, shown = baseline.path, baseline.run.path if baseline.own_run else baseline.path
    if not baseline.own_run:
        path = run.path / "baseline" / "model.keras"
        if devices.chief():
            path.parent.mkdir(exist_ok=True)
            with files.writing(path) as temporary:
                undefended.save(temporary)
    return {
        "run": shown.name if shown.is_absolute() else str(shown),
        # Of what is attacked, even if another run has taken its place meanwhile.
        "sha256": origin["baseline"] if "baseline" in origin and baseline.own_run else provenance.sha256(path),
        # From this run's folder, so that it is found from anywhere.
        "path": os.path.relpath(path.parent.resolve(), run.path.resolve()),
    }


def _train_own_baseline(options, splits, run):
    """A baseline with the same options in `RUN/baseline`, trained if need be: the `saved.Saved` and the classifier."""
    names = [field.name for field in dataclasses.fields(config.BaselineConfig)]
    settings = {**{name: getattr(options, name) for name in names}, "run": str(run.path / "baseline")}
    # A random backbone must learn, even if the one to be fine-tuned is frozen.
    settings |= {"resume": True, "overwrite": False, "freeze": options.freeze and options.weights != "none"}
    options = config.BaselineConfig(**settings)
    run = runs.claim(options)
    if devices.from_chief(lambda: run.finished):
        return saved.Saved(run.path / "model.keras", run), models.load(run.path / "model.keras")
    return saved.Saved(run.path / "model.keras", run), train_baseline(options, splits, run)[0]


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
    own = {"replays": methods.replays(options)}
    names = {field.name for field in dataclasses.fields(loop.Recipe)} - {"augmentation", *own}
    changes = {field.name: getattr(options, field.name) for field in dataclasses.fields(augment.Augmentation)}
    return loop.Recipe(augmentation=augment.of(options.augment, **changes), **config.picked(options, names), **own)


def kept(summary):
    """Which epoch's weights are kept, in one line; `summary` is what `loop.train` returns."""
    under = "" if summary["selected_on"] == named.CLEAN.title else f" under {summary['selected_on']}"
    score = f"best validation macro AUC {summary['best_val_auc']:.3f}{under}"
    return f"Kept the weights of epoch {summary['best_epoch']} of {summary['epochs']} ({score})"


def describe(options, classifier):
    """What `results.json` says about the model."""
    return {"name": options.model, "attention": options.attention, "parameters": classifier.count_params()}
