"""The model card and its scores: readable as YAML, the same numbers as `results.json`, made-up data called so."""

import json
import re

import made
import pytest

from chestrobust import config, devices
from chestrobust.reporting import card, dossier

yaml = pytest.importorskip("yaml")


def written(path, **changed):
    """The front matter, the words and the entries of a run with these results."""
    found = made.results(**changed)
    card.write(made.folder(path, found))
    _, head, words = (path / card.CARD).read_text().split("---\n", 2)
    return found, yaml.safe_load(head), words, yaml.safe_load((path / card.SCORES).read_text())


def test_the_front_matter_has_the_numbers_of_the_results(tmp_path):
    found, head, words, _ = written(tmp_path / "robust", baseline="../base")
    assert (head["library_name"], head["pipeline_tag"]) == ("keras", "image-classification")
    assert head["metrics"] == ["roc_auc"]
    (model,) = head["model-index"]
    (result,) = model["results"]
    assert model["name"] == "robust"
    assert result["task"] == {"type": "image-classification"}
    assert result["dataset"] == {"type": "chestmnist", "name": "chestmnist", "split": "test"}
    assert [entry["value"] for entry in result["metrics"]] == [row["macro_auc"] for row in found["evaluations"]]
    clean, _, pgd = result["metrics"]
    assert clean["args"] == {"attack": "clean", "epsilon": 0.0}
    assert pgd["args"] == {"attack": "pgd", "epsilon": 4 / 255, "steps": 10, "norm": "L-infinity"}
    # 0.625 less 1/16, and of the baseline 0.25 less.
    assert "| PGD-10, epsilon 0.0157 (4/255) | 0.625 | undefined | undefined | 0.375 |" in words
    for part in ("Not for clinical use", "Limits", "python diagnosis_adv.py", "48 for training", "An adversarially"):
        assert part in words


def test_no_auc_stands_without_sensitivity_and_specificity_where_there_are_such(tmp_path):
    scores = {"macro_sensitivity": 0.5, "macro_specificity": 0.75, "intervals": {"macro_auc": [0.25, 0.875]}}
    rows = [made.row("clean", 0.0, 0.625, full=False) | scores, made.row("pgd", 0.1, 0.5, full=False) | scores]
    _, head, words, entries = written(tmp_path / "run", evaluations=rows)
    metrics = head["model-index"][0]["results"][0]["metrics"]
    assert [(entry["type"], entry["value"]) for entry in metrics[:3]] == [
        ("roc_auc", 0.625),
        ("recall", 0.5),
        ("specificity", 0.75),
    ]
    assert metrics[0]["args"]["interval_95"] == [0.25, 0.875]
    assert "| clean | 0.625 (0.250 to 0.875) | 0.500 | 0.750 |" in words
    assert [entry["value"] for entry in entries] == [entry["value"] for entry in metrics]


def test_undefined_scores_are_left_out_and_small_numbers_stay_numbers(tmp_path):
    rows = [made.row("clean", 0.0, 0.625, full=False), made.row("pgd", 1e-5, 0.5, full=False)]
    rows[0]["macro_auc"] = None
    _, head, words, entries = written(tmp_path / "run", evaluations=rows)
    (only,) = head["model-index"][0]["results"][0]["metrics"]
    assert only["args"]["epsilon"] == 1e-5
    assert len(entries) == 1
    assert "| clean | undefined |" in words


def test_each_entry_says_of_what_data_it_is_when_and_how(tmp_path):
    found, _, _, entries = written(tmp_path / "run", data=made.data(name="phantom", synthetic=True))
    assert [entry["value"] for entry in entries] == [row["macro_auc"] for row in found["evaluations"]]
    for entry, attack in zip(entries, ("clean", "FGSM", "PGD-10"), strict=True):
        assert entry["dataset"] == {"id": "phantom", "task_id": "roc_auc", "split": "test"}
        assert attack in entry["notes"]
        assert "made-up data" in entry["notes"]
        assert "python diagnosis.py" in entry["notes"]
        assert str(entry["date"]).startswith("20")


def test_made_up_data_are_called_so_and_others_not(tmp_path):
    _, head, words, _ = written(tmp_path / "one", data=made.data(name="phantom", synthetic=True))
    assert "Made-up data" in words
    assert "synthetic-data" in head["tags"]
    _, head, words, _ = written(tmp_path / "two")
    assert "made-up" not in words.lower()
    assert "synthetic-data" not in head["tags"]


@pytest.mark.parametrize("name", ["a: b", "- a", "'a'", '"a"', "{a}", "#a", "<script>a</script>", "é\U0001f600"])
def test_names_of_strangers_stay_names(tmp_path, name):
    _, head, words, entries = written(tmp_path / "run", data=made.data(name=name))
    assert head["datasets"] == [name]
    assert entries[0]["dataset"]["id"] == name
    assert "<script>" not in words


def test_classes_that_exclude_each_other_have_no_thresholds(tmp_path):
    for task, told in (("multi-label", "at thresholds\nfixed"), ("multi-class", "those of the likeliest class")):
        _, _, words, _ = written(tmp_path / task, data=made.data(task=task))
        assert f"Sensitivity and specificity are {told}" in words


def test_words_of_strangers_are_no_markup_and_break_no_table(tmp_path):
    evil = "<img src=x> | [a](b) `c` \\"
    rows = [made.row("clean", 0.0, 0.625, full=False), made.row(evil, 0.1, 0.5, full=False)]
    found = {"versions": {evil: evil}, "commit": evil, "model": {"name": evil, "parameters": 3}}
    _, head, words, _ = written(tmp_path / "run", evaluations=rows, **found)
    assert evil in head["model-index"][0]["results"][0]["metrics"][1]["args"]["attack"]
    plain = re.sub(r"```.*?\n```", "", words, flags=re.DOTALL)
    assert "<img" not in plain and "&lt;img" in plain
    assert not re.search(r"(?<!\\)[\[`]", plain)
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in plain.splitlines() if line.startswith("|")]
    assert len(set(cells)) == 1


def test_results_of_another_form_are_told_and_leave_no_card(tmp_path, capsys):
    card.write(made.folder(tmp_path / "run", made.results(data={"name": "chestmnist"})))
    assert capsys.readouterr().out.startswith("No model card is written. ")
    assert not (tmp_path / "run" / card.CARD).exists()


def test_only_the_chief_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "chief", lambda: False)
    card.write(made.folder(tmp_path / "run", made.results()))
    assert not (tmp_path / "run" / card.CARD).exists()


def test_the_hub_reads_both(tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    _, _, _, entries = written(tmp_path / "run", baseline="../base")
    metadata = hub.ModelCard.load(tmp_path / "run" / card.CARD).data
    assert {result.metric_type for result in metadata.eval_results} == {"roc_auc"}
    assert [result.metric_value for result in metadata.eval_results] == [entry["value"] for entry in entries]
    assert len(hub.parse_eval_result_entries(entries)) == len(entries)


def test_the_command_in_a_card_is_read_by_the_script(tmp_path):
    found = made.results(config=json.loads(json.dumps(made.asdict(config.BaselineConfig(epochs=3)))))
    subject = dossier.read(made.folder(tmp_path / "run", found))[-1]
    assert "\npython diagnosis.py --epochs=3\n" in card.text(subject)
