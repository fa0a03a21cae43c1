"""The fuzzer finds what it looks for; a fixed corpus of its files and Hypothesis's own are read without a surprise."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import fuzz

from chestrobust.data.sources import csvfile, images
from chestrobust.errors import DataError

HEALTH = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def test_a_fixed_corpus_is_loaded_or_refused(tmp_path):
    outcomes = {}
    for number in range(300):
        kind, outcome, _ = fuzz.judge(7, number, tmp_path)
        assert outcome in ("loaded", "refused"), number
        outcomes.setdefault(kind, set()).add(outcome)
    assert outcomes == {kind: {"loaded", "refused"} for kind in fuzz.READERS}, "nothing else would be a test"


def test_the_same_seed_and_number_give_the_same_file(monkeypatch):
    first = [fuzz.content(3, number)[:2] for number in range(40)]
    monkeypatch.setattr(time, "time", lambda: 0)  # archives hold no time of their own
    assert [fuzz.content(3, number)[:2] for number in range(40)] == first
    assert fuzz.content(3, 0)[1] != fuzz.content(4, 0)[1]


PLANT = """
import os, sys, time
sys.path[:0] = {path!r}
import fuzz
from chestrobust.errors import DataError

def reader(path, rng, load=fuzz.load_csv):
    if rng.random() < 0.1:
        {behaviour}
    load(path, rng)

fuzz.PATIENCE = 2
fuzz.READERS["CSV"] = (fuzz.mutations.csv, reader)
sys.exit(fuzz.fuzz(0, 160, 2, fuzz.Path("kept")))
"""


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        ("raise KeyError('not ours')", "raised KeyError"),
        ("bytearray(2 * fuzz.MEMORY)", "raised MemoryError"),
        ("raise DataError('x' * 2000)", "refused in many words"),
        ("os._exit(3)", "died (3)"),
        pytest.param("time.sleep(60)", "hung", marks=pytest.mark.slow),
    ],
)
def test_each_violation_is_counted_and_its_file_kept(tmp_path, behaviour, outcome):
    """Only every tenth table is read by the reader that misbehaves: the others must still be judged, each once.

    In a process of its own, since one that has loaded TensorFlow can't be forked safely.
    """
    code = PLANT.format(path=sys.path, behaviour=behaviour)
    process = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    kept = list((tmp_path / "kept").iterdir())
    assert process.returncode == len(kept) > 0, process.stderr
    assert "160 files" in process.stdout
    assert process.stderr.count(f"(CSV) {outcome}; kept in") == len(kept)
    assert kept[0].read_bytes() == fuzz.content(0, int(kept[0].stem.split("-")[1]))[1]


def test_a_reader_that_takes_long_is_a_violation(tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", -1)
    assert fuzz.judge(0, 0, tmp_path)[1] == "took too long"


@settings(max_examples=150, deadline=None, suppress_health_check=HEALTH, derandomize=True)
@given(st.lists(st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=2, max_size=2), max_size=5))
def test_any_text_in_cells_comes_out_as_it_went_in_or_is_refused(tmp_path, rows):
    path = tmp_path / "table.csv"
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    path.write_text("\n".join(["name,label", *quoted]), newline="")
    try:
        read = csvfile.read(path, ["name", "label"])
    except DataError:
        assert not rows or any(not cell.strip().isprintable() or "\0" in cell for row in rows for cell in row)
    else:
        assert [list(row.values()) for row in read] == [[cell.strip() for cell in row] for row in rows]


@settings(max_examples=150, deadline=None, suppress_health_check=HEALTH, derandomize=True)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"name,label\n"]))
def test_any_bytes_are_read_or_refused(tmp_path, content, start):
    path = tmp_path / "file"
    path.write_bytes(start + content)
    for read in (images.read, lambda path: csvfile.read(path, ["name", "label"])):
        try:
            read(path)
        except DataError as error:
            assert str(error).isprintable()
