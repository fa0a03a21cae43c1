"""What corruptions do to scores, severity by severity, from the results alone."""

from chestrobust.reporting.cells import NONE, digits, paired, with_interval


def tables(results):
    """Headers and rows of text, a row for each corruption: of each severity, a few to a table, and of their means.

    Args:
        results: What `evaluate.py` writes.

    Returns:
        A list of pairs of a header and its rows; empty if results have no corruption.
    """
    entries = [entry for entry in results["evaluations"] if "severities" in entry]
    if not entries:
        return []
    names = [entry["attack"].partition("=")[2] for entry in entries]
    count = max(len(entry["severities"]) for entry in entries)
    of_each = [
        (
            ["Macro AUC by severity [95 %]", *map(str, range(1 + begin, 1 + min(begin + BESIDE, count)))],
            [
                [name, *map(_auc, entry["severities"][begin : begin + BESIDE])]
                for name, entry in zip(names, entries, strict=True)
            ],
        )
        for begin in range(0, count, BESIDE)
    ]
    ratios = RATIOS if _has_ratios(entries) else {}
    means = [[name, *_errors(entry, ratios)] for name, entry in zip(names, entries, strict=True)]
    means.append(["mean", *_all_errors(entries, ratios)])
    header = ["Mean of severities", "Bal. error [95 %]", "- clean [95 %]", *ratios.values(), "Sens.", "Spec."]
    return [*of_each, (header, means)]


def notes(results):
    """What the tables say, as lines."""
    return [NOTE, *([OVER] if _has_ratios(results["evaluations"]) else [])]


def _has_ratios(entries):
    return any("over_alexnet" in entry for entry in entries)


BESIDE = 3  # severities with intervals that fit into 100 columns
RATIOS = {"be": "BE", "rbe": "rBE"}
SHARES = ("sensitivity", "specificity")
NOTE = (
    "Balanced error: 1 - (sensitivity + specificity) / 2, as in MedMNIST-C. Rows with attacks above are of\n"
    "the last severity."
)
OVER = (
    "BE and rBE: the balanced error, and its rise over clean, divided by those of MedMNIST-C's AlexNet at 224 px,\n"
    "as published. rBE changes its sign where AlexNet errs less on corrupted images than on clean ones."
)


def _auc(one):
    # Results of earlier versions have no intervals.
    return with_interval(one["macro_auc"], one.get("macro_auc_interval"))


def _errors(entry, ratios):
    difference = (entry.get("difference") or {}).get("balanced_error")
    clean, error = entry["clean_balanced_error"], entry["balanced_error"]
    # Results of earlier versions have no intervals.
    rise = paired(difference) if difference else _minus(error, clean)
    shares = [_mean([one[f"macro_{name}"] for one in entry["severities"]]) for name in SHARES]
    return [
        with_interval(error, entry["intervals"].get("balanced_error")),
        rise,
        *(_ratio(entry.get("over_alexnet", {}).get(name)) for name in ratios),
        *map(_digits, shares),
    ]


def _all_errors(entries, ratios):
    errors, clean = ([entry[key] for entry in entries] for key in ("balanced_error", "clean_balanced_error"))
    severities = [one for entry in entries for one in entry["severities"]]
    return [
        _digits(_mean(errors)),
        _minus(_mean(errors), _mean(clean)),
        *(_ratio(_mean([entry.get("over_alexnet", {}).get(name) for entry in entries])) for name in ratios),
        *(_digits(_mean([one[f"macro_{name}"] for one in severities])) for name in SHARES),
    ]


def _minus(value, other):
    return NONE if None in (value, other) else digits(value - other, "+")


def _mean(values):
    return None if None in values else sum(values) / len(values)


def _digits(value):
    return NONE if value is None else digits(value)


def _ratio(value):
    return NONE if value is None else f"{value:.2f}"
