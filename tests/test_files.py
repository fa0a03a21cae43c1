import os
import subprocess
import sys

import pytest

from chestrobust import commandline, files, locks


@pytest.fixture
def precious(tmp_path):
    """A file of the user's, elsewhere."""
    path = tmp_path / "home" / "thesis.tex"
    path.parent.mkdir()
    path.write_text("mine")
    yield path
    assert path.read_text() == "mine"
    assert [each.name for each in path.parent.iterdir()] == ["thesis.tex"]


def test_a_file_is_replaced_and_not_what_a_link_in_its_place_leads_to(tmp_path, precious):
    path = tmp_path / "state.npz"
    for planted in (path, tmp_path / f".state.{os.getpid()}.partial.npz"):
        planted.symlink_to(precious)
        with files.replacing(path) as temporary:
            temporary.write_text("new")
        assert (path.read_text(), path.is_symlink()) == ("new", False)
        path.unlink()
    assert os.listdir(tmp_path) == ["home"]


@pytest.mark.parametrize("flag", [files.NO_LINKS, 0])
def test_a_file_of_ours_is_opened_where_it_lies_or_not_at_all(tmp_path, precious, monkeypatch, flag):
    monkeypatch.setattr(files, "NO_LINKS", flag)
    path = tmp_path / "lock"
    path.write_text("before")
    with files.open_own(path) as file:
        file.write(b", after")
    assert path.read_text() == "before, after"
    for plant in (os.mkdir, os.mkfifo, lambda path: os.symlink(precious, path), lambda path: os.symlink("gone", path)):
        plant(tmp_path / "planted")
        with pytest.raises(OSError):
            files.open_own(tmp_path / "planted").close()
        files.remove(tmp_path / "planted")
    assert not (tmp_path / "gone").exists()


def test_folders_of_ours_are_no_links_but_the_one_that_the_user_chose_may_be(tmp_path, precious):
    (tmp_path / "real").mkdir()
    chosen = tmp_path / "chosen"
    chosen.symlink_to(tmp_path / "real")
    files.make_folder(chosen, inside=chosen)
    files.make_folder(chosen / "a" / "b", inside=chosen)
    assert (tmp_path / "real" / "a" / "b").is_dir()
    (chosen / "c").symlink_to(precious.parent)
    for name in ("c", "c/d"):
        with pytest.raises(OSError, match="a link"):
            files.make_folder(chosen / name, inside=chosen)


def test_removing_a_folder_leaves_what_links_in_it_lead_to(tmp_path, precious):
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "link").symlink_to(precious.parent)
    (tmp_path / "link").symlink_to(precious.parent)
    for path in (folder, tmp_path / "link", tmp_path / "gone"):
        files.remove(path)
    assert os.listdir(tmp_path) == ["home"]


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("phantom-quick", "phantom-quick"),
        ("Lungenödem 2.1", "Lungenödem 2.1"),
        ('a/b\\c:d*e?f"g<h>i|j', "a-b-c-d-e-f-g-h-i-j"),
        ("ends. .", "ends"),
        ("..", "-"),
        ("", "-"),
        ("two\nlines\x1b[31m", "two-lines-[31m"),
        ("CON", "CON-"),
        ("nul.txt", "nul-.txt"),
        ("com1 .a", "com1 -.a"),
        ("COM10", "COM10"),
        ("console", "console"),
    ],
)
def test_names_that_windows_keeps_for_itself_are_replaced(name, becomes):
    assert files.portable(name) == becomes
    assert files.portable(becomes) == becomes
    assert files.is_portable(name) == (name == becomes)


@pytest.mark.parametrize("name", ["a:b", "what?", "aux", "LPT1.old", "a\tb", "end.", ".hidden", "a/b", ""])
def test_an_evaluation_is_not_given_such_a_name(name):
    with pytest.raises(commandline.argparse.ArgumentTypeError, match="without folders"):
        commandline.file_name(name)


def test_a_lock_shuts_out_others_until_its_file_is_closed(tmp_path):
    with files.open_own(tmp_path / "lock") as one, files.open_own(tmp_path / "lock") as other:
        locks.exclusive(one, wait=False)
        with pytest.raises(BlockingIOError):
            locks.exclusive(other, wait=False)
        one.close()
        locks.exclusive(other, wait=True)


def test_a_lock_of_the_process_may_be_taken_twice_and_shuts_out_other_processes(tmp_path):
    path = tmp_path / "lock"
    with files.open_own(path) as one, files.open_own(path) as other:
        locks.of_process(one)
        locks.of_process(other)
        code = f"from chestrobust import files, locks; locks.of_process(files.open_own({str(path)!r}))"
        process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert process.stderr.splitlines()[-1].startswith(("BlockingIOError", "PermissionError"))
