"""`evaluate.py` as a user runs it, on a model trained in seconds, and what its rows promise."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_splits
from PIL import Image

import evaluate
from chestrobust import catalogue, config, losses, models, runs
from chestrobust.attacks import named
from chestrobust.errors import ExpectedError
from chestrobust.evaluation import audit, outcomes, sweep
from chestrobust.reporting import figures, graphs, tables, verdict
from chestrobust.tasks import Task

QUICK = ["--epsilons", "0", "4/255", "0.1", "--steps", "3", "--resamples", "20", "--data-dir", "cache"]


def write_npz(path, splits):
    arrays = {}
    for part, split in splits.parts.items():
        arrays |= {f"{part}_images": split.images[..., 0], f"{part}_labels": split.labels}
    np.savez(path, **arrays)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with `data.npz`, 14 labels at 28 px, and an untrained but working `model.keras`."""
    path = tmp_path_factory.mktemp("evaluate")
    splits = make_splits((20, 20, 40), size=28, num_labels=14)
    write_npz(path / "data.npz", splits)
    keras.utils.set_random_seed(0)
    classifier = models.build_cnn((28, 28, 1), 14)
    classifier.compile("adam", "binary_crossentropy")
    classifier.fit(splits.train.images / 255, splits.train.labels, epochs=3, verbose=0)
    classifier.save(path / "model.keras")
    return path


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def run(*arguments):
    """Run the script in this process; returns its exit code and what it wrote."""
    code = evaluate.main([*arguments, *QUICK])
    written = sorted(Path("evaluations").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    return code, json.loads(written[-1].read_text())


def test_any_keras_file_gets_rows_intervals_curves_and_an_audit(here, capsys):
    code, found = run("model.keras", "--data", "data.npz", "--name", "first")
    assert code == 0
    assert [entry["attack"] for entry in found["evaluations"]] == ["clean", *2 * ["fgsm", "pgd", "pgd-auc"]]
    for entry in found["evaluations"]:
        low, high = entry["intervals"]["macro_auc"]
        assert low <= entry["macro_auc"] <= high
        assert 0 <= entry["f1"]["macro"] <= 1
        assert 0 <= entry["brier"] <= 1
        assert np.sum(entry["confusion"]["mass"]) == 40
    clean, *_, worst = found["evaluations"]
    assert (clean["hidden"], clean["invented"]) == (0, 0)
    assert worst["hidden"] + worst["invented"] > 0
    assert [point["steps"] for point in found["steps_curve"]["points"]] == [1, 2, 5]
    names = [line["name"] for line in found["audit"]]
    assert len(set(names)) == len(names)
    rows = {line["name"]: line["status"] for line in found["audit"]}
    for name in ("rows fall with epsilon", "rows stay in the ball", "copies of training images"):
        assert rows[name] != "not run"
    assert (found["architecture"], found["parameters"]) == ("cnn", 111_662)
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-5:] == [
        tables.verdict(found["audit"]),
        "",
        f"Verdict: {verdict.sentence(found)}",
        f"Files:   {Path('evaluations', 'report.html')}",
        "Next:    python evaluate.py model.keras --data=data.npz --data-dir=cache --suite standard",
    ]
    assert lines[-5].startswith("Audit: ")
    assert not [line for line in lines if line.startswith(" passed")]
    assert 'name="generator" content="chestrobust' in (here / "evaluations" / "report.html").read_text()
    patients = json.loads((here / "evaluations" / "first" / "gallery.json").read_text())["patients"]
    assert patients and all(len(patient["attacked"]) == 1 for patient in patients)
    assert (here / "evaluations" / "first.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_floor_is_below_every_attack_and_the_joint_row_above_the_floor(here):
    _, found = run(
        "model.keras", "--data", "data.npz", "--suite", "standard", "--queries", "20", "--extra", "noise", "hide"
    )
    for epsilon in {entry["epsilon"] for entry in found["evaluations"]} - {0}:
        rows = {entry["attack"]: entry for entry in found["evaluations"] if entry["epsilon"] == epsilon}
        suite = {"apgd-bce", "apgd-margin", "apgd-auc", "apgd-pairs", "label-margin", "square", "joint"}
        assert {"fgsm", "pgd", "pgd-auc", "noise", "hide"} | suite <= set(rows)
        floor = rows.pop("floor")
        whole = [entry["macro_auc"] for name, entry in rows.items() if name != "label-margin"]
        assert floor["macro_auc"] <= rows["joint"]["macro_auc"] == min(whole)
        for name, entry in rows.items():
            for label, auc in entry["per_label_auc"].items():
                assert floor["per_label_auc"][label] <= auc + 1e-9, (name, label)
            assert entry.get("max_perturbation", 0) <= epsilon + 1e-6


def test_an_interrupted_evaluation_continues_attack_by_attack(here, monkeypatch):
    arguments = ("model.keras", "--data", "data.npz", "--name", "again")
    attack, asked = outcomes.run, []

    def interrupted(model, task, split, spec, **settings):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(spec)
        return attack(model, task, split, spec, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(*arguments)
    done = [spec for spec in asked if spec.attack != "clean"]
    monkeypatch.setattr(outcomes, "run", lambda *a, **k: (asked.append(a[3]), attack(*a, **k))[1])
    monkeypatch.setattr(sweep.Subject, "curve_over_steps", lambda *_: {"epsilon": 0.1, "images": 0, "points": []})
    monkeypatch.setattr(sweep.Subject, "audit", lambda *_: [])
    monkeypatch.setattr(sweep.graphs, "curves", lambda *_: figures.headed("", (1, 1)))
    _, found = run(*arguments)
    for spec in done:
        assert asked.count(spec) == 1
    assert len(found["evaluations"]) == 7


@pytest.mark.parametrize(
    ("status", "severity", "code"),
    [
        ("failed", "invalid", 1),
        pytest.param("failed", "weak model", 1, marks=pytest.mark.slow),
        ("passed", "note", 0),
    ],
)
def test_strict_turns_a_failed_audit_into_exit_code_1(here, monkeypatch, capsys, status, severity, code):
    monkeypatch.setattr(sweep.Subject, "audit", lambda *_: [audit.Line("planted", status, 0.5, "a text", severity)])
    assert run("model.keras", "--data", "data.npz", "--limit", "4", "--strict")[0] == code
    assert run("model.keras", "--data", "data.npz", "--limit", "4")[0] == 0
    printed = capsys.readouterr().out
    assert (f"failed  planted ({severity}): 0.5: a text" if code else "   note  planted: 0.5: a text") in printed
    assert f"Audit: {1 - code} passed, {code} failed, 0 not run" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--data", "data.npz"], "finished run"),
        (["nowhere.keras", "--data", "data.npz"], "Received nothing"),
        (["model.keras"], "--data"),
        (["model.keras", "--data", "data.npz", "--extra", "invent=headache"], "headache"),
        (["model.keras", "--data", "data.npz", "--transfer-from", "nowhere"], "nowhere"),
        (["data.keras", "--data", "data.npz"], "as Keras saves it"),
        (["model.keras", "--data", "other.npz"], "14 labels"),
    ],
)
def test_bad_input_is_an_expected_error(here, arguments, message):
    (here / "data.keras").write_bytes((here / "data.npz").read_bytes())
    if "other.npz" in arguments:
        model = models.build_cnn((28, 28, 1), 13)
        model.save("model13.keras")
        arguments = ["model13.keras", "--data", "data.npz"]
    with pytest.raises(ExpectedError, match=message):
        evaluate.main([*arguments, *QUICK])


def test_a_run_brings_its_own_data_limit_and_thresholds(here):
    options = config.BaselineConfig(data="data.npz", limit=25, data_dir="cache", run="run")
    started = runs.Run(Path("run"))
    started.start(options)
    (here / "run" / "model.keras").write_bytes((here / "model.keras").read_bytes())
    thresholds = dict.fromkeys(make_splits(num_labels=14).label_names, 0.3)
    started.write("results.json", json.dumps({"data": {}, "thresholds": thresholds, "evaluations": []}))
    evaluate.main(["run", *QUICK])
    found = json.loads((here / "run" / "evaluations" / "data-quick.json").read_text())
    assert found["config"]["limit"] == 25
    assert found["data"]["counts"]["test"] == 25
    assert found["thresholds"] == thresholds
    assert json.loads((here / "run" / "results.json").read_text())["thresholds"] == thresholds


@pytest.mark.parametrize("kind", ["ours", "dense", "layer", "linear", "sequential", "softmax"])
def test_logits_are_found_in_every_kind_of_saved_classifier(tmp_path, kind):
    layers = keras.layers
    activation = {"dense": "sigmoid", "sequential": "sigmoid", "softmax": "softmax"}.get(kind)
    body = [layers.Input((4, 4, 1)), layers.Flatten(), layers.Dense(3, activation=activation, name="answer")]
    if kind == "layer":
        body.append(layers.Activation("sigmoid"))
    classifier = models.build_cnn((4, 4, 1), 3) if kind == "ours" else keras.Sequential(body)
    if kind != "sequential" and kind != "ours":
        classifier = keras.Model(classifier.inputs[0], classifier.outputs[0])
    classifier.save(tmp_path / "model.keras")
    model, name = models.load_logits(tmp_path / "model.keras")
    assert name == {"linear": "linear", "softmax": "softmax"}.get(kind, "sigmoid")
    images = np.random.default_rng(0).random((5, 4, 4, 1), np.float32)
    logits, answers = model(images, training=False).numpy(), classifier(images, training=False).numpy()
    expected = {"linear": logits, "softmax": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)}
    np.testing.assert_allclose(answers, expected.get(kind, 1 / (1 + np.exp(-logits))), rtol=1e-5)


def test_a_lambda_layer_is_never_run(tmp_path):
    inputs = keras.Input((2, 2, 1))
    x = keras.layers.Lambda(lambda images: images * 2)(inputs)
    keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x))).save(tmp_path / "model.keras")
    with pytest.raises(ExpectedError, match=r"model\.keras"):
        models.load_logits(tmp_path / "model.keras")


def test_joint_takes_whole_images_and_the_floor_takes_labels_one_by_one():
    labels = np.uint8([[1, 0]])
    candidates = np.float32([[[1, 3]], [[-2, -2]], [[4, -9]]])
    # Of a single image no AUC is defined: what counts is the unweighted margin, 3 - 1 against -2 + 2 and -9 - 4.
    clean = np.float32([[0, 0]])
    np.testing.assert_array_equal(outcomes.joint(Task("multi-label"), labels, candidates, clean), [[1, 3]])
    np.testing.assert_array_equal(outcomes.floor(Task("multi-label"), labels, candidates), [[-2, 3]])


def test_the_floor_of_a_multi_class_model_is_one_class_against_the_rest():
    labels = np.uint8([[1, 0, 0]])
    candidates = np.log(np.float32([[[0.5, 0.3, 0.2]], [[0.6, 0.1, 0.3]]]))
    worst = 1 / (1 + np.exp(-outcomes.floor(Task("multi-class"), labels, candidates)))
    np.testing.assert_allclose(worst, [[0.5, 0.3, 0.3]], rtol=1e-5)


@pytest.mark.parametrize("task", [Task.MULTI_LABEL, Task.MULTI_CLASS])
@pytest.mark.parametrize("name", [name for name, row in catalogue.ATTACKS.items() if row.radius])
def test_every_attack_keeps_to_the_ball_and_harms_what_it_is_after(name, task):
    splits = make_splits((8, 8, 12), task=task)
    keras.utils.set_random_seed(0)
    model = models.logits(models.build_cnn((8, 8, 1), 3))
    attack = named.Attack(name, 0.1, 0.02, 10, 1, True, 0, 1)
    images, labels = splits.test.images / np.float32(255), splits.test.labels.astype(np.float32)
    if attack.row.aim:
        if not task.several:
            pytest.skip("the AUC of classes has no attack of its own")
        with pytest.raises(ValueError, match="aimed"):
            attack(model, images, labels, task=task, indices=np.arange(12))
        attack = attack.aimed(splits.test.labels, model(images).numpy())
    if catalogue.ATTACKS[name].wanted is not None:
        if not task.several:
            pytest.skip("one change for all images wants findings, not classes")
        with pytest.raises(ValueError, match="fitted"):
            attack(model, images, labels, task=task, indices=np.arange(12))
        attack = attack.fitted(model, splits.train.images)
    adversarial = attack(model, images, labels, task=task, indices=np.arange(12))
    assert np.abs(adversarial - images).max() <= 0.1 + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    before, after = model(images).numpy(), model(adversarial).numpy()
    if name == "invent":
        assert (after - before)[labels[:, 1] == 0, 1].min() > 0
    elif name == "hide" and not task.exclusive:
        assert losses.hide(labels, after).numpy().sum() > losses.hide(labels, before).numpy().sum()
    elif name == "label-margin":
        floor = outcomes.floor(task, labels, np.stack([before, after]))
        gain = losses.direction(labels, 1) * (floor - outcomes.floor(task, labels, before[None]))
        assert gain[:, 1].min() > 0
    elif isinstance(attack, named.Aimed):
        gain = attack.loss(attack.targets, after) - attack.loss(attack.targets, before)
        assert gain.numpy().sum() > 0
    elif name.startswith("universal"):
        assert (after > before).mean() > 0.5 if name.endswith("invent") else (after < before).mean() > 0.5
    elif name != "noise":
        assert task.loss(labels, after).numpy().sum() > task.loss(labels, before).numpy().sum()


def test_a_class_is_hidden_by_the_others_rising_and_not_by_all_falling():
    inputs = keras.layers.Input((2, 2, 1))
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(inputs)))
    common, apart = np.full((4, 3), 50.0), np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0], [0, 0, 0]])
    model.set_weights([common * [[1], [1], [1], [1]] + apart, np.zeros(3)])
    images = np.full((3, 2, 2, 1), 0.5, np.float32)
    images[[0, 1, 2], [0, 0, 1], [0, 1, 0]] += 0.1  # the pixel of its class
    labels = np.eye(3, dtype=np.float32)
    assert (model(images).numpy().argmax(axis=1) == [0, 1, 2]).all()
    attack = named.Attack("hide", 0.1, None, 20, 1, False, 0, precision="float32")
    attacked = attack(model, images, labels, task="multi-class", indices=np.arange(3))
    assert (model(attacked).numpy().argmax(axis=1) != [0, 1, 2]).all()


def test_thresholds_can_come_from_a_grid(here):
    _, found = run("model.keras", "--data", "data.npz", "--limit", "12", "--thresholds", "grid", "--name", "grid")
    assert set(found["thresholds"].values()) <= {0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5}


def test_no_name_leads_out_of_the_folder(here, capsys):
    for name in ("../results", "a/b", ".hidden"):
        with pytest.raises(SystemExit):
            evaluate.main(["model.keras", "--data", "data.npz", "--name", name])
        assert "without folders" in capsys.readouterr().err


def test_a_model_that_answers_in_another_way_than_the_task_is_refused(here):
    models.build_cnn((28, 28, 1), 14, activation="softmax").save("softmax.keras")
    with pytest.raises(ExpectedError, match=r"expected sigmoids.*softmax"):
        evaluate.main(["softmax.keras", "--data", "data.npz", *QUICK])


def test_a_model_without_finite_answers_is_refused(here):
    broken = models.build_cnn((28, 28, 1), 14)
    broken.get_layer("logits").bias.assign([np.nan] * 14)
    broken.save("broken.keras")
    with pytest.raises(ExpectedError, match="finite logits"):
        evaluate.main(["broken.keras", "--data", "data.npz", *QUICK])


@pytest.mark.slow
def test_extra_attacks_have_rows_of_their_own(here, capsys):
    extras = ["noise", "invent=mass", "invent=nodule", "ni-fgsm", "one-pixel"]
    arguments = ["model.keras", "--data", "data.npz", "--limit", "12", "--epsilons", "0", "1", "--extra", *extras]
    evaluate.main([*arguments, "--steps", "2", "--resamples", "20", "--data-dir", "cache", "--name", "extras"])
    found = json.loads((here / "evaluations" / "extras.json").read_text())
    assert [entry["attack"] for entry in found["evaluations"]] == ["clean", "fgsm", "pgd", "pgd-auc", *extras]
    noise = found["evaluations"][4]
    assert (noise["steps"], noise["restarts"]) == (None, None)
    assert "| NI-FGSM-2 " in capsys.readouterr().out
    rows = graphs.curves(found).axes[0].get_yticklabels()
    assert [text.get_text() for text in rows] == [
        "clean",
        "FGSM",
        "PGD",
        "PGD-AUC",
        "noise",
        "invent=mass",
        "invent=nodule",
        "NI-FGSM",
        "one-pixel",
    ]


@pytest.mark.slow
def test_a_file_sorted_by_its_labels_is_evaluated(here):
    splits = make_splits((20, 20, 300), size=28, task="binary", num_labels=1)
    order = np.argsort(splits.test.labels[:, 0], kind="stable")
    test = splits.test[order]
    write_npz(here / "pneumoniamnist.npz", type(splits)(**{**vars(splits), "test": test}))
    models.build_cnn((28, 28, 1), 1).save("binary.keras")
    run("binary.keras", "--data", "pneumoniamnist.npz", "--epsilons", "0.03")
    found = json.loads((here / "evaluations" / "binary-pneumoniamnist-quick.json").read_text())
    assert all(point["macro_auc"] is not None for point in found["steps_curve"]["points"])


def test_two_evaluations_of_one_run_at_a_time_are_refused(folder, tmp_path, monkeypatch):
    # A folder of its own, as this process keeps what it has locked.
    shutil.copy(folder / "model.keras", tmp_path)
    shutil.copy(folder / "data.npz", tmp_path)
    monkeypatch.chdir(tmp_path)
    code = (
        "import pathlib, sys; from chestrobust import runs; runs.lock(pathlib.Path('evaluations'))\n"
        "print(flush=True); sys.stdin.read()"
    )
    root = Path(runs.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code],
        **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": {**os.environ, "PYTHONPATH": str(root)}},
    ) as other:
        other.stdout.readline()
        with pytest.raises(ExpectedError, match="evaluations: expected no other process"):
            evaluate.main(["model.keras", "--data", "data.npz", *QUICK])


@pytest.mark.parametrize("subject", ["model.keras", "nowhere"])
def test_what_has_no_results_cannot_be_verified(here, subject):
    with pytest.raises(ExpectedError, match=r"finished run"):
        evaluate.main([subject, "--data", "data.npz", "--verify"])


def test_stored_images_have_scores_of_their_own_and_files_with_the_same_answers(here):
    arguments = ["model.keras", "--data", "data.npz", "--name", "stored", "--save-images", "3", *QUICK]
    evaluate.main([*arguments, "--epsilons", "0.25/255", "4/255"])
    found = json.loads((here / "evaluations" / "stored.json").read_text())
    clean, *attacked = found["evaluations"]
    assert "stored" not in clean
    for row in attacked:
        assert row["stored"]["levels"] == int(255 * row["epsilon"] + 0.1)
        if row["epsilon"] < 1 / 255:
            assert row["stored"]["macro_auc"] == clean["macro_auc"]
            assert row["stored"]["macro_sensitivity"] == clean["macro_sensitivity"]
    lines = {line["name"]: line["status"] for line in found["audit"]}
    assert lines["stored images stay in the ball"] == "passed"
    folder = here / "evaluations" / "stored-images"
    assert len(list(folder.glob("*.png"))) == 9
    images = np.load(folder / "images.npz")
    with (folder / "findings.csv").open(newline="") as file:
        findings = list(csv.DictReader(file))
    model = models.load_logits(Path("model.keras"))[0]
    thresholds = np.array(list(found["thresholds"].values()))
    for number, row in enumerate(findings):
        for kind, key in (("clean", "before"), ("attacked", "after")):
            pixels = np.asarray(Image.open(folder / f"{number:05d}-{kind}.png"))[..., None]
            np.testing.assert_array_equal(pixels, images[kind][number])
            probabilities = 1 / (1 + np.exp(-outcomes.answers(model, pixels[None] / np.float32(255))[0]))
            np.testing.assert_allclose(
                [float(row[f"{name} {key}"]) for name in found["thresholds"]], probabilities, atol=2e-6
            )
            names = np.array(list(found["thresholds"]))[probabilities >= thresholds]
            assert row[key] == "; ".join(names)
    # The radius in the middle of two is the smaller.
    np.testing.assert_array_equal(images["attacked"], images["clean"])
    assert (images["perturbation"] == 0).all()


def test_what_no_attack_changed_is_gray_in_the_picture_of_a_perturbation(here):
    arguments = ["model.keras", "--data", "data.npz", "--name", "saved", "--save-images", "all", *QUICK]
    evaluate.main([*arguments, "--epsilons", "2/255"])
    images = np.load(here / "evaluations" / "saved-images" / "images.npz")
    change = images["attacked"].astype(int) - images["clean"]
    assert (len(change), np.abs(change).max()) == (40, 2)
    np.testing.assert_array_equal(images["perturbation"], change)
    picture = np.asarray(Image.open(here / "evaluations" / "saved-images" / "00000-perturbation.png"))
    np.testing.assert_array_equal(picture, 128 + change[0, ..., 0] * 127 // 2)


def test_a_wrong_number_of_images_to_save_is_refused(here, capsys):
    for count in ("0", "-1", "some"):
        with pytest.raises(SystemExit):
            evaluate.main(["model.keras", "--data", "data.npz", "--save-images", count])
        assert "a whole number" in capsys.readouterr().err
