"""What an evaluation comes to, in one sentence and from its results alone, and what to do about it."""

import dataclasses
import shlex
from collections import Counter

from chestrobust import catalogue, commandline, titles
from chestrobust.config import DATA, EvaluateConfig

# An attacker has one image for all labels: what has another one for each can't be the worst.
PER_LABEL = ("label-margin", "floor", "certified")
PUBLISHED_STEPS = 50  # what a number to publish takes


def sentence(results):
    """Clean AUC, the worst attacked one with its interval and operating point, and how far that can be trusted.

    Args:
        results: What `results.json` or `evaluate.py` holds; without an audit, that is said.

    Returns:
        E.g. "Clean AUC 0.918; worst of 7 attacks 0.55 (0.50 to 0.60) at 4/255; sensitivity 0.91 -> 0.12. Trust: 15 of
        15 checks." Of several radii it says which one it speaks of.
    """
    clean, row = clean_of(results["evaluations"]), worst(results)
    parts = [f"Clean AUC {_number(clean['macro_auc'], 3)}"]
    if row:
        attacks = attacks_of(results["evaluations"], row)
        at = f"{titles.radius(row['epsilon'])}{_which(results, row['epsilon'])}"
        parts.append(f"{attacks} {_number(row['macro_auc'], 2)}{_between(interval(row, 'macro_auc'))} at {at}")
        parts += [
            f"{name} {before:.2f} -> {after:.2f}"
            for name in ("sensitivity", "specificity")
            if None not in (before := operating(clean, name), after := operating(row, name))
        ]
    return f"{'; '.join(parts)}. {trust(results.get('audit'))}"


def trust(audit):
    """How many checks of an audit passed, and which did not; `audit` is its lines as results have them, or None."""
    if not audit:
        return "Trust: not audited yet."
    count = Counter(line["status"] for line in audit)
    ran = count["passed"] + count["failed"]
    parts = [f"Trust: {count['passed']} of {ran} checks"]
    for severity in ("invalid", "weak model"):
        failed = [line["name"] for line in audit if line["status"] == "failed" and line.get("severity") == severity]
        if failed:
            parts.append(f"{severity}: {', '.join(failed)}")
    if notes := [line["name"] for line in audit if line["status"] == "passed" and line.get("severity") == "note"]:
        parts.append(f"note: {', '.join(notes)}")
    if count["not run"]:
        parts.append(f"{count['not run']} not run")
    return f"{'; '.join(parts)}."


def after_training(path, results):
    """The last lines of a training script: a baseline wants a robust model beside it, both want to be evaluated.

    Args:
        path: The run folder.
        results: What its `results.json` holds.
    """
    command = ["python", "evaluate.py", path, "--suite", "standard"]
    if "baseline" not in results:
        command = ["python", "diagnosis_adv.py", "--params", path / "config.json", "--baseline", path]
    return _closing(sentence(results), [path / "report.html", path / "chestxray.png"], command)


def after_evaluation(subject, results, page, chosen):
    """The last lines of `evaluate.py`: next come the whole suite, enough steps to publish, then a look inside.

    Args:
        subject: The run or file that was evaluated, as it was given.
        results: What was written.
        page: Path of the report, or None.
        chosen: The options by name, as they were given: what is left open is the run's own again.
    """
    failed = any(line["status"] == "failed" for line in results["audit"])
    first = "what failed, above and in docs/audit.md; then " if failed else ""
    return _closing(sentence(results), [page] if page else [], _stronger([subject], chosen), first)


def after_comparison(subjects, compared, path, page, chosen):
    """The last lines of `evaluate.py` of several models: the verdict of each, and what `after_evaluation` ends in.

    Args:
        subjects: The runs or files, as they were given.
        compared: What was written; see `comparison.tables`.
        path: Where, without an ending.
        page: Path of the report, or None.
        chosen: As in `after_evaluation`.
    """
    sentences = "\n         ".join(f"{one['name']}: {one['verdict']}" for one in compared["models"])
    files = [path.with_name(path.name + ending) for ending in (".json", ".png")] + [page] * bool(page)
    return _closing(sentences, files, _stronger(subjects, chosen))


def _stronger(subjects, chosen):
    """The command to try after an evaluation with these options, on the same data."""
    data = _data_of(chosen)
    command = ["python", "evaluate.py", *subjects, *data, "--suite", "standard"]
    if chosen["suite"] == "standard":
        more = [*command, "--steps", PUBLISHED_STEPS, "--restarts", 5]
        command = more if chosen["steps"] < PUBLISHED_STEPS else ["python", "explain.py", *subjects[:2], *data]
    return command


def _data_of(chosen):
    """The arguments that say which data and pixels, and what the model's file needs, as far as they are given."""
    usual = {field.name: field.default for field in dataclasses.fields(EvaluateConfig)}
    names = [name for name in (*DATA, "import_") if name in usual]
    given = {name: chosen[name] for name in names if chosen[name] != usual[name]}
    pixels = ["--input-range", *chosen["input_range"]] if chosen.get("input_range") else []
    return [*commandline.as_arguments(given, EvaluateConfig), *pixels]


def _closing(sentence, paths, command, first=""):
    """Verdict, what was written and is there, and the command to try next, after what is to be done `first`."""
    files = [str(path) for path in paths if path.is_file()]
    named = {"Verdict": sentence, "Files": ", ".join(files), "Next": first + shlex.join(map(str, command))}
    return "\n".join(f"{name + ':':<9}{text}" for name, text in named.items() if text)


def clean_of(rows):
    """The row of the clean images."""
    return [row for row in rows if row["attack"] == "clean"][0]  # noqa: RUF015 - of strangers, an IndexError


def attacks_at(rows, epsilon):
    """Rows of the attacks at one radius, without those that sum up others."""
    return [row for row in rows if row["epsilon"] == epsilon and has_radius(row) and row["attack"] not in titles.SUMS]


def attacks_of(rows, row):
    """Of how many attacks the `worst` row at its radius is the worst, in words; the name of a single one.

    It says whether one was transferred from another model: that model has no such attack, and one less in all.
    """
    tried = [other["attack"] for other in attacks_at(rows, row["epsilon"]) if other["attack"] not in PER_LABEL]
    if len(tried) < 2:
        return titles.name(row["attack"])
    transferred = any((known := catalogue.attack(name)) is not None and known.source for name in tried)
    return f"worst of {len(tried)} attacks{' (one transferred)' * transferred}"


def radius(results):
    """The radius that results are summed up at: the one of the audit, else the middle one; None if there is none.

    `evaluate.py` audits at the run's own radius if it is among those attacked, else at the middle one.
    """
    rows = results["evaluations"]
    radii = {row["epsilon"] for row in rows if has_radius(row)}
    reference = (results.get("steps_curve") or {}).get("epsilon")
    return reference if reference in radii else middle(radii)


def _which(results, epsilon):
    """Which of several radii one is."""
    radii = {row["epsilon"] for row in results["evaluations"] if has_radius(row)}
    if len(radii) < 2:
        return ""
    if epsilon == results.get("own_epsilon"):
        return ", the run's own radius"
    return ", the middle radius" if epsilon == middle(radii) else ""


def middle(epsilons):
    """The radius in the middle of those above 0, the smaller of two; None if there is none."""
    positive = sorted(epsilon for epsilon in epsilons if epsilon > 0)
    return positive[(len(positive) - 1) // 2] if positive else None


def worst(results, epsilon=None):
    """The row with the lowest macro AUC at one radius: an attacker picks one image, so the floor per label is apart.

    Args:
        results: As in `sentence`.
        epsilon: The radius, or None for the one of `radius`.

    Returns:
        A row, or None if there is none with an AUC.
    """
    epsilon = radius(results) if epsilon is None else epsilon
    rows = [
        row
        for row in results["evaluations"]
        if row["epsilon"] == epsilon
        and has_radius(row)
        and row["macro_auc"] is not None
        and row["attack"] not in PER_LABEL
    ]
    return lowest(rows) if epsilon else None


def lowest(rows):
    """The row with the lowest macro AUC, None of no rows.

    Of equal ones, as many are at 0, the last that follows the gradient: tables go from weak attacks to strong ones.
    """

    def rank(numbered):
        number, row = numbered
        known = catalogue.attack(row["attack"])
        return row["macro_auc"], known is not None and not known.gradient, -number

    return min(enumerate(rows), key=rank, default=(0, None))[1]


def interval(row, key):
    """Ends of a score's 95 % interval, or None if the row has none."""
    return (row.get("intervals") or {}).get(key)


def operating(row, name):
    """Mean sensitivity or specificity over the labels, at thresholds fixed on clean validation images; or None."""
    if f"macro_{name}" not in row and name == "sensitivity":  # Results of earlier versions call it recall.
        return (row.get("recall") or {}).get("macro")
    return row.get(f"macro_{name}")


def has_radius(row):
    """Whether a row is of images in a ball: one pixel or a corruption may change altogether, and clean images don't."""
    known = catalogue.attack(row["attack"])
    return row["epsilon"] > 0 and (known is None or known.radius)


def _number(value, digits):
    return "undefined" if value is None else f"{value:.{digits}f}"


def _between(ends):
    return "" if ends is None else f" ({ends[0]:.2f} to {ends[1]:.2f})"
