"""Both scripts as a user runs them: on small made-up data, and on real samples where they are at hand."""

import contextlib
import csv
import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_splits
from matplotlib import image

import diagnosis
import diagnosis_adv
import evaluate
from chestrobust.errors import DataError, RunError
from chestrobust.reporting import verdict
from chestrobust.runs import provenance

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["--epochs", "2", "--batch-size", "16", "--steps", "3"]


def script(name, *arguments, cwd):
    """Run a script; returns the finished process."""
    return subprocess.run(
        [sys.executable, str(ROOT / name), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with `data.npz`: 14 labels that can be seen, the last one never positive in val and test."""
    path = tmp_path_factory.mktemp("scripts")
    splits = make_splits((48, 24, 24), size=28, num_labels=14)
    arrays = {}
    for part, split in splits.parts.items():
        labels = split.labels.copy()
        labels[:, 13] = 0 if part != "train" else labels[:, 13]
        arrays |= {f"{part}_images": split.images[..., 0], f"{part}_labels": labels}
    np.savez(path / "data.npz", **arrays)
    return path


@pytest.fixture(scope="module")
def both(folder):
    """Both scripts run once; returns the finished processes."""
    common = ["--data", "data.npz", "--data-dir", "cache", *QUICK]
    baseline = script("diagnosis.py", *common, "--run", "base", cwd=folder)
    assert baseline.returncode == 0, baseline.stderr
    robust = script(
        "diagnosis_adv.py", *common, "--baseline", "base", "--run", "robust", "--train-steps", 2, cwd=folder
    )
    assert robust.returncode == 0, robust.stderr
    return baseline, robust


def results(path):
    return json.loads((path / "results.json").read_text())


def tables_in(text):
    """The cells of each table of a script's output, without its header."""
    found, inside = [], False
    for line in text.splitlines():
        if line.startswith("|"):
            if not inside:
                found.append([])
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        inside = line.startswith("|")
    return [rows[2:] for rows in found]


def test_the_last_line_of_robust_training_names_the_better_recipe(both):
    assert both[1].stdout.splitlines()[-1].startswith("Harder to fool: --recipe best")
    assert "--recipe" not in both[0].stdout


def test_training_ends_in_the_epoch_whose_weights_are_kept(both, folder):
    for process, name in zip(both, ("base", "robust"), strict=True):
        summary = results(folder / name)["training"]
        under = f" under {summary['selected_on']}" if name == "robust" else ""
        score = f"best validation macro AUC {summary['best_val_auc']:.3f}{under}"
        assert f"\nKept the weights of epoch {summary['best_epoch']} of 2 ({score})\n" in process.stdout


def test_results_hold_everything_a_reviewer_asks_for(both, folder):
    found = results(folder / "base")
    assert found["schema"] == 1
    assert found["data"]["name"] == "data"
    assert found["data"]["counts"] == {"train": 48, "val": 24, "test": 24}
    assert found["data"]["synthetic"] is False
    assert len(found["data"]["sha256"]) == 64
    assert found["config"]["epochs"] == 2
    assert {"python", "tensorflow", "keras", "numpy", "scikit-learn"} <= set(found["versions"])
    assert {"seconds", "checkpoint_seconds", "epochs", "images_per_second", "precision"} <= set(found["training"])
    # Whoever edits while the tests run makes the tree dirty in between.
    assert str(found["commit"]).split("-")[0] == str(provenance.commit()).split("-")[0]
    assert {"machine", "cores", "gpus"} <= set(found["hardware"])
    assert found["config"]["seed"] == 0
    assert [entry["attack"] for entry in found["evaluations"]] == ["clean", "fgsm", "pgd", "pgd-auc"]
    for entry in found["evaluations"]:
        assert entry["images"] == 24
        assert entry["undefined_labels"] == ["hernia"]
        assert entry["per_label_auc"]["hernia"] is None
        defined = [value for value in entry["per_label_auc"].values() if value is not None]
        assert entry["macro_auc"] == pytest.approx(np.mean(defined))
        assert entry["max_perturbation"] <= entry["epsilon"] + 1e-6
        assert (entry["max_perturbation"] > 0) == (entry["attack"] != "clean")
    pgd = found["evaluations"][2]
    assert (pgd["epsilon"], pgd["step_size"], pgd["steps"], pgd["restarts"], pgd["random_start"], pgd["seed"]) == (
        *(0.05, 0.01, 3, 1),
        *(True, 0),
    )


def test_both_models_stand_in_one_table_under_the_same_attacks(both, folder):
    robust, baseline = results(folder / "robust"), results(folder / "base")
    assert robust["baseline"]["run"] == "base"
    # Attacked again by the same attacks with the same seeds, so the same numbers.
    assert robust["baseline"]["evaluations"] == baseline["evaluations"]
    parameters = ("attack", "epsilon", "step_size", "steps", "restarts", "random_start", "seed", "images")
    for ours, theirs in zip(robust["evaluations"], robust["baseline"]["evaluations"], strict=True):
        assert [ours[key] for key in parameters] == [theirs[key] for key in parameters]
    scores, differences, others = tables_in(both[1].stdout)
    assert [row[:2] for row in scores] == [
        [name, model] for name in ("clean", "FGSM", "PGD-3", "PGD-AUC-3") for model in ("baseline", "robust")
    ]
    assert "Attacked at epsilon 0.05.\nPGD-3, PGD-AUC-3: step size 0.01, random start." in both[1].stdout
    number = lambda cell: float(cell.split()[0])  # noqa: E731
    for place, key in enumerate(("macro_auc", "macro_sensitivity", "macro_specificity")):
        before, after = (number(row[2 + place]) for row in scores[4:6])
        assert before == pytest.approx(robust["baseline"]["evaluations"][2][key], abs=6e-4)
        assert after == pytest.approx(robust["evaluations"][2][key], abs=6e-4)
        assert number(differences[2][1 + place]) == pytest.approx(after - before, abs=2e-3)
        low, difference, high = (
            robust["baseline"]["differences"][2][key][end] for end in ("low", "difference", "high")
        )
        assert low <= difference <= high
    assert number(others[2][1]) == pytest.approx(robust["baseline"]["evaluations"][2]["macro_ap"], abs=6e-4)
    assert all(len(line) <= 100 for line in both[1].stdout.splitlines() if line.startswith("|"))
    assert "hernia" in both[1].stdout


def test_the_run_folder_is_complete_and_the_model_loads(both, folder):
    for name in ("base", "robust"):
        assert {path.name for path in (folder / name).iterdir()} == {
            *(".lock", "config.json", "origin.json", "history.csv", "model.keras", "last.keras", "results.json"),
            *("chestxray.png", "chestxray.svg", "gallery.json", "report.html", "logs"),
            *("model_card.md", "eval_results.yaml"),
        }
        classifier = keras.models.load_model(folder / name / "model.keras")
        assert classifier.output_shape == (None, 14)
        picture = image.imread(folder / name / "chestxray.png")
        assert picture.shape[0] > 500
        assert picture[..., :3].std() > 0.1
        with (folder / name / "history.csv").open() as file:
            assert len(list(csv.DictReader(file))) == 2


def test_each_run_has_its_page_and_ends_in_a_verdict(both, folder):
    for name, done in zip(("base", "robust"), both, strict=True):
        found, page = results(folder / name), (folder / name / "report.html").read_text()
        lines = {line.partition(":")[0]: line.partition(":")[2].strip() for line in done.stdout.splitlines()}
        assert lines["Verdict"] == verdict.sentence(found)
        assert lines["Files"] == f"{name}/report.html, {name}/chestxray.png"
        assert html.escape(lines["Verdict"]) in page
        shown = json.loads((folder / name / "gallery.json").read_text())
        assert [model["name"] for model in shown["models"]] == (["base"] if name == "base" else ["baseline", "robust"])
        assert json.dumps(shown["patients"][0]["clean"]) in page
    assert "python diagnosis_adv.py --params base/config.json --baseline base\n" in both[0].stdout
    assert "python evaluate.py robust --suite standard\n" in both[1].stdout


@pytest.mark.slow
def test_what_is_published_of_a_run_names_no_place_and_no_machine(folder):
    run, data = folder / "place" / "run", ["--data", folder / "data.npz", "--data-dir", folder / "cache"]
    diagnosis.main([*map(str, data), "--epochs", "1", "--steps", "1", "--run", str(run)])
    evaluate.main([str(run), *map(str, data), "--epsilons", "0.03", "--steps", "1", "--resamples", "10"])
    public = [path for path in run.rglob("*") if path.is_file() and path.name != "config.json"]
    assert {"results.json", "report.html", "model_card.md", "chestxray.png"} <= {path.name for path in public}
    assert [path for path in public if "evaluations" in path.parts and path.suffix == ".json"]
    assert [path for path in public if str(folder).encode() in path.read_bytes()] == []
    logs = [path.name for path in public if "logs" in path.parts]
    assert logs and all(re.fullmatch(r"events\.out\.tfevents\.[\d.]+\.v2", name) for name in logs)


def test_a_good_run_writes_no_tensorflow_chatter(both):
    for done in both:
        assert "Warning" not in done.stderr
        assert "oneDNN" not in done.stderr
        assert "cuda" not in done.stderr.lower()


def test_bars_and_what_is_under_way_are_for_terminals_alone(both):
    for done in both:
        assert "\r" not in done.stdout + done.stderr
        assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["diagnosis.py", "--run", "NEW"],
        ["diagnosis_adv.py", "--run", "NEW", "--baseline", "base"],
        ["evaluate.py", "base"],
        ["explain.py", "base"],
        ["ensemble.py", "base", "robust", "--run", "NEW"],
        ["tune.py", "--run", "NEW"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_something_is_on_the_screen_before_tensorflow_is_loaded(both, folder, tmp_path, arguments):
    pty = pytest.importorskip("pty")
    # In the place of TensorFlow, of which Keras is the first to be imported.
    (tmp_path / "keras.py").write_text("raise SystemExit('TensorFlow would be loaded now')\n")
    screen, terminal = pty.openpty()
    given = [str(tmp_path / "new") if one == "NEW" else one for one in arguments[1:]]
    given = [str(ROOT / arguments[0]), *given, "--data", "data.npz", "--data-dir", "cache"]
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, *given], cwd=folder, stdout=terminal, stderr=terminal, env=os.environ | {"PYTHONPATH": paths}
    )
    os.close(terminal)
    shown = b""
    # Linux says that nobody writes any more by an error.
    with contextlib.suppress(OSError):
        while part := os.read(screen, 4096):
            shown += part
    os.close(screen)
    assert process.wait() == 1
    lines = shown.decode().splitlines()
    assert lines[0] == "Loading data.npz"
    assert lines[-2:] == ["Starting TensorFlow", "TensorFlow would be loaded now"]


def test_a_finished_run_is_refused_and_resuming_it_prints_its_table(both, folder):
    common = ["--data", "data.npz", "--data-dir", "cache", *QUICK, "--run", "base"]
    refused = script("diagnosis.py", *common, cwd=folder)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--overwrite" in refused.stderr
    again = script("diagnosis.py", *common, "--resume", cwd=folder)
    assert again.returncode == 0
    assert [line for line in again.stdout.splitlines() if line.startswith("|")] == [
        line for line in both[0].stdout.splitlines() if line.startswith("|")
    ]


@pytest.mark.slow
def test_the_numbers_of_a_run_can_be_verified(both, folder):
    done = script("evaluate.py", "robust", "--verify", cwd=folder)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["holds"] * 10 + ["10"]
    assert "largest difference 0" in lines[2]
    assert lines[4].split()[1] == "thresholds:"
    assert lines[5].split()[1] == "baseline,"
    tampered = folder / "tampered"
    shutil.copytree(folder / "robust", tampered)
    found = results(tampered)
    found["evaluations"][1]["per_label_auc"]["mass"] += 0.01
    found["thresholds"]["mass"] += 0.01
    found["baseline"]["evaluations"][0]["macro_auc"] += 0.01
    (tampered / "results.json").write_text(json.dumps(found))
    done = script("evaluate.py", "tampered", "--verify", cwd=folder)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    differ = [number for number, line in enumerate(lines) if "DIFFERS" in line]
    assert (differ, done.stdout.splitlines()[-1][:6]) == ([1, 4, 5], "7 of 1")
    assert "per_label_auc.mass" in done.stdout
    assert not (tampered / "evaluations").exists()
    found["baseline"]["sha256"] = "0" * 64
    (tampered / "results.json").write_text(json.dumps(found))
    done = script("evaluate.py", "tampered", "--verify", cwd=folder)
    assert "not checked: the baseline, as " in done.stdout
    assert "is no longer the run's baseline" in done.stdout


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("evaluations", value) for value in ([], [1], [{"attack": "clean"}], {})),
        *(("config", value) for value in ({}, None)),
        ("thresholds", []),
        ("data", []),
    ],
)
def test_results_that_are_none_are_not_verified(both, folder, tmp_path, monkeypatch, key, value):
    shutil.copytree(folder / "base", tmp_path / "base")
    (tmp_path / "base" / "results.json").write_text(json.dumps({**results(folder / "base"), key: value}))
    monkeypatch.chdir(folder)
    with pytest.raises(RunError, match=r"results\.json: .*expected"):
        evaluate.main([str(tmp_path / "base"), "--verify"])


def test_a_run_is_not_continued_with_other_data_or_models(both, folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "robust", tmp_path / "robust")
    (tmp_path / "robust" / "results.json").unlink()
    origin = json.loads((tmp_path / "robust" / "origin.json").read_text())
    assert origin["baseline"] == provenance.sha256(folder / "base" / "model.keras")
    options = ["--data", "data.npz", "--data-dir", "cache", *QUICK, "--baseline", "base", "--train-steps", "2"]
    monkeypatch.chdir(folder)
    for name in ("data", "baseline"):
        (tmp_path / "robust" / "origin.json").write_text(json.dumps({**origin, name: "0"}))
        with pytest.raises(RunError, match=f"Received another {name}. Put it back"):
            diagnosis_adv.main([*options, "--run", str(tmp_path / "robust"), "--resume"])


@pytest.mark.parametrize(
    ("arguments", "part"),
    [(["--limit", "20"], "counts of the data"), (["--data", "other.npz"], "sha256 of the data")],
)
def test_other_data_are_not_verified(both, folder, arguments, part):
    with np.load(folder / "data.npz") as archive:
        np.savez(folder / "other.npz", **{**archive, "test_images": 255 - archive["test_images"]})
    done = script("evaluate.py", "base", "--verify", "--data-dir", "cache", *arguments, cwd=folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert part in done.stderr


def test_debug_shows_where_an_expected_error_arose(folder):
    arguments = ["--run", "new", "--data", "missing.npz", "--data-dir", "cache"]
    for name in ("diagnosis.py", "diagnosis_adv.py"):
        done = script(name, *arguments, "--debug", cwd=folder)
        assert done.returncode == 2
        assert done.stderr.startswith("Traceback")
        assert done.stderr.splitlines()[-1].startswith(f"{name}: error: ")
    done = script("evaluate.py", "nowhere", "--debug", cwd=folder)
    assert (done.returncode, done.stderr.startswith("Traceback")) == (2, True)


@pytest.mark.slow
def test_without_a_baseline_one_is_trained_and_fine_tuning_starts_from_a_run(both, folder):
    common = ["--data", "data.npz", "--data-dir", "cache", *QUICK, "--train-steps", 2]
    done = script("diagnosis_adv.py", *common, "--run", "own", "--init-from", "base", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert results(folder / "own")["baseline"]["run"] == "own/baseline"
    ours = results(folder / "own" / "baseline")["evaluations"]
    assert ours == results(folder / "base")["evaluations"]
    with (folder / "own" / "history.csv").open() as tuned, (folder / "robust" / "history.csv").open() as scratch:
        first = [float(next(csv.DictReader(file))["val_loss"]) for file in (tuned, scratch)]
    assert first[0] != first[1]


@pytest.mark.slow
def test_a_static_set_fine_tunes_the_baseline_and_leaves_nothing_behind(both, folder):
    common = ["--data", "data.npz", "--data-dir", "cache", *QUICK, "--baseline", "base"]
    done = script("diagnosis_adv.py", *common, "--method", "static", "--run", "static", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Warning: --method static" in done.stdout
    assert not (folder / "static" / "adversarial.npy").exists()
    assert results(folder / "static")["config"]["method"] == "static"
    with (folder / "static" / "history.csv").open() as tuned, (folder / "base" / "history.csv").open() as scratch:
        after, before = (float(next(csv.DictReader(file))["loss"]) for file in (tuned, scratch))
    assert after < before  # It starts where the baseline ended.


def test_results_name_the_model_and_weights_of_another_are_refused(both, folder):
    model = results(folder / "robust")["model"]
    assert model == {"name": "cnn", "attention": "none", "parameters": 111_662}
    common = ["--data", "data.npz", "--data-dir", "cache", "--model", "vgg", "--run", "new", "--init-from", "base"]
    done = script("diagnosis_adv.py", *common, cwd=folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--model vgg" in done.stderr
    assert not (folder / "new").exists()


@pytest.mark.slow
def test_weights_that_cannot_be_had_leave_nothing_behind(folder):
    (folder / "broken.weights.h5").write_text("broken")
    common = ["--data", "data.npz", "--data-dir", "cache", "--model", "mobilenet_v2", "--run", "new"]
    done = script("diagnosis.py", *common, "--weights", "broken.weights.h5", cwd=folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "broken.weights.h5: expected weights as Keras saves them" in done.stderr
    assert not (folder / "new").exists()


@pytest.mark.slow
def test_a_fitting_run_in_the_default_folder_is_taken_as_the_baseline(both, folder):
    (folder / "runs").mkdir()
    (folder / "runs" / "baseline").symlink_to(folder / "base")
    common = ["--data", "data.npz", "--data-dir", "cache", *QUICK, "--train-steps", 1, "--epochs", 1]
    done = script("diagnosis_adv.py", *common, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert results(folder / "runs" / "robust")["baseline"]["run"] == "runs/baseline"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--data", "missing.npz"], ["missing.npz", "expected"]),
        (["--data", "data.npz", "--size", "64"], ["data.npz", "train_images", "64", "28"]),
        (["--data", "data.npz", "--epsilon", "8"], ["--epsilon", "8/255"]),
        (["--data", "data.npz", "--baseline", "nowhere"], ["nowhere", "finished run"]),
        (["--data", "data.npz", "--init-from", "nowhere"], ["nowhere", "finished run"]),
        (["--data", "data.npz", "--limit", "1"], ["--limit"]),
        (["--data", "phantom", "--limit", "1"], ["--limit"]),
        (["--data", "data.npz", "--run", "data.npz"], ["data.npz", "a file"]),
    ],
)
def test_bad_input_is_one_line_code_2_and_nothing_is_written(folder, arguments, parts):
    before = sorted(folder.rglob("*"))
    done = script("diagnosis_adv.py", "--run", "NEW", "--data-dir", "cache", *arguments, cwd=folder)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    for part in parts:
        assert part in done.stderr
    after = [path for path in sorted(folder.rglob("*")) if "cache" not in path.parts]
    assert after == [path for path in before if "cache" not in path.parts]


def test_overwriting_a_run_that_is_needed_is_refused(both, folder):
    for option in ("--init-from", "--baseline"):
        done = script(
            "diagnosis_adv.py", "--data", "data.npz", "--run", "base", "--overwrite", option, "base", cwd=folder
        )
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "would remove" in done.stderr
    assert (folder / "base" / "model.keras").exists()


@pytest.mark.slow
@pytest.mark.parametrize("size", [28, 128, 224])
def test_real_nih_images_run_end_to_end_in_both_scripts(samples, tmp_path, size):
    data = samples / "nih_mini" / f"chestmnist_{size}.npz"
    common = ["--data", data, "--data-dir", "cache", "--epochs", 1, "--steps", 2, "--limit", 128]
    assert script("diagnosis.py", *common, cwd=tmp_path).returncode == 0
    done = script("diagnosis_adv.py", *common, "--train-steps", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for run in ("baseline", "robust"):
        for entry in results(tmp_path / "runs" / run)["evaluations"]:
            assert entry["macro_auc"] is not None
            if size > 28:
                assert "hernia" in entry["undefined_labels"]
                assert entry["per_label_auc"]["hernia"] is None


@pytest.mark.slow
def test_on_real_pneumonia_images_the_baseline_collapses_and_the_robust_model_holds(samples, tmp_path):
    data = ["--data", samples / "pneumoniamnist.npz", "--data-dir", "cache"]
    attack = ["--epsilon", "0.03", "--step-size", "0.005", "--steps", "10"]
    assert script("diagnosis.py", *data, *attack, "--run", "pneu", cwd=tmp_path).returncode == 0
    done = script("diagnosis_adv.py", *data, *attack, "--baseline", "pneu", "--run", "adv", "--epochs", 8, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    baseline, robust = (
        [entry["macro_auc"] for entry in results(tmp_path / run)["evaluations"]] for run in ("pneu", "adv")
    )
    assert baseline[0] >= 0.95
    assert baseline[2] <= 0.05
    assert robust[0] >= 0.92
    assert robust[2] >= 0.70


@pytest.mark.slow
def test_memory_grows_by_the_uint8_bytes_alone(tmp_path):
    rng = np.random.default_rng(0)
    peaks = {}
    for count in (100, 1000):
        arrays = {}
        for part in ("train", "val", "test"):
            arrays[f"{part}_images"] = rng.integers(
                0, 256, (count if part == "train" else 100, 224, 224), dtype=np.uint8
            )
            arrays[f"{part}_labels"] = rng.integers(0, 2, (len(arrays[f"{part}_images"]), 14), dtype=np.uint8)
        np.savez(tmp_path / "data.npz", **arrays)
        arguments = [
            "--data",
            "data.npz",
            "--data-dir",
            "cache",
            "--epochs",
            "1",
            "--steps",
            "1",
            "--run",
            f"run{count}",
        ]
        code = (
            "import resource, runpy, sys\n"
            f"sys.argv = {['diagnosis.py', *arguments]}\n"
            f"try: runpy.run_path({str(ROOT / 'diagnosis.py')!r}, run_name='__main__')\n"
            "except SystemExit as stop: assert not stop.code\n"
            "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        peaks[count] = int(done.stdout.split()[-1]) * 1024
    added = 900 * 224 * 224
    assert peaks[1000] - peaks[100] <= added + 150e6, peaks


@pytest.mark.parametrize("main", [diagnosis.main, diagnosis_adv.main])
def test_a_mistyped_data_set_is_told_before_a_run_that_is_there(main, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "results.json").write_text("{}")
    with pytest.raises(DataError, match="Did you mean phantom"):
        main(["--data", "phantm", "--run", str(tmp_path / "run")])
