"""Tables, from the results alone. They are Markdown, so that what a run prints can be pasted into a paper's draft."""

import sys
from collections import Counter

from chestrobust import catalogue
from chestrobust.tasks import Task
from chestrobust.titles import data_title, length, title

SCORES = {"macro_auc": "Macro AUC", "macro_ap": "Macro AP", "accuracy": "Accuracy"}

COLUMNS = ("Macro AUC (95 %)", "Macro AP (95 %)", "F1", "Hidden", "Invented")
LEGEND = (
    "F1: macro F1 at thresholds fixed on clean validation images, of the most probable class if there are several "
    "classes. Hidden and Invented: shares of images whose report loses or gains a finding."
)


def table(results):
    """One run's scores, clean and attacked, as text; `results` is what `results.json` holds."""
    rows = [[title(entry), *(_format(entry[key]) for key in SCORES)] for entry in results["evaluations"]]
    return _report(results, ["Attack", *SCORES.values()], rows)


def comparison(results):
    """The baseline and the robust model side by side on the same images, with the differences."""
    rows = []
    for entry, baseline in zip(results["evaluations"], results["baseline"]["evaluations"], strict=True):
        row = [title(entry)]
        for key in SCORES:
            before, after = baseline[key], entry[key]
            gain = None if before is None or after is None else after - before
            row += [_format(before), _format(after), _format(gain, sign="+")]
        rows.append(row)
    header = ["Attack"]
    for name in SCORES.values():
        header += [f"{name}: baseline", "robust", "difference"]
    return _report(results, header, rows)


def evaluation(results):
    """All attacks of `evaluate.py` with intervals, each label, and the audit, as text."""
    data, entries = results["data"], results["evaluations"]
    header = ["Attack", *COLUMNS]
    rows = [[title(entry), *_cells(entry)] for entry in entries]
    lines = [
        f"{results['model']} on {data_title(data)}: {data['counts']['test']} test images",
        *_put_around(results),
        *_shared_labels(results),
        "",
        *markdown(header, rows),
        "",
        LEGEND,
        *_notes(entries),
        "",
        *_per_label(results),
        *_undefined(entries),
        *_by_group(entries),
        *_brackets(entries, results.get("certified", ())),
        "",
        *(audit_line(line) for line in results["audit"]),
        verdict(results["audit"]),
    ]
    return "\n".join(lines)


def ensemble(results):
    """Members and combinations of `ensemble.py`, clean and attacked, as text."""
    data, entries = results["data"], results["evaluations"]
    accuracy = ["Accuracy"] if Task(data["task"]).telling_accuracy else []
    rows = [
        [
            entry["model"],
            _way(entry, results["members"]),
            *_cells(entry),
            *(_format(entry["accuracy"]) for _ in accuracy),
        ]
        for entry in entries
    ]
    lines = [
        f"{data_title(data)}: {data['counts']['test']} test images, {len(results['members'])} members",
        "",
        *markdown(["Model", "Attack", *COLUMNS, *accuracy], rows),
        "",
        LEGEND,
        "A vote has no gradient: its end-to-end attack goes through the mean of probabilities.",
        *_undefined(entries),
    ]
    return "\n".join(lines)


def _way(entry, members):
    """An attack's name, and what it goes through."""
    if entry["through"] is None or entry["model"] in members:
        return title(entry)
    through = f"through {entry['through']}" if entry["through"] in members else entry["through"]
    return f"{title(entry)}, {through}"


def _notes(entries):
    """What single rows say besides their scores."""
    lost = [
        f"{entry['robust_accuracy']:.4f} at epsilon {length(entry['epsilon'])}"
        for entry in entries
        if "robust_accuracy" in entry
    ]
    accuracy = [f"Robust accuracy, an image being lost if any attack fools it: {', '.join(lost)}."] if lost else []
    return [*dict.fromkeys(entry["note"] for entry in entries if "note" in entry), *accuracy]


def _cells(entry):
    """A row's scores, in the order of `COLUMNS`."""
    scores = [with_interval(entry[key], entry["intervals"][key]) for key in ("macro_auc", "macro_ap")]
    return [*scores, f"{entry['f1']['macro']:.3f}", *(f"{100 * entry[key]:.1f} %" for key in ("hidden", "invented"))]


def verdict(audit):
    """The last line of an audit, as stored in results."""
    count = Counter(line["status"] for line in audit)
    return f"Audit: {count['passed']} passed, {count['failed']} failed, {count['not run']} not run"


def audit_line(line):
    """A line of an audit, as stored in results. A note is called so, though it counts as passed: the score holds."""
    severity = line.get("severity")  # Results of earlier versions have none.
    word = severity if severity == "note" else line["status"]
    name = f"{line['name']} ({severity})" if line["status"] == "failed" and severity else line["name"]
    value = "" if line["value"] is None else f" {line['value']:.4g}:"
    text = f"{word:>7}  {name}:{value} {line['text']}"
    return f"\033[31m{text}\033[0m" if word == "failed" and sys.stdout.isatty() else text


def _per_label(results):
    """AUC of each label, clean and under the worst row of the radius in the middle."""
    radius = results["steps_curve"]["epsilon"]
    clean, *attacked = [entry for entry in results["evaluations"] if entry["epsilon"] in (0, radius)]
    columns = [clean]
    if attacked:
        columns.append(min(attacked, key=lambda entry: 1 if entry["macro_auc"] is None else entry["macro_auc"]))
    rows = [
        [
            name,
            *(
                with_interval(entry["per_label_auc"][name], entry["intervals"]["per_label_auc"][name])
                for entry in columns
            ),
        ]
        for name in results["data"]["label_names"]
    ]
    return markdown(["AUC (95 %)", *map(title, columns)], rows)


def _by_group(entries):
    """A table of macro AUCs for each attribute that the scores are broken down by."""
    lines = []
    for attribute, groups in entries[0]["by"].items():
        header = [f"Macro AUC by {attribute} (95 %)", *(f"{name}: {group['images']}" for name, group in groups.items())]
        rows = [
            [
                title(entry),
                *(with_interval(group["macro_auc"], group["intervals"]["macro_auc"]) for group in by.values()),
            ]
            for entry in entries
            for by in (entry["by"][attribute],)
        ]
        left_out = {name: ", ".join(group["undefined_labels"]) for name, group in groups.items()}
        missing = [f"{name} without {labels}" for name, labels in left_out.items() if labels]
        note = ["", f"Means of the labels that have an AUC: {'; '.join(missing)}."] if missing else []
        lines += ["", *markdown(header, rows), *note]
    return lines


def _brackets(entries, certified):
    """Between which scores the truth lies, for each certified radius: what is guaranteed, and the worst that was found.

    What was found in a smaller ball is inside the larger one too.
    """
    if not certified:
        return []
    columns = []
    for bound in certified:
        inside = [
            entry for entry in entries if entry["epsilon"] <= bound["epsilon"] and catalogue.in_a_ball(entry["attack"])
        ]
        scores = [(bound["macro_auc"], [entry["macro_auc"] for entry in inside])]
        scores += [
            (value, [entry["per_label_auc"][name] for entry in inside])
            for name, value in bound["per_label_auc"].items()
        ]
        cells = ["undefined" if low is None else f"{low:.4f} to {min(found):.4f}" for low, found in scores]
        columns.append([*cells, f"{bound['f1']['macro']:.3f}", f"{100 * bound['unchanged']:.1f} %"])
    names = ["macro", *certified[0]["per_label_auc"]]
    rows = zip([*names, "F1, at least", "Reports that nothing can change"], *columns, strict=True)
    radii = [f"epsilon {length(bound['epsilon'])}" for bound in certified]
    lines = markdown(["The true AUC lies in", *radii], [list(row) for row in rows])
    return ["", *lines, "", "From what is certified to the lowest that an attack found; see docs/threats.md."]


def _put_around(results):
    """What stands between the data and a stranger's model, in one line."""
    adapters = results.get("adapters")  # Results of earlier versions have none.
    return [f"Put around the model: {'; '.join(adapters)}."] if adapters else []


def _shared_labels(results):
    """Which labels a score on other data than the model's is of."""
    labels, shared = results["labels"], results["data"]["label_names"]
    if labels is None or len(labels["model"]) == len(shared) == len(labels["data"]):
        return []
    of_model, of_data = len(labels["model"]), len(labels["data"])
    return ["", f"On the labels shared by model ({of_model}) and data ({of_data}): {', '.join(shared)}."]


def with_interval(value, ends):
    return _format(value) if value is None or ends is None else f"{value:.4f} ({ends[0]:.3f} to {ends[1]:.3f})"


def _report(results, header, rows):
    data, training = results["data"], results["training"]
    lines = [
        f"{data_title(data)}: {data['counts']['test']} test images, "
        f"{training['epochs']} epochs in {training['seconds']:.0f} s",
        "",
        *markdown(header, rows),
        *_undefined(results["evaluations"]),
    ]
    if not Task(data["task"]).telling_accuracy:
        lines += ["", "Accuracy says little here: answering no to every label scores high. Compare AUC and AP."]
    return "\n".join(lines)


def _undefined(entries):
    names = ", ".join(entries[0]["undefined_labels"])
    return (
        ["", f"No AUC, as all or none of the test images are positive, so left out of the mean: {names}."]
        if names
        else []
    )


def markdown(header, rows):
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    ruler = ["-" * (width - bool(column)) + ":" * bool(column) for column, width in enumerate(widths)]
    return [
        "| "
        + " | ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in [header, ruler, *rows]
    ]


def _format(value, sign=""):
    return "undefined" if value is None else f"{value:{sign}.4f}"
