"""The notebook: no outputs in the repository, options that exist, and it runs from the first cell to the last."""

import ast
import html
import re
import shlex
import sys
from pathlib import Path

import pytest

from chestrobust import config

nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).resolve().parents[1]
RUN = ("diagnosis.py", "diagnosis_adv.py", "evaluate.py", "explain.py")


@pytest.fixture
def notebook():
    return nbformat.read(ROOT / "notebook.ipynb", as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_it_has_no_outputs_and_is_as_it_should_be(notebook):
    nbformat.validate(notebook)
    for cell in code(notebook):
        assert (cell.outputs, cell.execution_count, dict(cell.metadata)) == ([], None, {})
    assert len(notebook.cells) <= 22
    for name in ("Not for clinical use", "made-up"):
        assert name in notebook.cells[0].source


def test_its_code_parses_and_its_commands_have_options_that_exist(notebook):
    known, commands = {}, []
    for cell in code(notebook):
        plain = re.sub(r"(?m)^(\s*)[!%].*$", r"\1pass", cell.source)
        for node in ast.walk(ast.parse(plain)):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple | ast.Name):
                try:
                    _remember(known, node)
                except (ValueError, KeyError, NameError, TypeError):
                    continue
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run":
                commands.append(eval(ast.unparse(node.args[0]), dict(known)))
    assert [command.split()[0] for command in commands] == list(RUN)
    for command in commands:
        script, *arguments = shlex.split(command)
        config.parse(config.SCRIPTS[script], arguments, description="")


def test_on_colab_an_address_is_asked_for_in_one_line_and_elsewhere_nothing_happens(notebook, monkeypatch, tmp_path):
    first = re.sub(r"(?m)^(\s*)[!%].*$", r"\1pass", code(notebook)[0].source)
    named = first.replace('REPOSITORY = ""', 'REPOSITORY = "https://example.org/project"')
    monkeypatch.chdir(tmp_path)
    exec(first, {})
    monkeypatch.setitem(sys.modules, "google.colab", object())
    with pytest.raises(Exception, match=r"^REPOSITORY: put the address") as caught:
        exec(first, {})
    # What IPython shows in the place of a traceback.
    assert caught.value._render_traceback_() == [str(caught.value)]
    with pytest.raises(
        Exception, match=r"^REPOSITORY: expected this project\. Received: https://example\.org/project\."
    ):
        exec(named, {})  # git has fetched nothing
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "diagnosis.py").touch()
    exec(named, {})
    monkeypatch.chdir(ROOT)
    exec(first, {})  # in a checkout, also on Colab


def _remember(known, node):
    """Keep the constants that commands are made of."""
    value = eval(ast.unparse(node.value), {"__builtins__": {}}, dict(known))
    target = node.targets[0]
    names = [one.id for one in target.elts] if isinstance(target, ast.Tuple) else [target.id]
    known.update(zip(names, value if isinstance(target, ast.Tuple) else [value], strict=True))


@pytest.mark.slow
def test_it_runs_from_the_first_cell_to_the_last(notebook, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    choices = next(cell for cell in code(notebook) if cell.source.startswith("# Choose"))
    smaller = choices.source.replace("800, 8", "120, 1").replace("runs/notebook", str(tmp_path / "runs"))
    assert smaller.count("120, 1") == smaller.count(str(tmp_path)) == 1
    choices.source = smaller
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(ROOT)}}).execute()
    data = [output.get("data", {}) for cell in code(notebook) for output in cell.outputs]
    assert sum("image/png" in shown for shown in data) == 4
    (page,) = (shown["text/html"] for shown in data if "<iframe" in shown.get("text/html", ""))
    _, _, content = (tmp_path / "runs" / "robust" / "report.html").read_text().partition("<head>")
    assert content in html.unescape(page)
    for cell in code(notebook):
        if re.match(r"run\(|TRAINING", cell.source):
            said = "".join(output.text for output in cell.outputs if output.output_type == "stream")
            assert "Starting TensorFlow" in said  # as at a terminal, bars included
    for name in ("report.html", "model_card.md", "evaluations/notebook.json"):
        assert (tmp_path / "runs" / "robust" / name).is_file()
