"""Between which scores the truth lies: from what is certified to the lowest that an attack has found."""

from chestrobust import catalogue
from chestrobust.titles import radius


def tables(results):
    """Headers and rows of text: of each certified radius over all labels, and of each label at one radius.

    Args:
        results: What `evaluate.py` writes.

    Returns:
        A list of pairs of a header and its rows; empty if nothing is certified.
    """
    bounds = [entry for entry in results["evaluations"] if entry["attack"] == "certified"]
    if not bounds:
        return []
    rows = [
        [
            radius(bound["epsilon"]),
            _bracket(results, bound, lambda entry: entry["macro_auc"]),
            f"{bound['f1']['macro']:.3f}",
            f"{100 * bound['unchanged']:.1f} %",
        ]
        for bound in bounds
    ]
    found = [(["Radius", "The true macro AUC", "F1, at least", "Reports that can't change"], rows)]
    names, middle = results["data"]["label_names"], results["steps_curve"]["epsilon"]
    for bound in (bound for bound in bounds if bound["epsilon"] == middle and len(names) > 1):
        rows = [
            [name, _bracket(results, bound, lambda entry, name=name: entry["per_label_auc"][name])] for name in names
        ]
        found.append(([f"Label, radius {radius(middle)}", "The true AUC"], rows))
    return found


def note(results):
    """What the tables say, as lines."""
    return ["", "From what is certified to the lowest that an attack found; see docs/threats.md."] * bool(
        tables(results)
    )


def _bracket(results, bound, score):
    """A certified score and the lowest of what is inside its ball, as what was found in a smaller one is too."""
    if score(bound) is None:
        return "undefined"
    lowest = min(
        score(entry)
        for entry in results["evaluations"]
        if entry["epsilon"] <= bound["epsilon"] and catalogue.in_a_ball(entry["attack"])
    )
    return f"{score(bound):.4f} to {lowest:.4f}"
