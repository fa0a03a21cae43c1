"""Evaluation on other data than the model's, and scores broken down by who the images are of."""

import dataclasses
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_splits

import evaluate
from chestrobust import commandline, config, models, runs
from chestrobust.data import matching, subgroups
from chestrobust.data.splits import CHEST_LABELS, Split
from chestrobust.errors import DataError, ExpectedError, RunError
from chestrobust.evaluation import metrics
from chestrobust.reporting import tables
from chestrobust.runs import saved
from chestrobust.tasks import Task

QUICK = ["--epsilons", "0", "0.1", "--steps", "2", "--resamples", "20", "--data-dir", "cache"]


def named(names, **settings):
    return dataclasses.replace(make_splits(num_labels=len(names), **settings), label_names=tuple(names))


def trained(path, splits):
    """A finished run of an untrained model for these data."""
    path.mkdir(parents=True)
    keras.utils.set_random_seed(0)
    activation = "softmax" if splits.task == "multi-class" else "sigmoid"
    models.build_cnn(splits.image_shape, len(splits.label_names), activation=activation).save(path / "model.keras")
    results = {"data": splits.summary(), "evaluations": [], "thresholds": dict.fromkeys(splits.label_names, 0.4)}
    (path / "results.json").write_text(json.dumps(results))
    (path / "config.json").write_text(config.to_json(config.BaselineConfig()))
    return path


def attributed(split):
    """A split whose images have a patient, a sex, a view and an age."""
    count = len(split)
    about = {
        "sex": np.array(["F", "M", ""])[np.arange(count) % 3],
        "age": np.where(np.arange(count) % 4 == 0, np.nan, 15.0 + np.arange(count) * 5),
        "view": np.full(count, "PA"),
    }
    return Split(split.images, split.labels, np.arange(count) // 2, about)


def evaluated(monkeypatch, splits, *arguments):
    """Run the script on these data; returns its results."""
    monkeypatch.setattr(evaluate.data, "load_for", lambda **options: splits)
    evaluate.main([*arguments, "--data", "phantom", "--name", "test", *QUICK])
    return json.loads((Path(arguments[0]) / "evaluations" / "test.json").read_text())


def completed(options):
    """The options of `evaluate.py` as it completes them by the run's own."""
    given = config.picked(options, config.DATA)
    return dataclasses.replace(options, **saved.completed(saved.find(options.subject), given))


def test_labels_are_matched_by_name_whatever_their_order_and_spelling(tmp_path):
    splits = named(["Pleural_Thickening", "hernia", "COVID-19"])
    shared = matching.shared(["mass", "covid 19", "pleural"], splits)
    assert shared.label_names == ("pleural", "covid 19")
    np.testing.assert_array_equal(shared.test.labels, splits.test.labels[:, [0, 2]])
    assert matching.shared(["hernia"], splits).task == "binary"
    with pytest.raises(DataError, match="expected a label that the model has too"):
        matching.shared(["fracture"], splits)


def test_classes_may_be_in_another_order_but_not_fewer():
    splits = named(["cat", "dog", "owl"], task="multi-class")
    assert matching.shared(["owl", "Dog", "cat"], splits).label_names == ("cat", "Dog", "owl")
    for names in (["cat", "dog"], ["cat", "dog", "owl", "emu"]):
        with pytest.raises(DataError, match="no more and no fewer"):
            matching.shared(names, splits)


@pytest.mark.parametrize("task", ["multi-label", "multi-class"])
def test_a_model_answers_for_the_shared_labels_with_its_own_logits(tmp_path, task):
    ours = named(["a", "b", "c"], task=task)
    path = trained(tmp_path / "run", ours) / "model.keras"
    theirs = named(["c", "a", "b"] if task == "multi-class" else ["x", "c", "a"], task=task)
    shared = matching.shared(ours.label_names, theirs)
    model = models.opened(path, shared).model
    images = theirs.test.images[:5] / np.float32(255)
    places = [ours.label_names.index(name) for name in shared.label_names]
    expected = models.load_logits(path)[0](images).numpy()[:, places]
    np.testing.assert_array_equal(model(images).numpy(), expected)


def test_external_data_are_scored_on_the_shared_labels_with_the_models_thresholds(tmp_path, monkeypatch, capsys):
    run = trained(tmp_path / "run", named(CHEST_LABELS[:4]))
    found = evaluated(monkeypatch, named(["nodule", "Effusion", "mass", "atelectasis"]), str(run))
    shared = ["effusion", "atelectasis"]
    assert found["data"]["label_names"] == shared
    assert found["labels"]["data"] == ["nodule", "Effusion", "mass", "atelectasis"]
    assert found["thresholds"] == dict.fromkeys(shared, 0.4)
    for entry in found["evaluations"]:
        assert list(entry["per_label_auc"]) == shared
    assert "shared by model (4) and data (4): effusion, atelectasis" in capsys.readouterr().out
    clean = found["evaluations"][0]
    model = models.load_logits(run / "model.keras")[0]
    test = named(["nodule", "Effusion", "mass", "atelectasis"]).test
    logits = model(test.images / np.float32(255)).numpy()[:, [2, 0]]
    np.testing.assert_allclose(
        list(clean["per_label_auc"].values()), metrics.auc(test.labels[:, [1, 3]], logits), atol=1e-6
    )


def test_what_was_computed_for_other_labels_or_another_size_is_not_taken_again(tmp_path, monkeypatch):
    inputs = keras.layers.Input((None, None, 1))
    keras.utils.set_random_seed(0)
    x = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(inputs))
    keras.Model(inputs, keras.layers.Dense(3, activation="sigmoid")(x)).save(tmp_path / "model.keras")
    first, larger = make_splits(), make_splits(size=16)
    flipped = dataclasses.replace(first, test=Split(first.test.images, 1 - first.test.labels))

    def score(splits):
        monkeypatch.setattr(evaluate.data, "load_for", lambda **options: splits)
        evaluate.main([str(tmp_path / "model.keras"), "--data", "phantom", "--name", "test", *QUICK])
        return [row["macro_auc"] for row in json.loads((tmp_path / "evaluations/test.json").read_text())["evaluations"]]

    assert first.sha256 == larger.sha256 == flipped.sha256
    before = score(first)
    assert score(flipped)[1] != before[1]
    assert score(larger)[0] != before[0]
    assert score(first) == before


def test_thresholds_are_not_tuned_again_on_other_data(tmp_path, monkeypatch):
    run = trained(tmp_path / "run", make_splits())
    assert evaluated(monkeypatch, make_splits(), str(run), "--thresholds", "grid")["thresholds"]
    other = dataclasses.replace(make_splits(), sha256="1" * 64)
    with pytest.raises(ExpectedError, match=r"--thresholds grid: expected the run's own data"):
        evaluated(monkeypatch, other, str(run), "--thresholds", "grid")


@pytest.mark.slow
def test_the_baseline_is_found_from_anywhere_and_only_if_it_is_the_same(tmp_path, monkeypatch):
    splits = make_splits()
    base, robust = trained(tmp_path / "base", splits), trained(tmp_path / "robust", splits)
    results = json.loads((robust / "results.json").read_text())
    checksum = runs.provenance.sha256(base / "model.keras")
    results["baseline"] = {"run": "typed/elsewhere", "path": "../base", "sha256": checksum}
    (robust / "results.json").write_text(json.dumps(results))

    def attacked():
        """Whether images made on the baseline are shown to the run, and what the audit says of the baseline."""
        found = evaluated(monkeypatch, splits, str(robust))
        text = next(line["text"] for line in found["audit"] if line["name"] == "undefended model collapses")
        return "transfer" in {row["attack"] for row in found["evaluations"]}, text

    monkeypatch.chdir(tmp_path)
    assert attacked() == (True, "needs 32 images; received 12")
    (base / "model.keras").write_bytes(b"another")
    transferred, text = attacked()
    assert not transferred and "no longer the run's baseline" in text
    (base / "model.keras").unlink()
    transferred, text = attacked()
    assert not transferred and "no longer in" in text


def test_few_images_have_no_interval(tmp_path, monkeypatch, capsys):
    splits = make_splits((24, 12, 30))
    ages = np.where(np.arange(30) < 8, 10.0, 50.0)
    test = dataclasses.replace(splits.test, attributes={"age": ages})
    run = trained(tmp_path / "run", splits)
    found = evaluated(monkeypatch, dataclasses.replace(splits, test=test), str(run), "--by", "age")
    groups = found["evaluations"][0]["by"]["age"]
    assert (groups["under 18"]["images"], groups["under 18"]["intervals"]["macro_auc"]) == (8, None)
    assert len(groups["40 to 59"]["intervals"]["macro_auc"]) == 2


def test_data_without_a_shared_label_are_refused(tmp_path, monkeypatch):
    run = trained(tmp_path / "run", named(CHEST_LABELS[:3]))
    with pytest.raises(DataError, match=r"Received none: the model has atelectasis.*the data have x, y"):
        evaluated(monkeypatch, named(["x", "y"]), str(run))


def test_data_of_any_size_are_taken_in_the_models_own(tmp_path):
    run = trained(tmp_path / "run", make_splits(size=16))
    options = config.EvaluateConfig(subject=str(run), data="nih", root="x")
    assert completed(options).size == 16
    assert completed(dataclasses.replace(options, size=28)).size == 28
    assert completed(dataclasses.replace(options, data="other.npz")).size is None
    # explain.py takes the same images as evaluate.py.
    explained = config.ExplainConfig(subject=str(run), other=None, data="phantom")
    assert saved.settings(saved.find(str(run)), vars(explained)).size == 16


def test_a_run_brings_its_folder_and_subset(tmp_path):
    run = trained(tmp_path / "run", make_splits())
    own = config.BaselineConfig(data="nih", root="here", val_subset=7)
    (run / "config.json").write_text(config.to_json(own))
    options = completed(config.EvaluateConfig(subject=str(run)))
    assert (options.data, options.root, options.val_subset) == ("nih", "here", 7)
    moved = completed(config.EvaluateConfig(subject=str(run), root="there"))
    # Older versions had a root for each source.
    old = json.loads(config.to_json(own))
    old |= {"nih_root": old.pop("root"), "covid_root": None, "folders_root": "elsewhere"}
    (run / "config.json").write_text(json.dumps(old))
    assert completed(config.EvaluateConfig(subject=str(run))) == options
    assert saved.settings(saved.find(str(run)), vars(config.ExplainConfig("run", None))).root == "here"
    (run / "results.json").unlink()
    assert runs.claim(dataclasses.replace(own, run=str(run), root="there", resume=True)).started
    assert moved.root == "there"


def test_scores_are_broken_down_into_groups_of_whole_images(tmp_path, monkeypatch, capsys):
    splits = make_splits((24, 12, 30))
    splits = dataclasses.replace(splits, test=attributed(splits.test))
    run = trained(tmp_path / "run", splits)
    found = evaluated(monkeypatch, splits, str(run), "--by", "sex", "age")
    logits = models.load_logits(run / "model.keras")[0](splits.test.images / np.float32(255)).numpy()
    clean = found["evaluations"][0]["by"]
    assert {name: group["images"] for name, group in clean["sex"].items()} == {"F": 10, "M": 10, "unknown": 10}
    rows = np.arange(0, 30, 3)
    expected = metrics.summary(Task("multi-label"), splits.label_names, splits.test.labels[rows], logits[rows])
    assert clean["sex"]["F"]["macro_auc"] == pytest.approx(expected["macro_auc"])
    low, high = clean["sex"]["F"]["intervals"]["macro_auc"]
    assert low <= expected["macro_auc"] <= high
    assert sum(group["images"] for group in clean["age"].values()) == 30
    assert all(set(entry["by"]) == {"sex", "age"} for entry in found["evaluations"])
    printed = capsys.readouterr().out
    assert "| By sex " in printed
    assert "| F       |     10 |" in printed


def test_ages_fall_into_bands_by_years():
    ages = np.float32([0, 17.9, 18, 39, 40, 79, 80, 95, np.nan])
    split = Split(np.zeros((9, 1, 1, 1)), np.zeros((9, 1)), None, {"age": ages})
    groups = subgroups.rows(split, ["age"])["age"]
    assert {name: rows.tolist() for name, rows in groups.items()} == {
        **{"under 18": [0, 1], "18 to 39": [2, 3], "40 to 59": [4], "60 to 79": [5], "80 and over": [6, 7]},
        "unknown": [8],
    }


def test_a_breakdown_by_what_is_not_known_is_refused():
    with pytest.raises(ExpectedError, match=r"--by sex: .*These tell: none"):
        subgroups.rows(make_splits().test, ["sex"])


def test_groups_that_lack_a_label_are_named():
    group = {"images": 4, "macro_auc": None, "undefined_labels": ["mass"], "intervals": {"macro_auc": None}}
    entry = {"attack": "clean", "epsilon": 0.0, "by": {"sex": {"F": group}}}
    text = "\n".join(tables._by_group({"evaluations": [entry], "steps_curve": {"epsilon": 0.1}}))
    assert "undefined" in text
    assert "F without mass" in text


def test_every_option_takes_its_own_default_from_json():
    for one in (config.BaselineConfig, config.AdversarialConfig, config.TuneConfig):
        known = json.loads(config.to_json(one()))
        assert [
            field.name for field in dataclasses.fields(one) if not commandline.takes(field, known[field.name])
        ] == []


def test_a_run_chooses_no_folder_to_write_to(tmp_path):
    run = trained(tmp_path / "run", make_splits())
    (tmp_path / "thesis").mkdir()
    own = config.BaselineConfig(data="phantom", data_dir=str(tmp_path / "thesis"))
    (run / "config.json").write_text(config.to_json(own))
    found = lambda: (  # noqa: E731
        completed(config.EvaluateConfig(subject=str(run))).data_dir,
        saved.settings(saved.find(str(run)), vars(config.ExplainConfig("run", None))).data_dir,
    )
    assert found() == (config.DATA_DIR, config.DATA_DIR)
    for name in ("x" * 5000, "a\0b", "~nobody-of-that-name/x"):
        (run / "config.json").write_text(config.to_json(dataclasses.replace(own, data_dir=name)))
        assert found() == (config.DATA_DIR, config.DATA_DIR)
    (run / "config.json").write_text(config.to_json(own))
    (tmp_path / "thesis" / "checksums.json").write_text("{}")  # Known from an earlier start.
    assert found() == (str(tmp_path / "thesis"),) * 2


def test_a_run_chooses_no_folder_of_images_to_write_to(tmp_path):
    run = trained(tmp_path / "run", make_splits())
    (tmp_path / "scans").mkdir()
    (run / "config.json").write_text(
        config.to_json(config.BaselineConfig(data="folders", root=str(tmp_path / "scans")))
    )
    assert completed(config.EvaluateConfig(subject=str(run))).root is None
    mine = config.EvaluateConfig(subject=str(run), root=str(tmp_path / "scans"))
    assert completed(mine).root == str(tmp_path / "scans")


def test_default_radii_are_whole_grey_levels_and_the_runs_own(tmp_path):
    levels = config.EvaluateConfig.epsilons
    assert [255 * radius for radius in levels] == [0, 1, 2, 4, 8, 12]
    assert [255 * radius for radius in config.ExplainConfig.epsilons] == [1, 2, 4, 8, 12]
    run = trained(tmp_path / "run", make_splits())
    of = lambda given=levels: saved.radii(saved.find(str(run)), given)  # noqa: E731
    known = json.loads((run / "results.json").read_text())
    own = {0.05: (*levels, 0.05), 4 / 255: levels, 0: levels, 7: levels, "0.05": levels, None: levels}
    for epsilon, radii in own.items():
        (run / "results.json").write_text(json.dumps(known | {"config": {"epsilon": epsilon}}))
        assert of() == radii
    (run / "results.json").write_text(json.dumps(known | {"config": {"epsilon": 0.05}}))
    assert of((0.0, 2 / 255)) == (0.0, 2 / 255)
    assert saved.radii(saved.Saved(run / "other.keras", runs.Run(run)), levels) == levels


@pytest.mark.parametrize(
    "option", [{"data": 5}, {"limit": "x"}, {"size": -1}, {"metadata": "yes"}, {"data_dir": []}, {"root": True}]
)
def test_a_run_of_mistyped_options_is_one_line(tmp_path, option):
    run = trained(tmp_path / "run", make_splits())
    ((name, value),) = option.items()
    (run / "config.json").write_text(json.dumps(vars(config.BaselineConfig()) | option))
    with pytest.raises(RunError, match=rf"config\.json: expected what --{name.replace('_', '-')} takes"):
        completed(config.EvaluateConfig(subject=str(run)))
    with pytest.raises(RunError, match=f"Received: {re.escape(repr(value))}"):
        saved.settings(saved.find(str(run)), vars(config.ExplainConfig("run", None)))
