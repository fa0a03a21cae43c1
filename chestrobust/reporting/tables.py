"""Tables, from the results alone. They are Markdown of at most 100 columns, to be pasted into a paper's draft.

A row of results, `evaluations[i]`, has for each SCORE (`auc`, `ap`, `sensitivity`, `specificity`; the latter two at
`thresholds`, fixed on clean validation images) `macro_SCORE`, `per_label_SCORE` by label, and in `intervals` the 95 %
interval of each, `[low, high]`, by the same names. Attacked rows have a `difference` from the clean row, paired on the
same resamples: `macro_SCORE` with `difference`, `low`, `high`; `per_label_auc` by label, with `p` and `p_holm` too.
`baseline.differences[i]` is the same of the robust model minus the baseline under an attack. `stored` has a row's macro
scores of the attacked images as a file of 8 bits holds them, and by how many grey `levels` a pixel changed at most.
What is undefined, and an interval that can't be had, is null. Results of earlier versions lack what is new; tables show
a dash then.
"""

import sys
from collections import Counter

from chestrobust.reporting import brackets, severities, smoothing
from chestrobust.reporting.cells import NONE, digits, markdown, paired, with_interval
from chestrobust.reporting.verdict import has_radius, lowest
from chestrobust.tasks import Task
from chestrobust.titles import BELOW, data_title, is_below_a_level, length, radius, settings, short, title

BESIDE = {"macro_auc": "Macro AUC", "macro_sensitivity": "Sensitivity", "macro_specificity": "Specificity"}
LEGEND = (
    "Sensitivity and specificity: means over labels, at thresholds fixed on clean validation images; of\n"
    "exclusive classes, of the most probable one. Brackets: 95 % intervals; [-]: too few to tell."
)
STORED = "AP: macro. Stored: macro AUC of the attacked images as a file of 8 bits holds them."
REPORTS = "Hidden and Invented: shares of images whose report loses or gains a finding."
TINY = f"{BELOW} Below one grey level: no image file of 8 bits holds such a change."


def table(results):
    """One run's scores, clean and attacked, as text; `results` is what `results.json` holds."""
    entries = results["evaluations"]
    rest = [[_signed(entry, "macro_auc"), _beside(entry, "macro_ap"), digits(entry["accuracy"])] for entry in entries]
    lines = [
        *_scores(entries),
        "",
        *_by_attack(entries, ["AUC - clean [95 %]", "Macro AP [95 %]", "Accuracy"], rest),
    ]
    return _report(results, lines)


def comparison(results):
    """The baseline and the robust model side by side on the same images, with the paired differences."""
    after, baseline = results["evaluations"], results["baseline"]
    before = baseline["evaluations"]
    both = [entry for pair in zip(before, after, strict=True) for entry in pair]
    models = ["baseline", "robust"] * len(after)
    # Runs of earlier versions have none.
    differences = baseline.get("differences") or [{}] * len(after)
    gains = [[paired(found.get(key)) for key in BESIDE] for found in differences]
    others = [
        [*(_beside(entry, "macro_ap") for entry in pair), *(digits(entry["accuracy"]) for entry in pair)]
        for pair in zip(before, after, strict=True)
    ]
    header = ["AP: baseline [95 %]", "robust [95 %]", "Accuracy: baseline", "robust"]
    lines = [
        *_scores(both, Model=models),
        "",
        *_by_attack(after, [f"{name} [95 %]" for name in BESIDE.values()], gains, first="Robust - baseline"),
        "",
        *_by_attack(after, header, others),
    ]
    return _report(results, lines)


def evaluation(results, verbose=True):
    """All attacks of `evaluate.py` with intervals, each label, and the audit, as text.

    Args:
        results: What `evaluate.py` writes.
        verbose: Whether lines of the audit that passed are told too.
    """
    data, entries = results["data"], results["evaluations"]
    telling = Task(data["task"]).telling_accuracy
    rest = [[_signed(entry, "macro_auc"), _beside(entry, "macro_ap"), _as_stored(entry)] for entry in entries]
    reports = [_reports(entry, telling) for entry in entries]
    lines = [
        f"{results['model']} on {data_title(data)}: {data['counts']['test']} test images",
        *_put_around(results),
        *_shared_labels(results),
        "",
        *_scores(entries),
        "",
        *_by_attack(entries, ["AUC - clean [95 %]", "AP [95 %]", "Stored"], rest),
        "",
        *_by_attack(entries, ["Accuracy" if telling else "F1", "Hidden", "Invented"], reports),
        "",
        LEGEND,
        STORED,
        REPORTS,
        *_settings(entries),
        *_notes(entries),
        "",
        *_per_label(results),
        *_undefined(entries),
        *_by_group(results),
        *(line for header, rows in brackets.tables(results) for line in ("", *markdown(header, rows))),
        *brackets.note(results),
        *smoothing.lines(results),
        *_by_severity(results),
        "",
        *(audit_line(line) for line in results["audit"] if verbose or _is_told(line)),
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
            short(entry),
            _through(entry, results["members"]),
            _beside(entry, "macro_auc"),
            *(digits(entry.get(key)) for key in ("macro_sensitivity", "macro_specificity")),
            digits(entry["f1"]["macro"]),
            *(digits(entry["accuracy"]) for _ in accuracy),
        ]
        for entry in entries
    ]
    header = ["Model", "Attack", "Through", "Macro AUC [95 %]", "Sens.", "Spec.", "F1", *accuracy]
    lines = [
        f"{data_title(data)}: {data['counts']['test']} test images, {len(results['members'])} members",
        "",
        *markdown(header, rows),
        "",
        LEGEND,
        *_settings(entries),
        "A vote has no gradient: its end-to-end attack goes through the mean of probabilities.",
        *_undefined(entries),
    ]
    return "\n".join(lines)


def _through(entry, members):
    """What an attack goes through, if it isn't the model itself."""
    return "" if entry["through"] is None or entry["model"] in members else entry["through"]


def _scores(entries, **columns):
    """AUC, and beside it what it is blind to, of each row."""
    cells = [[_beside(entry, key) for key in BESIDE] for entry in entries]
    rows = [[*first, *row] for *first, row in zip(*columns.values(), cells, strict=True)]
    return _by_attack(entries, [*columns, *(f"{name} [95 %]" for name in BESIDE.values())], rows)


def _by_attack(entries, header, rows, first="Attack"):
    """A table with a row for each entry; radii have a column where there are several."""
    several = len({entry["epsilon"] for entry in entries if has_radius(entry)}) > 1
    return markdown(
        [first, *(["epsilon"] if several else []), *header],
        [
            [short(entry), *([radius(entry["epsilon"]) if has_radius(entry) else ""] if several else []), *row]
            for entry, row in zip(entries, rows, strict=True)
        ],
    )


def _settings(entries):
    """What the names of attacks in a table don't say, in a line for each that differs."""
    attacked = [entry for entry in entries if entry["attack"] != "clean"]
    radii = sorted({entry["epsilon"] for entry in attacked if has_radius(entry)})
    one = [f"Attacked at epsilon {length(radii[0])}."] if len(radii) == 1 else []
    said = {}
    for entry in attacked:
        if words := settings(entry):
            said.setdefault(", ".join(words), {})[short(entry)] = None
    tiny = [TINY] if any(map(is_below_a_level, radii)) else []
    return [*one, *(f"{', '.join(names)}: {words}." for words, names in said.items()), *tiny]


def _notes(entries):
    """What single rows say besides their scores."""
    lost = [
        f"{entry['robust_accuracy']:.4f} at epsilon {length(entry['epsilon'])}"
        for entry in entries
        if "robust_accuracy" in entry
    ]
    accuracy = [f"Robust accuracy, an image being lost if any attack fools it: {', '.join(lost)}."] if lost else []
    return [*dict.fromkeys(entry["note"] for entry in entries if "note" in entry), *accuracy]


def _reports(entry, telling):
    """F1, or accuracy where it says something, and how many reports change."""
    return [
        digits(entry["accuracy"] if telling else entry["f1"]["macro"]),
        *(f"{100 * entry[key]:.1f} %" for key in ("hidden", "invented")),
    ]


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


def _is_told(line):
    """Whether a reader has to know a line of an audit: it failed, deserves a note, or didn't run."""
    return line["status"] != "passed" or bool(line.get("severity"))


def _clean_and_worst(results):
    """The clean row, and the worst of the radius in the middle if there is one."""
    middle = results["steps_curve"]["epsilon"]
    clean, *others = results["evaluations"]
    attacked = [
        entry for entry in others if entry["epsilon"] == middle and has_radius(entry) and entry["attack"] != "certified"
    ]
    scored = [entry for entry in attacked if entry["macro_auc"] is not None]
    return [clean, lowest(scored)] if scored else [clean, *attacked[:1]]


def _aucs(columns):
    """Headers of the AUCs of the clean and the worst row, and a line that says which row that is."""
    worst = [f"Attacked: {title(entry)}." for entry in columns[1:]]
    return [f"AUC, {name} [95 %]" for name, _ in zip(("clean", "attacked"), columns, strict=False)], worst


def _per_label(results):
    """Each label's AUC with its interval, sensitivity and specificity, clean and under the worst row."""
    columns, rows = _clean_and_worst(results), []
    for name in results["data"]["label_names"]:
        aucs = [_beside(entry, "per_label_auc", name) for entry in columns]
        found = ((columns[-1].get("difference") or {}).get("per_label_auc") or {}).get(name) or {}
        sure = found.get("p_holm") is not None and found["p_holm"] < 0.05
        aucs[-1] += "*" if sure else ""
        shares = [_change([entry.get(f"per_label_{key}", {}).get(name) for entry in columns]) for key in SHARES]
        rows.append([name, str(sum(columns[0]["confusion"][name][1])), *aucs, *shares])
    aucs, worst = _aucs(columns)
    starred = ["* Differs from clean, paired, at 5 % over all labels (Holm)."] if worst else []
    header = ["Label", "n", *aucs, *SHARES.values()]
    return [*markdown(header, rows), "", "n: images with the finding.", *worst, *starred]


SHARES = {"sensitivity": "Sensitivity", "specificity": "Specificity"}


def _change(values):
    """A score, clean and attacked."""
    return " \u2192 ".join(map(digits, values))


def _by_group(results):
    """A table of scores for each attribute that they are broken down by, clean and under the worst row."""
    columns, lines = _clean_and_worst(results), []
    for attribute, groups in columns[0]["by"].items():
        rows = []
        for name in groups:
            found = [entry["by"][attribute][name] for entry in columns]
            shares = [_change([one.get(f"macro_{key}") for one in found]) for key in SHARES]
            rows.append([name, str(found[0]["images"]), *(_beside(one, "macro_auc") for one in found), *shares])
        header = [f"By {attribute}", "Images", *_aucs(columns)[0], *SHARES.values()]
        left_out = {name: ", ".join(group["undefined_labels"]) for name, group in groups.items()}
        missing = [f"{name} without {labels}" for name, labels in left_out.items() if labels]
        note = ["", f"Means of the labels that have an AUC: {'; '.join(missing)}."] if missing else []
        lines += ["", *markdown(header, rows), *note]
    return lines


def _by_severity(results):
    """Of each corruption the scores of all severities, and their means."""
    found = severities.tables(results)
    lines = [line for header, rows in found for line in ("", *markdown(header, rows))]
    return [*lines, "", *severities.notes(results)] if found else []


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


def _beside(entry, key, label=None):
    """A score of a row with its interval, or of one of its labels."""
    value, ends = entry.get(key), entry.get("intervals", {}).get(key)
    if label is not None:
        value, ends = value[label], ends[label]
    if key not in entry:
        return NONE
    return with_interval(value, ends) if "intervals" in entry else digits(value)


def _signed(entry, key):
    """How far a row's score is from that of clean images."""
    return "" if entry["attack"] == "clean" else paired(entry.get("difference", {}).get(key))


def _as_stored(entry):
    """The AUC of a row's images as a file holds them."""
    return "" if entry["attack"] == "clean" else digits(entry["stored"]["macro_auc"]) if "stored" in entry else NONE


def _report(results, lines):
    data, training = results["data"], results["training"]
    lines = [
        f"{data_title(data)}: {data['counts']['test']} test images, "
        f"{training['epochs']} epochs in {training['seconds']:.0f} s",
        "",
        *lines,
        "",
        LEGEND,
        *_settings(results["evaluations"]),
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
