"""How a model errs: the views of `explain.py` beside those in `attribution_views.py`."""

import csv
import dataclasses

import keras
import numpy as np
from sklearn.manifold import TSNE
from tqdm import tqdm

from chestrobust import runs, titles
from chestrobust.attacks import named
from chestrobust.data.splits import selection
from chestrobust.errors import RunError
from chestrobust.evaluation import calibration, metrics, outcomes, patients, picture
from chestrobust.explaining import attribution_views
from chestrobust.reporting import cells, figures, graphs


def patient(study):
    """One test image through a model or two, clean and attacked: `--image`, or the one that a run's picture has.

    The foot says how often the attack takes a finding, so that nobody takes an example for the rule.
    """
    splits, models = study.splits, study.models
    cuts = {name: outcomes.thresholds(model, splits) for name, model in models.items()}
    index, how = study.views.image, "chosen by its number"
    if index is None:
        [index], how = patients.chosen(models, splits, cuts, 1), patients.RULE
    *_, pgd = suite = named.quick_suite(study.attack, several=False)
    images, count, shares = patients.taken(models, splits, cuts, pgd)
    of_each = " and ".join(f"{100 * share:.0f} % from {name}" for name, share in shares.items())
    note = f"The patient: {how}."
    if count:
        whose = "the model names" if len(models) == 1 else "both models name"
        note += (
            f" Of {count} findings that {whose} in the first {images} test images with a finding, "
            f"{titles.short(pgd.record())} takes {of_each}."
        )
    figure = picture.of(models, splits, cuts, suite, index, colours=study.colours, note=note)
    return f"{note}\n{study.save(figure, f'patient-{index}')}"


def gallery(study):
    """Adversarial examples per radius (FGSM) and per step size (PGD), with true and predicted findings."""
    judged, splits, pgd = study.judged(), study.splits, study.attack
    # Images of which the model finds something that is there first: there an attack has something to hide.
    found = (judged.predicted(judged.clean) & (splits.test.labels == 1)).any(axis=1)
    present = np.random.default_rng(0).permutation(np.flatnonzero(splits.test.labels.any(axis=1)))
    indices = np.sort(present[np.argsort(~found[present], kind="stable")][: study.views.images])
    names = np.array(splits.label_names)
    sizes = study.views.step_sizes or [pgd.epsilon * share for share in (0.05, 0.1, 0.25, 0.5, 1)]
    radii = [named.Attack("fgsm", epsilon, precision=pgd.precision) for epsilon in study.views.epsilons]
    strides = [dataclasses.replace(study.attack, step_size=size) for size in sizes]
    lines = []
    for title, file, attacks, caption in (
        ("FGSM by epsilon", "gallery-epsilon", radii, lambda attack: titles.length(attack.epsilon)),
        (
            f"{dataclasses.replace(study.attack, step_size=None).title} by step size",
            "gallery-step-size",
            strides,
            lambda attack: titles.length(attack.step_size),
        ),
    ):
        columns = [("clean", study.attacked(indices)[0])]
        columns += [(caption(attack), study.attacked(indices, attack=attack)[2]) for attack in attacks]
        predicted = [judged.predicted(outcomes.answers(study.model, images)) for _, images in columns]
        rows = []
        for row, index in enumerate(indices):
            truth = splits.test.labels[index] == 1
            captions = [
                f"{name}: {_judged(names, truth, answer[row])}"
                for (name, _), answer in zip(columns, predicted, strict=True)
            ]
            true = f"image {index}, true: {_listed(names[truth])}"
            rows.append((true, list(zip(captions, (images[row] for _, images in columns), strict=True))))
        heading = f"{study.heading}; {title}: findings that are seen (\u2713), missed (\u2717) and invented (+)"
        lines.append(study.save(figures.gallery(rows, title=heading), file))
    return "\n".join(lines)


def _judged(names, truth, answer):
    """The report on an image beside the truth: true findings first."""
    parts = [f"\u2713\u00a0{name}" for name in names[truth & answer]]
    parts += [f"\u2717\u00a0{name}" for name in names[truth & ~answer]]
    invented = names[answer & ~truth]
    if len(invented):
        parts.append(f"+\u00a0{invented[0] if len(invented) == 1 else len(invented)}")
    return ", ".join(parts)


def _listed(names, most=3):
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more


def features(study):
    """t-SNE of what the last layer sees, clean and attacked together (van der Maaten and Hinton, 2008)."""
    splits, test = study.splits, study.splits.test
    last = study.model.layers[-1]
    inner = keras.Model(study.model.inputs[0], last.input)
    count = min(len(test), study.views.points)
    seen = {"clean": [], study.attack.title: []}
    chosen = np.arange(len(test))[selection(len(test), count)]  # spread over a test set that is sorted by class
    labels = test.labels[chosen]
    for piece in tqdm(attribution_views.pieces(test[chosen]), "Features", unit=" batches", disable=None):
        images, _, adversarial = study.attacked(chosen[piece])
        for name, pictures in zip(seen, (images, adversarial), strict=True):
            seen[name].append(inner(pictures, training=False).numpy().reshape(len(pictures), -1))
    stacked = np.concatenate([np.concatenate(parts) for parts in seen.values()])
    perplexity = min(30, (len(stacked) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=study.attack.seed).fit_transform(stacked)
    groups, names = _groups(splits, labels)
    panels = {name: points[number * count : (number + 1) * count] for number, name in enumerate(seen)}
    title = f"{study.heading}: t-SNE of the features before the logits, {count} test images"
    figure = graphs.features(panels, groups, names=names, title=title, ordered=splits.task.several)
    return study.save(figure, "features")


def _groups(splits, labels):
    """The group of each image, and all groups: classes; of several labels, how many an image has."""
    if splits.task.exclusive:
        return np.array(splits.label_names)[labels.argmax(axis=1)], splits.label_names
    if not splits.task.several:
        names = (f"no {splits.label_names[0]}", splits.label_names[0])
        return np.array(names)[labels[:, 0]], names
    names = ("no finding", "1 finding", "2 findings", "3 or more")
    return np.array(names)[np.minimum(labels.sum(axis=1, dtype=int), 3)], names


def confusion(study):
    """How reports err on the test split, clean and attacked: matrices of classes, else bars of each label."""
    judged, splits = study.judged(), study.splits
    answers = {"clean": judged.clean, study.attack.title: judged.outcome(study.attack).logits}
    if splits.task.exclusive:
        names = [name.replace("_", "\n") for name in splits.label_names]
        panels = {name: (metrics.confusion(splits.test.labels, logits), names) for name, logits in answers.items()}
        return study.save(graphs.confusion(panels, title=study.heading), "confusion")
    matrices = {
        name: metrics.classification(splits.test.labels, judged.predicted(logits))["confusion"]
        for name, logits in answers.items()
    }
    title = f"{study.heading}: missed and invented findings of {len(splits.test)} test images"
    colour = study.colours[study.name]
    return study.save(graphs.findings(matrices, splits.label_names, title=title, colour=colour), "confusion")


def reliability(study):
    """How often a finding is there that the models say with some probability, clean and attacked."""
    task, test = study.splits.task, study.splits.test
    panels = {}
    for attack in (named.CLEAN, study.attack):
        panels[attack.title] = {}
        for name, model in study.models.items():
            scores = task.probabilities(outcomes.run(model, task, test, attack, progress=True).logits)
            error = metrics.macro(calibration.error(test.labels, scores))
            found = study.colours[name], *calibration.reliability(test.labels, scores), error
            panels[attack.title][name] = found
    title = f"{titles.data_title(study.splits.summary())}, {len(test)} test images: {' and '.join(study.models)}"
    return study.save(graphs.reliability(panels, title=title), "reliability")


def curves(study):
    """Loss and AUC over the epochs, from `history.csv`."""
    path = study.subjects[0].run.path / "history.csv"
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        columns = {name: [float(row[name]) for row in rows] for name in rows[0]}
    except (OSError, ValueError, IndexError, TypeError) as error:
        raise RunError(f"{path}: expected a run's history. Received: {error}.") from None
    one = study.subjects[0]
    best = one.run.read("results.json").get("training", {}).get("best_epoch") if one.own_run else None
    heading = f"{titles.data_title(one.data)}; {study.name}" if one.run.finished else study.heading
    return study.save(graphs.history(columns, best=best, title=heading, colour=study.colours[study.name]), "curves")


def scores(study):
    """A table of each label's scores, clean and attacked, also written to `metrics.txt`."""
    judged, splits = study.judged(), study.splits
    clean = judged.row({"attack": "clean", "epsilon": 0.0}, [judged.clean])
    attacked = judged.row(study.attack.record(), [judged.outcome(study.attack).logits])
    predicted = metrics.classification(splits.test.labels, judged.predicted(judged.clean))
    rows = []
    for number, name in enumerate(splits.label_names):
        threshold = "" if splits.task.exclusive else f"{judged.thresholds[number]:.3f}"
        counts = [str(int(splits.test.labels[:, number].sum())), threshold]
        aucs = [
            cells.with_interval(entry["per_label_auc"][name], entry["intervals"]["per_label_auc"][name])
            for entry in (clean, attacked)
        ]
        parts = [f"{predicted[key][number]:.3f}" for key in ("precision", "recall", "f1")]
        rows.append([name, *counts, *aucs, *parts])
    aucs = [cells.with_interval(entry["macro_auc"], entry["intervals"]["macro_auc"]) for entry in (clean, attacked)]
    for kind in ("macro", "micro"):
        parts = [f"{predicted[f'{kind}_{key}']:.3f}" for key in ("precision", "recall", "f1")]
        rows.append([kind, "", "", *(aucs if kind == "macro" else ["", ""]), *parts])
    header = [
        "Label",
        "n",
        "Cut",
        "AUC [95 %]",
        f"AUC, {titles.short(study.attack.record())}",
        "Precision",
        "Recall",
        "F1",
    ]
    heading = f"{study.heading}: {len(splits.test)} test images, {study.attack.title}"
    text = "\n".join([heading, "", *cells.markdown(header, rows)])
    runs.Run(study.folder).write("metrics.txt", text + "\n")
    return f"{text}\n\nTable: {study.folder / 'metrics.txt'}"


VIEWS = {
    "patient": patient,
    "gallery": gallery,
    "features": features,
    "confusion": confusion,
    "reliability": reliability,
    "curves": curves,
    "metrics": scores,
}
