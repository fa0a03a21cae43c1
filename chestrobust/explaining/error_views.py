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
from chestrobust.evaluation import metrics, outcomes
from chestrobust.explaining import attribution_views
from chestrobust.reporting import cells, figures


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
    if splits.task.exclusive:
        groups = np.array(splits.label_names)[labels.argmax(axis=1)]
    else:
        groups = np.where(labels.any(axis=1), "with a finding", "no finding")
    panels = {name: points[number * count : (number + 1) * count] for number, name in enumerate(seen)}
    title = f"{study.heading}: t-SNE of the features before the logits, {count} test images"
    return study.save(figures.features(panels, groups, title=title), "features")


def confusion(study):
    """Confusion matrices on the test split, clean and attacked."""
    judged, splits, panels = study.judged(), study.splits, {}
    answers = {"clean": judged.clean, study.attack.title: judged.outcome(study.attack).logits}
    if splits.task.exclusive:
        for name, logits in answers.items():
            names = [name.replace("_", "\n") for name in splits.label_names]
            panels[name] = ([metrics.confusion(splits.test.labels, logits)], names, names)
    else:
        matrices = [
            metrics.classification(splits.test.labels, judged.predicted(logits))["confusion"]
            for logits in answers.values()
        ]
        for name, clean, attacked in zip(splits.label_names, *matrices, strict=True):
            panels[name] = ([clean, attacked], ("no", "yes"), ("clean:\nno", "yes", "attacked:\nno", "yes"))
    return study.save(figures.confusion(panels, title=f"{study.heading}; {study.attack.title}"), "confusion")


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
    return study.save(figures.history(columns, best=best, title=heading), "curves")


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


VIEWS = {"gallery": gallery, "features": features, "confusion": confusion, "curves": curves, "metrics": scores}
