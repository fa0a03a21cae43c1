"""Do the numbers in a run's `results.json` hold? They are computed again from `model.keras` and the data."""

from dataclasses import replace

from chestrobust import models, runs, titles
from chestrobust.attacks import named
from chestrobust.config import ATTACK
from chestrobust.errors import RunError
from chestrobust.evaluation import outcomes

# What the rows of earlier versions lack.
LATER = (
    "macro_sensitivity",
    "macro_specificity",
    "per_label_sensitivity",
    "per_label_specificity",
    "brier",
    "calibration_error",
    "per_label_brier",
    "per_label_calibration_error",
    "intervals",
    "difference",
)
TOLERANCE = 1e-3  # The same machine repeats every digit; on another, rounding lets a few images change places.


def verify(run, results, splits):
    """Attack the test split again and print for each attack whether its numbers hold, the baseline's too.

    Args:
        run: The `Run`.
        results: What `results.json` holds; see `recorded`.
        splits: The `Splits`.

    Returns:
        Whether all numbers are within `TOLERANCE` of the recorded ones.

    Raises:
        RunError: If the results aren't those of their own configuration.
        ModelError: If a model can't be loaded.
    """
    suite, classifier = _suite(run, results["config"], results["evaluations"]), models.load(run.path / "model.keras")
    checks = []

    def check(name, before, now):
        count, place, ours, theirs, difference = compare(before, now)
        checks.append(difference <= TOLERANCE)
        detail = "" if checks[-1] else f": {place} {ours} recorded, {theirs} now"
        print(
            f"{'holds' if checks[-1] else 'DIFFERS':>7}  {name}: {count} numbers, "
            f"largest difference {difference:.2g}{detail}"
        )

    def check_model(prefix, classifier, recorded):
        cuts, known = outcomes.thresholds(models.logits(classifier), splits), {}
        settings = {"thresholds": cuts, "seed": results["config"].get("seed", 0), "known": known}
        for attack, before in zip(suite, recorded["evaluations"], strict=True):
            (now,) = outcomes.evaluate(classifier, splits, [attack], **settings)
            lacking = {name for name in LATER if name not in before}
            check(f"{prefix}{titles.title(before)}", before, {key: now[key] for key in now if key not in lacking})
        if "thresholds" in recorded:  # those of a baseline are not in runs of earlier versions
            check(f"{prefix}thresholds", recorded["thresholds"], splits.by_label(cuts))

    check_model("", classifier, results)
    missing = ""
    if "baseline" in results:
        path, missing = runs.baseline_of(run.path, results)
        if path:
            _suite(run, results["config"], results["baseline"].get("evaluations"))
            check_model("baseline, ", models.load(path), results["baseline"])
    print(
        f"{sum(checks)} of {len(checks)} hold (tolerance {TOLERANCE})"
        f"{f'; not checked: the baseline, as {missing}' if missing else ''}"
    )
    return all(checks)


def _suite(run, recorded, evaluations):
    """The attacks of the options that are recorded, in the arithmetic that evaluations of just these attacks record."""
    try:
        aimed = any(entry["attack"] == "pgd-auc" for entry in evaluations)  # not in runs of earlier versions
        pgd = named.reported_pgd(**{name: recorded[name] for name in ATTACK})
        suite = [
            # None where there are no gradients, and so no arithmetic to choose.
            replace(attack, precision=entry["precision"] or "auto")
            for attack, entry in zip(named.quick_suite(pgd, aimed), evaluations, strict=True)
        ]
        same = all(attack.record().items() <= entry.items() for attack, entry in zip(suite, evaluations, strict=True))
    except (AttributeError, KeyError, TypeError, ValueError):
        same = False
    if not same:
        raise RunError(
            f"{run.path / 'results.json'}: --verify: expected the attacks of its own config, clean, FGSM and PGD. "
            "Received others."
        )
    return suite


def compare(before, now):
    """How far two evaluations are apart; what isn't a number is infinitely far from what it doesn't equal.

    Returns:
        How many numbers there are, and the name, the two values and the distance of those that are farthest apart.
    """
    ours, theirs = dict(_leaves(before)), dict(_leaves(now))
    apart = [
        (name, ours.get(name), theirs.get(name), _distance(ours.get(name), theirs.get(name)))
        for name in sorted(ours | theirs)
    ]
    count = sum(isinstance(value, (int, float)) for value in ours.values())
    return count, *max(apart, key=lambda row: row[-1])


def _leaves(value, name=""):
    """Names and values of everything in nested dictionaries and lists."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value


def _distance(before, now):
    if isinstance(before, (int, float)) and isinstance(now, (int, float)):
        return abs(before - now)
    return 0.0 if before == now else float("inf")
