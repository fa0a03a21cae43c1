import dataclasses
import json

import pytest

import config
import runs


@pytest.fixture
def options(tmp_path):
    return config.BaselineConfig(run=str(tmp_path / "run"))


def test_a_new_or_empty_folder_is_free(options, tmp_path):
    assert not runs.claim(options).started
    (tmp_path / "run").mkdir()
    assert not runs.claim(options).started


def test_claiming_writes_nothing(options, tmp_path):
    runs.claim(options)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_only_replaced_when_asked(options, tmp_path):
    run = runs.claim(options)
    run.start(options)
    run.write("results.json", "{}")
    (run.path / "mine.txt").write_text("stays")
    with pytest.raises(runs.RunError, match=r"finished run.*--overwrite"):
        runs.claim(options)
    overwrite = dataclasses.replace(options, overwrite=True)
    runs.claim(overwrite).start(overwrite)
    assert not run.finished
    assert run.started
    assert (run.path / "mine.txt").read_text() == "stays"


def test_an_unfinished_run_asks_for_resume_or_overwrite(options):
    runs.claim(options).start(options)
    with pytest.raises(runs.RunError, match=r"unfinished run.*--resume.*--overwrite"):
        runs.claim(options)
    assert runs.claim(dataclasses.replace(options, resume=True)).started


def test_resuming_needs_the_same_options(options):
    runs.claim(options).start(options)
    changed = dataclasses.replace(options, resume=True, epochs=7)
    with pytest.raises(runs.RunError, match="epochs: 20 before, 7 now"):
        runs.claim(changed)


def test_resuming_nothing_starts(options):
    assert not runs.claim(dataclasses.replace(options, resume=True)).started


def test_a_folder_of_other_files_and_a_file_are_never_written_to(options, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(runs.RunError, match="other files"):
            runs.claim(dataclasses.replace(options, overwrite=overwrite))
    with pytest.raises(runs.RunError, match="Received a file"):
        runs.claim(dataclasses.replace(options, run=str(tmp_path / "run" / "thesis.tex")))


def test_a_folder_that_cannot_be_made_is_one_line(options, tmp_path):
    (tmp_path / "file").write_text("")
    impossible = dataclasses.replace(options, run=str(tmp_path / "file" / "run"))
    with pytest.raises(runs.RunError, match="folder"):
        runs.claim(impossible).start(impossible)


def test_replacing_keeps_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), runs.replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with runs.replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_an_unfinished_or_absent_run_is_no_baseline(options, tmp_path):
    with pytest.raises(runs.RunError, match="finished run"):
        runs.finished(tmp_path / "nowhere")
    run = runs.claim(options)
    run.start(options)
    with pytest.raises(runs.RunError, match=r"results\.json"):
        runs.finished(run.path)


def test_a_baseline_for_other_labels_or_sizes_is_refused(options, splits):
    run = runs.claim(options)
    run.start(options)
    summary = json.loads(json.dumps(splits.summary()))
    run.write("results.json", json.dumps({"data": summary}))
    runs.check_fits(run, splits)
    run.write("results.json", json.dumps({"data": {**summary, "image_shape": [64, 64, 1]}}))
    with pytest.raises(runs.RunError, match=r"image_shape.*\[8, 8, 1\].*\[64, 64, 1\]"):
        runs.check_fits(run, splits)


def test_weights_of_another_model_are_refused(options):
    run = runs.claim(options)
    run.start(options)
    run.write("results.json", json.dumps({"config": {"epochs": 20}}))
    runs.check_same_model(run, options)  # From before there was a choice: the default.
    run.write("results.json", json.dumps({"config": {"model": "vgg"}}))
    with pytest.raises(runs.RunError, match=r"--model cnn.*Received one with vgg"):
        runs.check_same_model(run, options)
    run.write("results.json", json.dumps({"config": {"model": "cnn", "attention": "se"}}))
    with pytest.raises(runs.RunError, match=r"--attention none.*Received one with se"):
        runs.check_same_model(run, options)


def test_results_never_hold_nan(options, splits):
    run = runs.claim(options)
    run.start(options)
    with pytest.raises(ValueError, match="JSON"):
        run.finish(options, splits, evaluations=[float("nan")])
    assert not run.finished


def test_json_of_another_form_is_one_line(options):
    run = runs.claim(options)
    run.start(options)
    for text in ("[]", "{}", "{broken"):
        run.write("results.json", text)
        with pytest.raises(runs.RunError, match=r"results\.json"):
            run.read("results.json", "data")


def test_overwrite_and_resume_exclude_each_other_and_long_names_are_refused(options):
    with pytest.raises(runs.RunError, match="both"):
        runs.claim(dataclasses.replace(options, overwrite=True, resume=True))
    with pytest.raises(runs.RunError, match=r"[Nn]ame too long"):
        runs.claim(dataclasses.replace(options, run="x" * 300))


def test_evaluations_go_with_the_model_they_were_of(options):
    run = runs.claim(options)
    run.start(options)
    (run.path / "evaluations").mkdir()
    overwrite = dataclasses.replace(options, overwrite=True)
    runs.claim(overwrite).start(overwrite)
    assert not (run.path / "evaluations").exists()
