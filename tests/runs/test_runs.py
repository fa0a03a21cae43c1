import dataclasses
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import diagnosis
from chestrobust import config, files, runs
from chestrobust.errors import RunError
from chestrobust.runs import provenance

ROOT = Path(__file__).resolve().parents[2]


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
    (run.path / "evaluations").mkdir()
    (run.path / "mine.txt").write_text("stays")
    with pytest.raises(RunError, match=r"finished run.*--overwrite"):
        runs.claim(options)
    overwrite = dataclasses.replace(options, overwrite=True)
    runs.claim(overwrite).start(overwrite)
    assert not run.finished
    assert run.started
    assert (run.path / "mine.txt").read_text() == "stays"


def test_an_unfinished_run_asks_for_resume_or_overwrite(options):
    runs.claim(options).start(options)
    with pytest.raises(RunError, match=r"unfinished run.*--resume.*--overwrite"):
        runs.claim(options)
    assert runs.claim(dataclasses.replace(options, resume=True)).started


def test_resuming_needs_the_same_options(options):
    runs.claim(options).start(options)
    changed = dataclasses.replace(options, resume=True, epochs=7)
    with pytest.raises(RunError, match="epochs: 20 before, 7 now"):
        runs.claim(changed)


def test_resuming_nothing_starts(options):
    assert not runs.claim(dataclasses.replace(options, resume=True)).started


def test_a_folder_of_other_files_and_a_file_are_never_written_to(options, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(RunError, match="other files"):
            runs.claim(dataclasses.replace(options, overwrite=overwrite))
    with pytest.raises(RunError, match="Received a file"):
        runs.claim(dataclasses.replace(options, run=str(tmp_path / "run" / "thesis.tex")))


def test_a_folder_that_cannot_be_made_is_one_line(options, tmp_path):
    (tmp_path / "file").write_text("")
    impossible = dataclasses.replace(options, run=str(tmp_path / "file" / "run"))
    with pytest.raises(RunError, match="folder"):
        runs.claim(impossible).start(impossible)


def test_replacing_keeps_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with files.replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_an_unfinished_or_absent_run_is_no_baseline(options, tmp_path):
    with pytest.raises(RunError, match="finished run"):
        runs.finished(tmp_path / "nowhere")
    run = runs.claim(options)
    run.start(options)
    with pytest.raises(RunError, match=r"results\.json"):
        runs.finished(run.path)


def test_a_baseline_for_other_labels_or_sizes_is_refused(options, splits):
    run = runs.claim(options)
    run.start(options)
    summary = json.loads(json.dumps(splits.summary()))
    run.write("results.json", json.dumps({"data": summary}))
    runs.check_fits(run, splits)
    run.write("results.json", json.dumps({"data": {**summary, "image_shape": [64, 64, 1]}}))
    with pytest.raises(RunError, match=r"image_shape.*\[8, 8, 1\].*\[64, 64, 1\]"):
        runs.check_fits(run, splits)


def test_weights_of_another_model_are_refused(options):
    run = runs.claim(options)
    run.start(options)
    run.write("results.json", json.dumps({"config": {"epochs": 20}}))
    runs.check_same_model(run, config.picked(options, config.MODEL))  # From before there was a choice: the default.
    run.write("results.json", json.dumps({"config": {"model": "vgg"}}))
    with pytest.raises(RunError, match=r"--model cnn.*Received one with vgg"):
        runs.check_same_model(run, config.picked(options, config.MODEL))
    run.write("results.json", json.dumps({"config": {"model": "cnn", "attention": "se"}}))
    with pytest.raises(RunError, match=r"--attention none.*Received one with se"):
        runs.check_same_model(run, config.picked(options, config.MODEL))


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
        with pytest.raises(RunError, match=r"results\.json"):
            run.read("results.json", "data")


def test_options_that_are_lists_are_the_same_when_they_are_read_again(tmp_path):
    options = config.AdversarialConfig(run=str(tmp_path / "run"), input_range=("0", "255"), resume=True)
    runs.claim(options).start(options)
    assert runs.claim(options).started
    with pytest.raises(RunError, match="input_range"):
        runs.claim(dataclasses.replace(options, input_range=("-1", "1")))


@pytest.mark.parametrize(
    "content",
    [{"thresholds": {"nodule": "x"}}, {"thresholds": 5}, {"data": []}, {"evaluations": {}}, {"baseline": "elsewhere"}],
)
def test_results_of_other_types_are_one_line(options, content):
    run = runs.claim(options)
    run.start(options)
    run.write("results.json", json.dumps({"data": {}} | content))
    with pytest.raises(RunError, match=f"results.json: expected .*{next(iter(content))}"):
        run.read("results.json", "data")


def test_a_finished_run_of_strangers_that_cannot_be_shown_is_one_line(options):
    run = runs.claim(options)
    run.start(options)
    run.write("results.json", json.dumps({"data": {}, "training": {}, "evaluations": [{}]}))
    with pytest.raises(RunError, match=r"results\.json: expected results as a run writes them. .*KeyError"):
        diagnosis.main(["--run", str(run.path), "--resume"])


def test_overwrite_and_resume_exclude_each_other_and_long_names_are_refused(options):
    with pytest.raises(RunError, match="both"):
        runs.claim(dataclasses.replace(options, overwrite=True, resume=True))
    with pytest.raises(RunError, match=r"[Nn]ame too long"):
        runs.claim(dataclasses.replace(options, run="x" * 300))


def test_evaluations_go_with_the_model_they_were_of(options):
    run = runs.claim(options)
    run.start(options)
    (run.path / "evaluations").mkdir()
    overwrite = dataclasses.replace(options, overwrite=True)
    runs.claim(overwrite).start(overwrite)
    assert not (run.path / "evaluations").exists()


def other_process(code, *arguments):
    """A process that runs code with `runs` at hand, prints `ready` and waits for its end."""
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import pathlib, sys\nfrom chestrobust import runs\n{code}\nprint('ready', flush=True)\nsys.stdin.read()",
        ]
        + [str(argument) for argument in arguments],
        **{"cwd": ROOT, "text": True, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE},
    )


@pytest.fixture
def locker():
    """A function that has another process lock a folder; returns the process once it has."""
    processes = []

    def lock(folder):
        processes.append(other_process("runs.lock(pathlib.Path(sys.argv[1]))", folder))
        assert processes[-1].stdout.readline() == "ready\n"
        return processes[-1]

    yield lock
    for process in processes:
        process.kill()
        process.communicate()


def test_a_second_writer_is_refused_until_the_first_is_dead(options, locker):
    first = locker(Path(options.run))
    for changes in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(RunError, match="other process that writes"):
            runs.claim(dataclasses.replace(options, **changes)).start(options)
    first.kill()
    first.wait()
    runs.claim(options).start(options)
    with pytest.raises(RunError, match="unfinished"):
        runs.claim(options)
    # The process that has the lock may take it again.
    runs.claim(dataclasses.replace(options, resume=True)).start(dataclasses.replace(options, resume=True))


def test_a_locked_run_is_refused_before_anything_else(options, locker):
    path = Path(options.run)
    path.mkdir()
    (path / "config.json").write_text(config.to_json(options))
    locker(path)
    for changes in ({"resume": True}, {"overwrite": True}, {}):
        with pytest.raises(RunError, match="other process that writes"):
            runs.claim(dataclasses.replace(options, **changes))


@pytest.mark.parametrize("part", ["evaluations", "explanations", "explanations/nih", "baseline"])
def test_a_run_is_not_removed_under_a_process_that_writes_a_part_of_it(options, locker, part):
    run = runs.claim(options)
    run.start(options)
    run.write("results.json", "{}")
    locker(run.path / part)
    overwrite = dataclasses.replace(options, overwrite=True)
    with pytest.raises(RunError, match=f"{part}: expected no other process"):
        runs.claim(overwrite).start(overwrite)
    assert run.finished


def finished_run(options):
    """A finished run, with more in it than results."""
    run = runs.claim(options)
    run.start(options)
    run.write("results.json", "{}")
    (run.path / "model.keras").write_text("weights")
    (run.path / "logs" / "train").mkdir(parents=True)
    return run


@pytest.mark.parametrize(
    "name", ["evaluations", "explanations", "logs", "logs/train", "baseline", "model.keras", ".lock", "config.json"]
)
def test_a_link_in_a_run_is_refused_before_anything_is_removed(options, tmp_path, name):
    run = finished_run(options)
    (tmp_path / "home").mkdir()
    precious = tmp_path / "home" / ".thesis.partial.tex"
    precious.write_text("mine")
    files.remove(run.path / name)
    (run.path / name).symlink_to(precious.parent if "." not in name else precious)
    if name == "config.json":
        precious.write_text(config.to_json(options))
    before = sorted(path.name for path in run.path.rglob("*")), precious.read_text()
    with pytest.raises(RunError, match=rf"{name}: expected a part of the run itself. Received a link"):
        runs.claim(dataclasses.replace(options, overwrite=True))
    if name in ("evaluations", "explanations"):
        with pytest.raises(RunError, match="Received: a link"):
            runs.lock(run.path / name / "deeper", inside=run.path)
        with pytest.raises(RunError, match="Received a link"):
            runs.clear(run.path / name)
    assert (sorted(path.name for path in run.path.rglob("*")), precious.read_text()) == before


def test_an_unfinished_run_with_a_link_is_not_continued(options, tmp_path):
    run = runs.claim(options)
    run.start(options)
    (tmp_path / "state.npz").write_text("mine")
    (run.path / "state.npz").symlink_to(tmp_path / "state.npz")
    with pytest.raises(RunError, match=r"state\.npz: .*Received a link"):
        runs.claim(dataclasses.replace(options, resume=True))


def test_a_run_folder_that_the_user_linked_is_one_like_any_other(options, tmp_path):
    (tmp_path / "scratch").mkdir()
    Path(options.run).symlink_to(tmp_path / "scratch")
    finished_run(options)
    overwrite = dataclasses.replace(options, overwrite=True)
    runs.claim(overwrite).start(overwrite)
    assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == [".lock", "config.json", "origin.json"]


def test_what_a_process_killed_in_its_last_moment_left_is_removed_when_asked_again(options):
    run = finished_run(options)
    (run.path / "state.npz").write_text("")
    (run.path / "explanations" / "cache").mkdir(parents=True)
    left = run.path / "explanations" / "cache" / ".3b05.99999.partial.npz"
    left.write_text("")
    assert runs.claim(dataclasses.replace(options, resume=True)).finished
    assert not (run.path / "state.npz").exists()
    runs.lock(run.path / "explanations", inside=run.path)
    assert not left.exists()


def test_texts_in_results_can_be_printed_and_paths_stay(options):
    run = finished_run(options)
    evil = "x\x1b]0;title\x07\nAudit: 16 passed"
    run.write("results.json", json.dumps({"data": {"name": evil, "label_names": [evil]}, "baseline": {"path": evil}}))
    content = run.read("results.json", "data")
    assert content["data"]["name"] == content["data"]["label_names"][0] == r"x\x1b]0;title\x07\nAudit: 16 passed"
    assert content["baseline"]["path"] == evil


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.write_text("[" * 200_000)])
def test_results_that_would_hang_or_overflow_are_one_line(options, plant):
    run = finished_run(options)
    (run.path / "results.json").unlink()
    plant(run.path / "results.json")
    with pytest.raises(RunError, match="expected JSON of a run"):
        run.read("results.json", "data")


def test_a_run_killed_before_it_began_starts_anew(options, tmp_path):
    (tmp_path / "run").mkdir()
    for name in (".lock", ".config.123.partial.json"):
        (tmp_path / "run" / name).write_text("")
    runs.claim(options).start(options)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [".lock", "config.json", "origin.json"]


def test_what_a_killed_process_left_half_written_is_removed_when_the_run_goes_on(options):
    run = runs.claim(options)
    run.start(options)
    for name in (".state.123.partial.npz", ".model.123.partial.keras"):
        (run.path / name).write_text("half of a fi")
    runs.claim(dataclasses.replace(options, resume=True))
    assert sorted(path.name for path in run.path.iterdir()) == [".lock", "config.json", "origin.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_what_the_system_refuses_is_one_line_and_the_file_before_stays(tmp_path, monkeypatch, number, function):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "state.npz"
    path.write_text("good")
    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(RunError, match=rf"state\.npz: .*{os.strerror(number)}\."), files.writing(path) as temporary:
        temporary.write_text("new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.npz"]
    assert path.read_text() == "good"


def test_a_file_that_grows_too_large_and_a_folder_that_is_gone_are_one_line(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
        with pytest.raises(RunError, match="File too large"), files.writing(tmp_path / "state.npz") as temporary:
            np.savez(temporary, np.zeros(1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(RunError, match="No such file or directory"),
        files.writing(tmp_path / "gone" / "state.npz") as temporary,
    ):
        np.savez(temporary, np.zeros(1000))
    assert not (tmp_path / "gone").exists()


def test_the_commit_is_that_of_the_code_and_says_if_it_was_changed(tmp_path, monkeypatch):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)

    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "runs.py"))
    commit = provenance.commit.__wrapped__
    (tmp_path / "runs.py").write_text("")
    assert commit() is None
    git("init")
    assert commit() is None  # A checkout of something else.
    git("add", "runs.py")
    git("commit", "-m", "first")
    head = git("rev-parse", "HEAD").stdout.strip()
    assert commit() == head
    (tmp_path / "runs.py").write_text("# changed")
    assert commit() == f"{head}-dirty"


def test_a_shared_folder_is_made_and_tried(tmp_path):
    runs.make_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file/b: "):
        runs.make_writable(tmp_path / "file" / "b")


def test_nothing_is_written_into_a_folder_that_took_the_place_of_the_locked_one(tmp_path):
    run = runs.Run(tmp_path / "run")
    runs.lock(run.path)
    run.write("history.csv", "mine")
    shutil.rmtree(run.path)
    with pytest.raises(RunError, match="removed since"):
        run.write("history.csv", "mine")
    run.path.mkdir()
    (run.path / ".lock").touch()
    (run.path / "baseline").mkdir()
    for path in (run.path, run.path / "baseline"):
        with pytest.raises(RunError, match=r"expected the folder that this run was started in"):
            runs.Run(path).write("history.csv", "mine")
        assert not (path / "history.csv").exists()
    runs.Run(tmp_path / "run2").path.mkdir()
    runs.Run(tmp_path / "run2").write("history.csv", "others are not concerned")


def test_a_folder_may_be_removed_and_locked_again(tmp_path):
    run = runs.Run(tmp_path / "run")
    for _ in range(2):
        runs.lock(run.path)
        runs.lock(run.path)
        run.write("history.csv", "mine")
        shutil.rmtree(run.path)
