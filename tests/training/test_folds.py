"""K-fold cross-validation: who is tested when, and one whole run on images made here."""

import dataclasses
import json

import numpy as np
import pytest
from conftest import make_splits

import diagnosis
from chestrobust import config
from chestrobust.data.splits import Rows, Split
from chestrobust.errors import RunError
from chestrobust.tasks import Task
from chestrobust.training import experiment, folds


def of_patients(splits, per_patient=3):
    """The same splits, with patients of some images each; the numbers go on over the splits."""
    parts, first = {}, 0
    for name, split in splits.parts.items():
        patients = (first + np.arange(len(split))) // per_patient
        parts[name] = Split(split.images, split.labels, patients, {"age": patients + 20.0})
        first += len(split)
    return dataclasses.replace(splits, **parts)


def test_each_image_is_tested_once_and_no_patient_is_on_two_sides():
    splits = of_patients(make_splits((60, 30, 30)))
    whole = folds.pooled(splits)
    part = folds.parts(whole, Task("multi-label"), 5)
    tested = []
    for fold in range(5):
        dealt = folds.fold_of(splits, whole, part, fold, 5)
        assert dealt.summary()["counts"] == {"train": 72, "val": 24, "test": 24}
        for split in dealt.parts.values():
            np.testing.assert_array_equal(split.attributes["age"], split.patients + 20)
        people = [set(split.patients.tolist()) for split in dealt.parts.values()]
        assert len(set.union(*people)) == sum(map(len, people)) == 40
        tested += [image.tobytes() for image in dealt.test.images[:]]
        for row in range(24):
            same = np.flatnonzero((whole.images == dealt.test.images[row]).all(axis=(1, 2, 3)))
            np.testing.assert_array_equal(whole.labels[same[0]], dealt.test.labels[row])
    assert len(set(tested)) == 120


def test_rare_classes_are_in_every_fold():
    splits = make_splits((60, 12, 12), task="multi-class")
    whole = folds.pooled(splits)
    rare = np.repeat(np.eye(3, dtype=np.uint8), [74, 5, 5], axis=0)
    part = folds.parts(dataclasses.replace(whole, labels=rare), Task("multi-class"), 5)
    assert np.bincount(part[74:79]).tolist() == np.bincount(part[79:]).tolist() == [1] * 5


def test_images_on_the_disk_stay_there(tmp_path):
    splits = make_splits()
    np.save(tmp_path / "images.npy", np.concatenate([split.images for split in splits.parts.values()]))
    array = np.load(tmp_path / "images.npy", mmap_mode="r")
    rows = {"train": np.arange(24), "val": np.arange(24, 36), "test": np.arange(36, 48)}
    parts = {name: Split(Rows(array, rows[name]), split.labels) for name, split in splits.parts.items()}
    images = folds.pooled(dataclasses.replace(splits, **parts)).images
    assert images.array is array
    np.testing.assert_array_equal(images[:], array)


def test_mean_and_spread_are_those_of_the_folds():
    def result(auc):
        return {"evaluations": [{"attack": "clean", "macro_auc": auc, "macro_ap": 0.5}]}

    (row,) = folds.summary([result(0.6), result(0.8), result(None)])
    assert row["macro_auc"] == {"folds": [0.6, 0.8, None], "mean": pytest.approx(0.7), "sd": pytest.approx(0.02**0.5)}
    assert folds.table([row], "made")[-1] == "| clean | 0.7000 ± 0.1414 | 0.6000 to 0.8000 | 0.5000 ± 0.0000 |"


@pytest.mark.slow
def test_a_cross_validation_runs_goes_on_and_ends_with_a_table(tmp_path, monkeypatch, capsys):
    splits = of_patients(make_splits((48, 24, 24)))
    monkeypatch.setattr(diagnosis.data, "load_for", lambda **options: splits)
    arguments = ["--folds", "3", "--epochs", "1", "--steps", "2", "--run", str(tmp_path / "kfold")]
    assert not diagnosis.main(arguments)
    found = json.loads((tmp_path / "kfold" / "kfold.json").read_text())
    assert [row["attack"] for row in found] == [
        "clean",
        "FGSM, epsilon 0.05",
        "PGD-2, epsilon 0.05, step size 0.01, random start",
        "PGD-AUC-2, epsilon 0.05, step size 0.01, random start",
    ]
    assert len(found[0]["macro_auc"]["folds"]) == 3
    assert "corners (made-up data), 3 folds" in capsys.readouterr().out
    monkeypatch.setattr(experiment, "train_baseline", lambda *_: pytest.fail("trained a finished fold again"))
    diagnosis.main(arguments)
    assert json.loads((tmp_path / "kfold" / "kfold.json").read_text()) == found


def test_folds_do_not_go_into_a_run(tmp_path):
    options = config.BaselineConfig(folds=3, run=str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RunError, match="Received a training run"):
        experiment.cross_validate(options, make_splits())


def test_robust_training_and_the_search_have_no_folds(capsys):
    for config_class in (config.AdversarialConfig, config.TuneConfig):
        with pytest.raises(SystemExit):
            config.parse(config_class, ["--folds", "3"])
