"""The README and docs/: links lead somewhere, commands have options that exist, Python examples run."""

import re
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest

from chestrobust import config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_WORDS = 900


def blocks(page, language):
    """Code between fences, by the language that the fence names."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", page.read_text())


def commands():
    """Commands of ours in code blocks and between backticks, but those with an ellipsis or that read a file."""
    for page in PAGES:
        fenced = "\n".join(blocks(page, "")).replace("\\\n", " ")
        between = re.findall(r"`([^`]+)`", re.sub(r"(?ms)^```.*?^```", "", page.read_text()))
        for text in [*(line.partition("#")[0] for line in fenced.splitlines()), *between]:
            line = " ".join(text.split())
            ours = re.match(rf"python ({'|'.join(config.SCRIPTS)})( |$)", line)
            if ours and not re.search(r"\.\.\.|\(|\||--help|--params", line):
                yield pytest.param(line, id=f"{page.name}: {line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_are_there(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, heading = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        headings = re.findall(r"(?m)^#+ (.*)$", there.read_text()) if heading else []
        anchors = [re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in headings]
        assert not heading or heading in anchors, target


def test_the_readme_can_be_read_in_one_go():
    text = re.sub(r"(?ms)^```.*?^```", "", (ROOT / "README.md").read_text())
    assert len(text.split()) <= MOST_WORDS


def test_every_page_can_be_reached_from_the_readme():
    linked, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        targets = re.findall(r"\]\(([^)#\s]+\.md)", page.read_text())
        found = {(page.parent / target).resolve() for target in targets if "//" not in target} - linked
        linked |= found
        waiting += found
    assert set(PAGES[1:]) <= linked


@pytest.mark.parametrize("line", list(commands()))
def test_commands_have_options_that_exist(line):
    _, script, *arguments = shlex.split(line)
    config.parse(config.SCRIPTS[script], arguments, description="")


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_examples_run(page, tmp_path, monkeypatch):
    """With a model and images of the reader's own; sketches with an ellipsis are left out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images, labels = rng.random((12, 8, 8, 1), np.float32), rng.integers(0, 2, (12, 1))
    labels[:2, 0] = 0, 1
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")])
    given = {
        "model": model,
        "images": images,
        "labels": labels,
        "train_images": images,
        "train_labels": labels,
        "val_images": images,
        "val_labels": labels,
    }
    for example in blocks(page, "python"):
        if "..." not in example:
            exec(compile(example, page.name, "exec"), dict(given))
