"""Do the numbers in a run's `results.json` hold? They are computed again from `model.keras` and the data."""

import dataclasses

import report
import runs

TOLERANCE = 1e-3  # The same machine repeats every digit; on another, rounding lets a few images change places.


def recorded(run, path, splits):
    """The evaluations in a run's results, if its model and its data are these.

    Args:
        run: The `Run`.
        path: The model file.
        splits: The `Splits`.

    Raises:
        RunError: If not.
    """
    if not run.finished or path.name != "model.keras":
        raise runs.RunError(f"{path}: --verify: expected the model of a finished run. Received another file.")
    results, data = run.read("results.json", "data", "evaluations"), splits.summary()
    for key in ("sha256", "counts"):
        if results["data"].get(key) != data[key]:
            raise runs.RunError(
                f"{run.path}: --verify: {key} of the data: expected {results['data'].get(key)}, as in the results. "
                f"Received {data[key]}."
            )
    return results["evaluations"]


def verify(classifier, splits, evaluations):
    """Attack the test split again and print for each attack whether its numbers hold.

    Args:
        classifier: A `keras.Model` with a layer named `logits`.
        splits: The `Splits`.
        evaluations: As `results.json` holds them.

    Returns:
        Whether all numbers are within `TOLERANCE` of the recorded ones.
    """
    import robustness

    fields = {field.name for field in dataclasses.fields(robustness.Attack)}
    hold = 0
    for entry in evaluations:
        settings = {name: value for name, value in entry.items() if name in fields}
        # None where there are no gradients, and so no arithmetic to choose.
        attack = robustness.Attack(**settings | {"precision": entry["precision"] or "auto"})
        [again] = robustness.evaluate(classifier, splits, [attack])
        count, name, before, now, difference = compare(entry, again)
        holds = difference <= TOLERANCE
        detail = "" if holds else f": {name} {before} recorded, {now} now"
        print(
            f"{'holds' if holds else 'DIFFERS':>7}  {report.title(entry)}: "
            f"{count} numbers, largest difference {difference:.2g}{detail}"
        )
        hold += holds
    print(f"{hold} of {len(evaluations)} attacks hold (tolerance {TOLERANCE})")
    return hold == len(evaluations)


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
