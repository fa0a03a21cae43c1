"""What corruptions do to scores, severity by severity, from the results alone."""

from chestrobust.reporting.cells import NONE, digits


def table(results):
    """Header and rows of text, a row for each corruption; None if results have none.

    Args:
        results: What `evaluate.py` writes.
    """
    entries = [entry for entry in results["evaluations"] if "severities" in entry]
    if not entries:
        return None
    count = max(len(entry["severities"]) for entry in entries)
    header = ["Macro AUC by severity", *map(str, range(1, count + 1)), "Bal. error", "- clean", "Sens.", "Spec."]
    rows = [
        [
            entry["attack"].partition("=")[2],
            *(digits(one["macro_auc"]) for one in entry["severities"]),
            digits(entry["balanced_error"]),
            _minus(entry["balanced_error"], entry["clean_balanced_error"]),
            *(_mean(entry["severities"], f"macro_{name}") for name in ("sensitivity", "specificity")),
        ]
        for entry in entries
    ]
    return header, rows


NOTE = (
    "Balanced error: 1 - (sensitivity + specificity) / 2, as MedMNIST-C has it but for its division by\n"
    "AlexNet's. It, sensitivity and specificity are means over the severities; rows above are of the last."
)


def _minus(value, other):
    return NONE if None in (value, other) else digits(value - other, "+")


def _mean(severities, name):
    values = [one[name] for one in severities]
    return NONE if None in values else digits(sum(values) / len(values))
