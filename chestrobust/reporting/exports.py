"""Results as a paper takes them: a paragraph on methods, a LaTeX table, a CSV table and the command that made them."""

import csv
import io
import shlex

from chestrobust import commandline, config, titles
from chestrobust.config import methods as training_methods
from chestrobust.errors import dashed
from chestrobust.reporting import bibliography, smoothing, verdict
from chestrobust.tasks import Task

SCORES = {"macro_auc": "AUC", "macro_ap": "AP"}
SPECIAL = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}
UNTOLD = ("overwrite", "resume", "params", "debug", "verbose", "data_dir")  # options that change no number


def methods(dossier):
    """A paragraph to paste into a paper; what results don't say is left out, not guessed."""
    smoothed = map(smoothing.sentence, dossier.smoothed)
    parts = (_of_data(dossier), _of_training(dossier), _of_attacks(dossier), *smoothed, _of_scores(dossier))
    return " ".join(filter(None, parts))


def _of_data(dossier):
    data = dossier.data
    counts, shape = data["counts"], data["image_shape"]
    made_up = " (made-up data, without meaning for patients)" if data["synthetic"] else ""
    return (
        f"We used {data['name']}{made_up} with {_labels(data)} ({data['task']}) and images of "
        f"{shape[0]} x {shape[1]} x {shape[2]} pixels: {counts['train']} for training, {counts['val']} for validation "
        f"and {counts['test']} for testing (SHA-256 {data['sha256'][:12]})."
    )


def _labels(data):
    count = len(data["label_names"])
    return f"{count} label{'s' * (count != 1)}"


def _of_training(dossier):
    results = dossier.results
    if not (results.get("training") and results.get("config")) or dossier.undefended != ("baseline" not in results):
        return ""
    options, training, model = results["config"], results["training"], results.get("model", {})
    way = "on clean images"
    if "baseline" in results:
        way = f"adversarially ({_of_method(options)})"
    text = f"The model ({model.get('name', options.get('model', 'unnamed'))}"
    text += f", {model['parameters']:,} parameters)" if "parameters" in model else ")"
    text += f" was trained {way} for {training['epochs']} epochs with {options['optimizer']} (learning rate "
    text += f"{options['learning_rate']:g}, batch size {options['batch_size']}, seed {options['seed']})."
    if training.get("selected_on"):
        text += f" The checkpoint was chosen by {titles.selection(training['selected_on'])} on validation images."
    return text


def _of_method(recorded):
    """How training attacked: the settings that its method has, as far as results hold them."""
    name = recorded.get("method", "online")
    lengths = {"train_epsilon": "radius {}", "train_step_size": "step size {}"}
    used = {key: value for key, value in recorded.items() if key not in training_methods.unused(name)}
    told = [text.format(titles.radius(used[key])) for key, text in lengths.items() if key in used]
    steps = [f"{used['train_steps']} steps"] if "train_steps" in used else []
    return ", ".join([f"method {name}", *told, *steps])


def _of_attacks(dossier):
    results = dossier.judged
    radius = verdict.radius(results)
    if radius is None:
        return ""
    rows = verdict.attacks_at(results["evaluations"], radius)
    radii = sorted({row["epsilon"] for row in results["evaluations"] if verdict.has_radius(row)})
    at = f", epsilon {titles.length(radius)}"
    attacks = "; ".join(titles.title(row).replace(at, "") for row in rows)
    return (
        "The attacker knows the model and may change each pixel by at most epsilon (L-infinity) within [0, 1], with "
        f"epsilon {', '.join(map(titles.radius, radii))}. Attacks ran on the logits of the whole model in inference "
        f"mode: {attacks}.{_of_steps(rows)}"
    )


def _of_steps(rows):
    """What the titles of attacks leave unsaid, as it is usual."""
    if all(row.get("step_size") is None for row in rows):
        return ""
    return " Unless said, steps of PGD are 2.5 epsilon / steps long, and the first start is the image itself."


def _of_scores(dossier):
    results = dossier.judged
    exclusive = Task(dossier.data["task"]).exclusive
    # An evaluation may be of other images than the paragraph's first sentence tells.
    of = "" if dossier.on_same_images(results) else f", of {results['data']['counts']['test']} test images"
    text = "" if exclusive else " Thresholds were fixed on clean validation images and not tuned again under attack."
    if any(verdict.interval(row, "macro_auc") for row in results["evaluations"]):
        count = results.get("config", {}).get("resamples")
        text += f" Intervals are 95 % intervals{f' ({count} bootstrap resamples)' if count else ''}."
    if audit := results.get("audit"):
        text += f" The attacks were audited: {verdict.trust(audit).removeprefix('Trust: ')}"
    return f"We report macro AUC and average precision over all labels{of}.{text}"


def works(dossier):
    """The works that a paper with these numbers cites, as `bibliography.cited` gives them."""
    results = dossier.judged
    method = dossier.results.get("config", {}).get("method") if "baseline" in dossier.results else None
    attacks = dict.fromkeys(row["attack"] for row in results["evaluations"])
    audited, smoothed = bool(results.get("audit")), bool(dossier.smoothed)
    return bibliography.cited(dossier.data["name"], attacks, method, audited, smoothed)


def latex(models, rows):
    """The scores of several models under the same attacks, as a LaTeX table (booktabs).

    Args:
        models: Names of the models.
        rows: Tuples of rows of results, one per model.
    """
    above = " & ".join(["Attack", *(f"\\multicolumn{{{len(SCORES)}}}{{c}}{{{escaped(name)}}}" for name in models)])
    cells = [
        [escaped(titles.title(entries[0])), *(_cell(entry, key) for entry in entries for key in SCORES)]
        for entries in rows
    ]
    scores = list(SCORES.values()) * len(models)
    return _tabular(len(scores), [above, " & ".join(["", *scores])], cells)


def latex_smoothed(results):
    """What randomized smoothing proves, as a LaTeX table; `results` is what `evaluate.py --smooth` writes."""
    header, rows = smoothing.table(results)
    return _tabular(len(header) - 1, [" & ".join(map(escaped, header))], [map(escaped, row) for row in rows])


def _tabular(columns, header, rows):
    """A LaTeX table with so many columns beside the first: lines above the rule, and rows of cells."""
    lines = [f"\\begin{{tabular}}{{l{'c' * columns}}}", r"\toprule"]
    lines += [rf"{line} \\" for line in header] + [r"\midrule"] + [" & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def table(models, rows):
    """The same as CSV, with all digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["attack", "epsilon", "model", *(f"{key}{end}" for key in SCORES for end in ("", "_low", "_high"))])
    for entries in rows:
        for name, entry in zip(models, entries, strict=True):
            numbers = [value for key in SCORES for value in (entry[key], *(verdict.interval(entry, key) or ("", "")))]
            writer.writerow([titles.title(entry), entry["epsilon"], name, *numbers])
    return text.getvalue()


def escaped(text):
    """Text that LaTeX sets as it is."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def command(results):
    """The command line that made results, with the options that aren't defaults; places on that machine are left out.

    Args:
        results: What `results.json` or `evaluate.py` holds.
    """
    options = results["config"]
    script = "diagnosis_adv.py" if "baseline" in results else "diagnosis.py"
    script = "evaluate.py" if "subject" in options else "ensemble.py" if "members" in options else script
    fields = {field.name: field for field in commandline.options(config.SCRIPTS[script])}
    arguments = []
    for name, value in options.items():
        if name in fields and fields[name].default is commandline.ARGUMENT:
            arguments += map(str, value if isinstance(value, list | tuple) else [value])
    for name, value in _given(options, fields, config.SCRIPTS[script]).items():
        if fields[name].metadata["parse"] is commandline.length:
            value = tuple(map(_length, value)) if isinstance(value, tuple) else _length(value)
        # Values with spaces between them can't stand behind an equals sign.
        several = isinstance(value, tuple)
        arguments += (
            [dashed(name), *map(str, value)]
            if several
            else commandline.as_arguments({name: value}, config.SCRIPTS[script])
        )
    return shlex.join(["python", script, *arguments])


def _given(recorded, fields, config_class):
    """The options that a command line has to name: all but what it has without them, by its recipe and method."""
    known = {name: fields[name].metadata.get("choices") or () for name in ("recipe", "method") if name in fields}
    chosen = {name: recorded[name] for name, choices in known.items() if recorded.get(name) in choices}
    needed = ["RUN" for field in fields.values() if field.default is commandline.ARGUMENT]
    usual = config.parse(config_class, needed)
    chosen = {name: value for name, value in chosen.items() if value != getattr(usual, name)}
    usual = config.parse(config_class, [*needed, *commandline.as_arguments(chosen, config_class)])
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in recorded.items()}
    others = {
        name: value
        for name, value in values.items()
        if name in fields
        and fields[name].default is not commandline.ARGUMENT
        and name not in UNTOLD
        and value not in (None, getattr(usual, name))
    }
    return chosen | others


def _length(value):
    """A length as papers write it, if it is read as the same number."""
    if not 0 <= value <= 1:
        return value  # of results that aren't ours; the script refuses it
    short = titles.radius(value).removesuffix(titles.BELOW)
    numerator, _, denominator = short.partition("/")
    return short if float(numerator) / float(denominator or 1) == value else value


def _cell(entry, key):
    if entry[key] is None:
        return "--"
    ends = verdict.interval(entry, key)
    return f"{entry[key]:.3f}" + (f" ({ends[0]:.3f}--{ends[1]:.3f})" if ends else "")
