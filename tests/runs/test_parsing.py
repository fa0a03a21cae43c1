"""How JSON of runs is read: what isn't finite is refused in a line, and what can't be printed is escaped."""

import json

import pytest

from chestrobust.errors import RunError
from chestrobust.runs import Run


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
    for text in ("[" * 100_000 + "]" * 100_000, '{"data":' * 100_000 + "1" + "}" * 100_000):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(RunError, match="expected JSON of a run"):
            Run(tmp_path).read("results.json", "data")
