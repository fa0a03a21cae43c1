"""How a combination of models scores, clean and attacked: what `ensemble.py` computes."""

import dataclasses

import numpy as np
from tqdm import tqdm

import combining
import metrics
import robustness
import scoring

THROUGH = "end to end"


def judge(members, splits, chosen, options):
    """Evaluate members and their combinations.

    Args:
        members: Models that return logits, by name.
        splits: The `Splits`. Validation images fit the stacking and choose thresholds; test images are scored.
        chosen: The attack's options, from `subjects.settings`.
        options: An `EnsembleConfig`.

    Returns:
        What `results.json` holds: `evaluations`, a row for each model and attack, and `thresholds`.
    """
    task, names = splits.task, list(members)
    pgd = robustness.quick_suite(chosen)[-1]
    val = answers(members, task, splits.val, robustness.CLEAN)[0]
    clean = answers(members, task, splits.test, robustness.CLEAN)[0]
    through = {name: answers(members, task, splits.test, pgd, model) for name, model in members.items()}
    ways = combining.ways(task, options.weights or [1] * len(members), val, splits.val.labels)
    whole = {
        # The twin knows no combinations, so gradients through one are float32.
        way: answers(
            members,
            task,
            splits.test,
            dataclasses.replace(pgd, precision="float32"),
            combining.Combined(list(members.values()), combine),
        )
        for way, combine in ways.items()
        if way != "vote"
    }
    whole["vote"] = whole["mean of probabilities"]

    evaluations, thresholds = [], {}
    own = dataclasses.replace(options, seed=chosen.seed)

    def add(model, combine, attacks):
        before = np.asarray(combine(clean))
        cuts = metrics.best_thresholds(splits.val.labels, metrics.probabilities(task, np.asarray(combine(val))))
        if model == "vote":
            cuts = np.full(len(cuts), 0.5 - 10 * combining.NEVER)  # as much weight for yes as for no is enough
        thresholds[model] = dict(zip(splits.label_names, map(float, cuts), strict=True))
        rows = scoring.Scores(splits, own, before, cuts, {})
        evaluations.append({"model": model, "through": None, **rows.row(robustness.CLEAN.record(), [before])})
        for source, (logits, largest) in attacks.items():
            record = {**pgd.record(), "max_perturbation": largest}
            evaluations.append({"model": model, "through": source, **rows.row(record, [np.asarray(combine(logits))])})

    for number, name in enumerate(names):
        add(name, lambda logits, number=number: logits[number], {name: through[name]})
    for way, combine in ways.items():
        add(way, combine, through | {THROUGH: whole[way]})
    return {"members": names, "evaluations": evaluations, "thresholds": thresholds}


def answers(members, task, split, attack, source=None):
    """What all members answer to the same attacked images, batch by batch.

    Args:
        members: Models that return logits, by name.
        task: The `Splits.task`.
        split: A `Split`.
        attack: An `Attack`.
        source: The model that is attacked; None if the attack needs none.

    Returns:
        Logits, `(members, count, num_labels)`, and the largest change of a pixel.
    """
    size = max(8, robustness.PIXELS_PER_BATCH // int(np.prod(split.images.shape[1:3])))
    logits, largest = np.zeros((len(members), *split.labels.shape), np.float32), 0.0
    with tqdm(total=len(split), desc=attack.title, unit=" images", leave=False) as bar:
        for begin in range(0, len(split), size):
            indices = np.arange(begin, min(begin + size, len(split)))
            images = split.images[indices].astype(np.float32) / 255
            attacked = attack(source, images, split.labels[indices].astype(np.float32), task=task, indices=indices)
            largest = max(largest, float(np.abs(attacked - images).max()))
            for number, model in enumerate(members.values()):
                logits[number, indices] = robustness.answers(model, attacked)
            bar.update(len(indices))
    return logits, largest
