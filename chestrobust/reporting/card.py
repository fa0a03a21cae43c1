"""The model card of a run and its scores as the Hugging Face Hub reads them, from `results.json` alone.

`model_card.md` goes to the Hub as README.md beside the model, `eval_results.yaml` into its folder `.eval_results`.
https://huggingface.co/docs/hub/model-cards, https://huggingface.co/docs/hub/eval-results
"""

import dataclasses
import html
import json
from datetime import UTC, datetime

from chestrobust import devices, titles
from chestrobust.errors import RunError
from chestrobust.reporting import dossier, exports, verdict
from chestrobust.runs import Run, read_back
from chestrobust.tasks import Task

CARD, SCORES = "model_card.md", "eval_results.yaml"
# The Hub's names of the scores that may never stand without each other, and ours.
METRICS = {"roc_auc": ("Macro ROC AUC", "macro_auc"), "recall": ("Macro sensitivity", "macro_sensitivity"),
           "specificity": ("Macro specificity", "macro_specificity")}  # fmt: skip
# Of a row of results: what makes its attack another one.
PARAMETERS = ("attack", "epsilon", "steps", "step_size", "restarts", "random_start", "seed")
MADE_UP = (
    "> **Made-up data.** This model was trained and tested on radiographs drawn from formulas. Nothing here says "
    "anything about any disease.\n"
)
USE = """\
## Intended use

Research and teaching on how far classifiers of chest X-rays can be fooled, and how robust ones are trained.

**Not for clinical use.** The model hasn't been validated for any diagnosis, on any population.

## Limits

- A score under attack is an upper bound of what is left: a stronger attack may leave less.
- An L-infinity ball is a convenient threat, not a realistic one; changes outside of it weren't tried.
- Other scanners, hospitals, populations and labels than those of the training data weren't tried here."""
SCORED = """\
## Scores

Means over the labels, on the test split; 95 % intervals in brackets. Sensitivity and specificity are {}.
"""
POINTS = {True: "those of the likeliest class", False: "at thresholds\nfixed on clean validation images"}


def write(folder):
    """Write `model_card.md` and `eval_results.yaml` into a finished run; only the chief does.

    As with the page, work that is done stays: where no card can be made of the folder, why is printed.

    Args:
        folder: The run folder.
    """
    if not devices.chief():
        return
    run = Run(folder)
    try:
        with read_back(run):
            # Without what evaluate.py found: the card is of the training script's own scores.
            subject = dataclasses.replace(dossier.read(folder)[-1], evaluations={})
            made = datetime.fromtimestamp((folder / "results.json").stat().st_mtime, UTC)
            card, scores = text(subject), _yaml(scored(subject, made)) + "\n"
        run.write(CARD, card)
        run.write(SCORES, scores)
    except RunError as error:
        print(f"No model card is written. {error}")


def text(subject):
    """The card: metadata for the Hub, then words.

    Args:
        subject: A `dossier.Dossier` of a run's own results.
    """
    results, data = subject.results, subject.data
    parts = [
        f"---\n{_yaml(metadata(subject))}\n---\n",
        f"# {_words(subject.name)}\n",
        *([MADE_UP] if data["synthetic"] else []),
        f"{_words(_described(results, data))} {_words(subject.sentence)}\n",
        USE,
        f"\n## Data and training\n\n{_words(exports.methods(subject))}\n",
        SCORED.format(POINTS[Task(data["task"]).exclusive]),
        "\n".join(_table(subject.rows, (results.get("baseline") or {}).get("evaluations", []))),
        f"\n## How to use it\n\n```python\nimport keras\n\nmodel = keras.models.load_model('model.keras')\n"
        f"# float images in [0, 1], (batch, {', '.join(map(str, data['image_shape']))}) -> probabilities of\n"
        f"labels = {data['label_names']!r}\n```\n",
        f"## How to make it again\n\n```\n{exports.command(results)}\n```\n",
        _words(_made_with(results)),
    ]
    return "\n".join(parts)


def metadata(subject):
    """What the Hub reads at the head of a card, as a dictionary."""
    data, entries = subject.data, list(_entries(subject))
    tags = ["image-classification", "chest-x-ray", "adversarial-robustness", data["task"]]
    dataset = {"type": data["name"], "name": titles.data_title(data), "split": "test"}
    return {
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": tags + ["synthetic-data"] * data["synthetic"],
        "datasets": [data["name"]],
        "metrics": list(dict.fromkeys(entry["type"] for entry in entries)),
        "model-index": [
            {
                "name": subject.name,
                "results": [{"task": {"type": "image-classification"}, "dataset": dataset, "metrics": entries}],
            }
        ],
    }


def scored(subject, made):
    """The entries of `eval_results.yaml`.

    Args:
        subject: A `dossier.Dossier` of a run's own results.
        made: When the results were written, a `datetime`.
    """
    data = subject.data
    note = "made-up data; " * data["synthetic"]
    return [
        {
            "dataset": {"id": data["name"], "task_id": entry["type"], "split": "test"},
            "value": entry["value"],
            "date": made.isoformat(timespec="seconds"),
            "notes": f"{note}{entry['name']}; {data['counts']['test']} images; {exports.command(subject.results)}",
        }
        for entry in _entries(subject)
    ]


def _entries(subject):
    """The scores of each row as the Hub's metrics, with the attack's parameters; undefined ones are left out."""
    for row in subject.rows:
        settings = {name: row[name] for name in PARAMETERS if row.get(name) is not None}
        settings |= {"norm": "L-infinity"} if verdict.has_radius(row) else {}
        for kind, (name, key) in METRICS.items():
            if row.get(key) is not None:
                ends = verdict.interval(row, key)
                yield {
                    "type": kind,
                    "value": row[key],
                    "name": f"{name}, {titles.title(row)}",
                    "args": settings | ({"interval_95": ends} if ends else {}),
                }


def _words(text):
    """Text that Markdown and HTML show as it is, also in a cell of a table: names in it come from strangers."""
    marked = str.maketrans({letter: f"\\{letter}" for letter in "\\`[]|"})
    return html.escape(text, quote=False).translate(marked)


def _described(results, data):
    model, height, width = results.get("model", {}), *data["image_shape"][:2]
    kind = "A Keras model" if "baseline" not in results else "An adversarially trained Keras model"
    named = f" ({model['name']}, {model['parameters']:,} parameters)" if {"name", "parameters"} <= set(model) else ""
    return f"{kind}{named} for {len(data['label_names'])} findings on chest X-rays of {height} x {width} pixels."


def _table(rows, before):
    """Lines of a table of scores; with a baseline's AUC beside the model's, if there is one."""
    header = ["Attack", *(name for name, _ in METRICS.values()), *(["Macro ROC AUC of the baseline"] if before else [])]
    lines = [header, ["---", *["---:"] * (len(header) - 1)]]
    for number, row in enumerate(rows):
        cells = [_cell(row, key) for _, key in METRICS.values()]
        lines.append([_words(titles.title(row)), *cells, *([_cell(before[number], "macro_auc")] if before else [])])
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _cell(row, key):
    value, ends = row.get(key), verdict.interval(row, key)
    if value is None:
        return "undefined"
    return f"{value:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else "")


def _made_with(results):
    versions = results.get("versions") or {}
    packages = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    commit = f"; code at commit {results['commit']}" if results.get("commit") else ""
    return (
        f"Made with {packages}{commit}. Images are of SHA-256 {results['data']['sha256']}. The same command gives the "
        "same numbers on the same machine; another processor rounds otherwise.\n"
    )


def _yaml(value, indent=0):
    """YAML of dictionaries, lists and scalars, which are written as JSON: YAML reads that, and it escapes all."""
    margin = " " * indent
    if isinstance(value, dict) and value:
        lines = [f"{margin}{name}:{_after_key(part, indent)}" for name, part in value.items()]
    elif isinstance(value, list) and value:
        lines = [f"{margin}- {_yaml(part, indent + 2).lstrip()}" for part in value]
    else:
        return margin + _scalar(value)
    return "\n".join(lines)


def _after_key(value, indent):
    return f"\n{_yaml(value, indent + 2)}" if isinstance(value, dict | list) and value else f" {_yaml(value)}"


def _scalar(value):
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # Readers of YAML 1.1 take 1e-05 for a text.
    return (
        written.replace("e", ".0e") if isinstance(value, float) and "e" in written and "." not in written else written
    )
