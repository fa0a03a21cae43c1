"""What reporting guidelines ask of a report on robustness, each answered from a field of the results or not met.

The items are told in our words, and only those that such a report can be asked; what the authors alone can say (ethics,
funding, limitations) isn't here. CLAIM 2024 (https://doi.org/10.1148/ryai.240300), TRIPOD+AI
(https://doi.org/10.1136/bmj-2023-078378), FUTURE-AI (https://doi.org/10.1136/bmj-2024-081554).
"""

from collections.abc import Callable
from dataclasses import dataclass

from chestrobust import titles
from chestrobust.reporting import verdict
from chestrobust.tasks import Task

SCORES = {"macro_auc": "macro AUC", "macro_ap": "average precision", "macro_sensitivity": "sensitivity",
          "macro_specificity": "specificity"}  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One item of a guideline.

    Attributes:
        guideline: Its name.
        number: What the guideline calls the item.
        asks: What is asked, in our words.
        fields: Places in the results that answer it, with dots between the keys; see `facts`.
        answer: From their values to a text, or None if they don't answer it.
        remedy: How to have it answered.
    """

    guideline: str
    number: str
    asks: str
    fields: tuple[str, ...]
    answer: Callable[..., str | None]
    remedy: str = ""


@dataclass(frozen=True)
class Answer:
    """How an `Item` came out: `text` is its answer, or says that it isn't met and what to do."""

    item: Item
    met: bool
    text: str


def facts(dossier):
    """All that results say of a model in one dictionary: of its training, and under `judged` of its evaluation.

    Keys that aren't in a file are made of several of its kind: `external` (evaluations on other data) and `smoothed`
    (what randomized smoothing proved in each).
    """
    external = {name: found["data"]["name"] for name, found in dossier.external.items()}
    told = {"judged": dossier.judged | {"smoothed": [found["smoothed"] for found in dossier.smoothed]}}
    return {**dossier.results, "data": dossier.data, **told, "external": external}


def answered(known):
    """An `Answer` to each item; `known` is what `facts` returns."""
    return [_answered(item, known) for item in ITEMS]


def _answered(item, known):
    values = [_find(known, place) for place in item.fields]
    text = None if any(value in (None, [], {}, "") for value in values) else item.answer(*values)
    return Answer(item, text is not None, text if text is not None else item.remedy)


def _find(known, place):
    for key in place.split("."):
        known = known.get(key) if isinstance(known, dict) else None
    return known


def _data(name, sha256):
    return f"{name}, SHA-256 {sha256[:12]}"


def _partitions(counts):
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _versions(versions):
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _radii(rows, judged):
    radii = sorted({row["epsilon"] for row in rows if verdict.has_radius(row)})
    lengths = sorted({row["radius"] for found in judged.get("smoothed") or [] for row in found["radii"]} - {0})
    told = [f"L-infinity within [0, 1], epsilon {', '.join(map(titles.radius, radii))}"] * bool(radii)
    told += [f"L2 up to {', '.join(f'{length:g}' for length in lengths)}, by randomized smoothing"] * bool(lengths)
    return "; ".join(told) or None


def _robustness(rows, judged):
    row = verdict.worst(judged)
    if row is None:
        return None
    attacks = verdict.attacks_of(rows, row)
    under = f"the {attacks}" if attacks.startswith("worst") else attacks
    return f"macro AUC {row['macro_auc']:.3f} under {under}, epsilon {titles.radius(row['epsilon'])}"


def _precision(rows):
    clean = verdict.clean_of(rows)
    ends = verdict.interval(clean, "macro_auc")
    return ends and f"clean macro AUC {clean['macro_auc']:.3f}, 95 % interval {ends[0]:.3f} to {ends[1]:.3f}"


def _uncertainty(rows):
    """Which scores have intervals; those of labels are of the same row."""
    known = verdict.clean_of(rows).get("intervals") or {}
    told = [name for key, name in SCORES.items() if known.get(key)]
    return f"95 % intervals of {', '.join(told)}, and of each label's" if told else None


def _failures(rows, judged):
    clean, row = verdict.clean_of(rows), verdict.worst(judged)
    if row is None or row.get("hidden") is None or row.get("confusion") is None or clean.get("confusion") is None:
        return None
    shares = f"{100 * row['hidden']:.1f} % of reports lose a finding, {100 * row['invented']:.1f} % gain one"
    return f"{shares}; confusion of each label, clean and attacked"


def _groups(rows):
    groups = verdict.clean_of(rows).get("by")
    return f"scores by {', '.join(groups)}" if groups else None


def _events(counts, rows):
    confusion = verdict.clean_of(rows).get("confusion")
    if not confusion:
        return None
    positive = ", ".join(f"{name} {sum(counted[1])}" for name, counted in confusion.items())
    return f"{counts['test']} test images; positive: {positive}"


def _scores(rows):
    names = {"macro_auc": "macro AUC", "macro_ap": "average precision", "f1": "F1", "brier": "Brier score"}
    return ", ".join(name for key, name in names.items() if rows[0].get(key) is not None)


def _audit(lines):
    return verdict.trust(lines).removeprefix("Trust: ")


def _trained(training, chosen):
    return (
        f"{training['epochs']} epochs, {chosen['optimizer']}, learning rate {chosen['learning_rate']:g}, batch size "
        f"{chosen['batch_size']}"
    )


def _start(weights, seed):
    return f"{'random weights' if weights == 'none' else f'weights: {weights}'}, seed {seed}"


def _thresholds(cuts, task):
    if Task(task).exclusive:
        return "probabilities, of which the largest is the answer: no thresholds"
    return f"probabilities; {len(cuts)} threshold{'s' * (len(cuts) != 1)} fixed on clean validation images"


CLAIM, TRIPOD, FUTURE = "CLAIM 2024", "TRIPOD+AI", "FUTURE-AI"
_EVALUATE = "Run evaluate.py RUN --suite standard."
_TRAIN = "Results don't tell it of a model trained elsewhere: say it yourself."
_BY = "Run evaluate.py RUN --by sex age view, on data that tell them."
_OTHER = "Run evaluate.py RUN --data OTHER, on data of another source."
_LEVEL = "Results don't tell it: say whether no patient is in two splits."
_LABELS = "Results don't tell it: say who labelled the images, and how."

ITEMS = (
    Item(CLAIM, "7", "Where the data come from", ("data.name", "data.sha256"), _data),
    Item(CLAIM, "14", "How the labels were obtained", ("data.reference_standard",), str, _LABELS),
    Item(CLAIM, "19", "How data were dealt to partitions", ("data.counts",), _partitions),
    Item(CLAIM, "20", "At which level partitions are disjoint", ("data.disjoint_by",), str, _LEVEL),
    Item(CLAIM, "22", "The model", ("model.name", "model.parameters"), "{}, {:,} parameters".format, _TRAIN),
    Item(CLAIM, "23", "Software and its versions", ("judged.versions",), _versions),
    Item(CLAIM, "24", "Where the parameters start",
         ("config.weights", "config.seed"), _start, _TRAIN),
    Item(CLAIM, "25", "Details of training", ("training", "config"), _trained, _TRAIN),
    Item(CLAIM, "26", "How the final model was chosen", ("training.selected_on", "training.best_epoch"),
         lambda attack, epoch: f"{titles.selection(attack)} on validation images, epoch {epoch}", _TRAIN),
    Item(CLAIM, "28", "Measures of performance", ("judged.evaluations",), _scores),
    Item(CLAIM, "29", "Measures of uncertainty", ("judged.evaluations",), _uncertainty, _EVALUATE),
    Item(CLAIM, "30", "Robustness or sensitivity analysis", ("judged.evaluations", "judged"), _robustness, _EVALUATE),
    Item(CLAIM, "33", "Testing on external data", ("external",), lambda found: ", ".join(found.values()), _OTHER),
    Item(CLAIM, "38", "Estimates of accuracy and their precision", ("judged.evaluations",), _precision, _EVALUATE),
    Item(CLAIM, "39", "Analysis of failures", ("judged.evaluations", "judged"), _failures, _EVALUATE),
    Item(CLAIM, "43", "Where code and data are", ("judged.commit", "data.sha256"),
         lambda commit, sha256: f"code at commit {commit[:12]}, data with SHA-256 {sha256[:12]}"),
    Item(TRIPOD, "12e", "Measures, and how models are compared", ("judged.evaluations",), _scores),
    Item(TRIPOD, "14", "Fairness", ("judged.evaluations",), _groups, _BY),
    Item(TRIPOD, "15", "Output of the model, and how thresholds were found", ("judged.thresholds", "data.task"),
         _thresholds, _EVALUATE),
    Item(TRIPOD, "18f", "Where the code is", ("judged.commit",), "commit {}".format),
    Item(TRIPOD, "21", "Numbers of images and of positive ones", ("judged.data.counts", "judged.evaluations"), _events,
         _EVALUATE),
    Item(TRIPOD, "23a", "Performance with intervals", ("judged.evaluations",), _precision, _EVALUATE),
    Item(FUTURE, "Fairness 3", "Evaluate fairness", ("judged.evaluations",), _groups, _BY),
    Item(FUTURE, "Universality 3", "Evaluate on external data", ("external",),
         lambda found: ", ".join(found.values()), _OTHER),
    Item(FUTURE, "Traceability 2", "Document the model and its settings",
         ("judged.config", "judged.versions", "judged.hardware"),
         lambda chosen, versions, hardware: f"{len(chosen)} options, {len(versions)} versions, "
         f"{hardware.get('machine', 'a machine')} in the results"),
    Item(FUTURE, "Robustness 1", "Say which variations are expected, attacks among them",
         ("judged.evaluations", "judged"), _radii, _EVALUATE),
    Item(FUTURE, "Robustness 3", "Evaluate robustness", ("judged.evaluations", "judged", "judged.audit"),
         lambda rows, judged, lines: (told := _robustness(rows, judged)) and f"{told}; audit: {_audit(lines)}",
         _EVALUATE),
)  # fmt: skip
