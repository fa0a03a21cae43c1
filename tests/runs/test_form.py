"""What results may hold: a file with anything else is refused in a line, before any of it is shown."""

import json

import pytest

from chestrobust.errors import RunError
from chestrobust.runs import Run, form

CHANGE = {"difference": -0.25, "low": -0.5, "high": None}
ROW = {
    "attack": "pgd",
    "epsilon": 0.1,
    "steps": 10,
    "random_start": None,
    "macro_auc": 0.5,
    "per_label_auc": {"epsilon": 0.5, "name": None},  # labels may be called what they like
    "confusion": {"epsilon": [[1, 2], [3, 4]], "name": [[1, 2], [3, 4]]},
    "intervals": {"macro_auc": [0.25, 0.75], "per_label_auc": {"epsilon": None, "name": [0, 1]}},
    "difference": {"macro_auc": CHANGE, "per_label_auc": {"p": {**CHANGE, "p": 0.5, "p_holm": None}, "name": None}},
    "by": {"epsilon": {"name": {"macro_auc": 1.0000000000000002, "images": 3}}},
}
RESULTS = {
    "data": {"name": "x", "counts": {"test": 5}, "image_shape": [8, 8, 1], "label_names": ["a"], "synthetic": False},
    "config": {"epsilon": None, "epsilons": [0.0, 0.1], "name": "x", "steps": "any"},
    "versions": {"python": "3", "medmnist": None},
    "thresholds": {"a": 0.5},
    "evaluations": [ROW],
    "baseline": {"evaluations": [ROW], "differences": [{"attack": "pgd", "macro_auc": CHANGE, "macro_ap": None}]},
}
WRONG = [
    ("evaluations.0.macro_auc", True, "a number from 0 to 1, or null as evaluations[0].macro_auc. Received: true."),
    ("evaluations.0.macro_auc", 1.5, "a number from 0 to 1, or null"),
    ("evaluations.0.macro_auc", "0.5", "a number from 0 to 1, or null"),
    ("evaluations.0.epsilon", None, "a number from 0 to 1 as"),
    ("evaluations.0.epsilon", -0.1, "a number from 0 to 1 as"),
    ("evaluations.0.steps", 2.5, "a whole number or null"),
    ("evaluations.0.steps", 10**30, "a whole number or null"),
    ("evaluations.0.attack", 3, "a text as"),
    ("evaluations.0.per_label_auc", [0.5], "for each label as evaluations[0].per_label_auc"),
    ("evaluations.0.per_label_auc.name", True, "for each label as evaluations[0].per_label_auc"),
    ("evaluations.0.confusion.epsilon", [[1, 2]], "two counts for each label"),
    ("evaluations.0.confusion.epsilon.0.0", -1, "two counts for each label"),
    ("evaluations.0.intervals.macro_auc", [0.75, 0.25], "in their order, or null, for each score"),
    ("evaluations.0.intervals.macro_auc", [0.5], "in their order, or null, for each score"),
    ("evaluations.0.intervals.per_label_auc.name", [0, 2], "in their order, or null, for each score"),
    ("evaluations.0.difference.macro_auc.low", -2, "a number from -1 to 1, or null as evaluations[0].difference"),
    ("evaluations.0.difference.per_label_auc.p.p_holm", False, "or null as evaluations[0].difference.per_label_auc.p."),
    ("evaluations.0.by.epsilon.name.macro_auc", -1, "as evaluations[0].by.epsilon.name.macro_auc"),
    ("evaluations.0.by.epsilon.name", 1, "scores by groups as evaluations[0].by"),
    ("evaluations.0", "x", "a list of dictionaries as evaluations"),
    ("baseline.differences.0.macro_auc.difference", {}, "as baseline.differences[0].macro_auc.difference"),
    ("baseline.evaluations.0.macro_auc", {}, "as baseline.evaluations[0].macro_auc"),
    ("data.counts.test", True, "a whole number for each split"),
    ("data.image_shape", [8, 8], "three whole numbers"),
    ("data.label_names", ["a", 1], "a list of texts"),
    ("data.synthetic", None, "true or false"),
    ("config.epsilons", [None], "options by name"),
    ("config.name", {}, "options by name"),
    ("versions.python", ["3"], "texts by name"),
    ("thresholds.a", None, "a number for each of them as thresholds"),
    ("data", [], "a dictionary as data"),
]


def changed(place, value):
    content = json.loads(json.dumps(RESULTS))
    *path, last = [int(key) if key.isdigit() else key for key in place.split(".")]
    parent = content
    for key in path:
        parent = parent[key]
    parent[last] = value
    return content


@pytest.mark.parametrize("name", ["results.json", "evaluations.json"])
def test_results_are_read_as_they_are(tmp_path, name):
    (tmp_path / name).write_text(json.dumps(RESULTS))
    assert Run(tmp_path).read(name, "data") == RESULTS


@pytest.mark.parametrize(("place", "value", "words"), WRONG)
def test_an_entry_of_another_form_is_named_in_one_line(tmp_path, place, value, words):
    (tmp_path / "results.json").write_text(json.dumps(changed(place, value)))
    with pytest.raises(RunError) as caught:
        Run(tmp_path).read("results.json")
    told = str(caught.value)
    assert words in told and told.startswith(f"{tmp_path / 'results.json'}: expected ") and "\n" not in told


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "9" * 400, "-" + "9" * 400, "9" * 5000])
def test_numbers_that_are_not_finite_are_refused(tmp_path, number):
    (tmp_path / "results.json").write_text(f'{{"data": {{}}, "anything": [{number}]}}')
    with pytest.raises(RunError, match=r"expected JSON of a run\. Received: a number that isn't finite"):
        Run(tmp_path).read("results.json")


def test_texts_of_evaluations_can_be_printed_and_options_stay(tmp_path):
    for name in ("evaluation.json", "config.json"):
        (tmp_path / name).write_text(json.dumps({"note": "a\u001b[2J\u202e", "path": "b\u202e"}))
    assert Run(tmp_path).read("evaluation.json") == {"note": "a\\x1b[2J\\u202e", "path": "b\u202e"}
    assert Run(tmp_path).read("config.json")["note"] == "a\u001b[2J\u202e"


def test_what_is_nested_deeper_than_can_be_read_is_refused(tmp_path):
    for depth in (200, 900, 100_000):
        (tmp_path / "results.json").write_text("[" * depth + "]" * depth)
        with pytest.raises(RunError, match=r"expected (JSON of a run|data)"):
            Run(tmp_path).read("results.json", "data")
        (tmp_path / "results.json").write_text('{"data":' * depth + "1" + "}" * depth)
        with pytest.raises(RunError):
            Run(tmp_path).read("results.json", "data")


def test_galleries_have_a_form_of_their_own():
    form.check({"radii": [0.0, 0.1], "models": [{"name": "a", "thresholds": [0.5]}]}, "x", form.GALLERY)
    with pytest.raises(RunError, match="x: expected a list of numbers from 0 to 1 as radii"):
        form.check({"radii": [{}]}, "x", form.GALLERY)
