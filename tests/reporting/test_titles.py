"""One name, one number: attacks that differ are called differently."""

from types import SimpleNamespace

import matplotlib
import pytest

from chestrobust import config, titles
from chestrobust.attacks import named
from chestrobust.evaluation import combined, sweep
from chestrobust.reporting import figures, graphs
from chestrobust.tasks import Task


def reported(**options):
    return named.reported_pgd(**config.picked(config.BaselineConfig(**options), config.ATTACK))


def test_the_usual_pgd_needs_no_words_and_every_other_says_what_differs():
    usual = named.pgd_of(0.03, 10)
    assert usual.title == "PGD-10, epsilon 0.03"
    assert reported(epsilon=0.03).title == "PGD-10, epsilon 0.03, step size 0.01, random start"
    assert reported(restarts=3).title.endswith("random start, 3 restarts")
    assert reported(epsilon=0.04, step_size=0.01).title == "PGD-10, epsilon 0.04, random start"
    assert named.Attack("fgsm", 8 / 255).title == "FGSM, epsilon 0.0314 (8/255)"
    assert named.Attack("apgd-bce", 0.03, None, 5, 2, True, 0).title == "APGD-BCE-5, epsilon 0.03, 2 restarts"
    assert named.of("ni-fgsm", epsilon=0.03, steps=10).title == "NI-FGSM-10, epsilon 0.03"
    assert titles.title({"attack": "invent=mass", "steps": 5, "epsilon": 0.03}) == "invent=mass-5, epsilon 0.03"
    assert titles.title({"attack": "floor", "epsilon": 0.03}) == "floor: per-label worst found, epsilon 0.03"
    assert titles.title({"attack": "clean", "epsilon": 0.0}) == "clean"


@pytest.mark.parametrize("restarts", [1, 2, 5])
def test_a_row_of_several_attacks_has_as_many_restarts_as_were_asked_for(restarts):
    options = SimpleNamespace(
        steps=3, queries=4, restarts=restarts, seed=0, precision="auto", suite="standard", extra=("hide", "noise")
    )
    splits = SimpleNamespace(task=Task.MULTI_LABEL, label_names=("a", "b"))
    subject = SimpleNamespace(options=options, splits=splits, other="a model")
    subject._extra = lambda *arguments: sweep.Subject._extra(subject, *arguments)
    records = {name: combined.record(name, found, 0) for name, found in sweep.Subject.attacks(subject, 0.03).items()}
    several = {"pgd", "transfer", "apgd-bce", "apgd-margin", "label-margin", "square", "hide"}
    assert {name: records[name]["restarts"] for name in several} == dict.fromkeys(several, restarts)
    assert records["fgsm"]["restarts"] is records["noise"]["restarts"] is None
    # The first start is at the image, which is the usual one.
    more = f", {restarts} restarts" if restarts > 1 else ""
    assert titles.title(records["pgd"]) == f"PGD-3, epsilon 0.03{more}"
    assert titles.title(records["square"]) == f"Square-4, epsilon 0.03{more}"


def test_columns_of_the_history_are_called_by_attack_and_kind():
    assert titles.validation_score("auc") == titles.validation_score("auc", "clean") == "val_auc"
    assert titles.validation_score("loss", "pgd") == "val_pgd_loss"


def test_figures_do_not_depend_on_the_users_settings(tmp_path):
    written = []
    for settings in ({}, {"text.usetex": True, "savefig.dpi": 10, "font.size": 30, "axes.facecolor": "red"}):
        matplotlib.get_backend()  # which is only chosen when it is first asked for
        with matplotlib.rc_context(settings):
            before = matplotlib.rcParams.copy()
            figure = graphs.search_history([(0, 0.5), (1, 0.6)], title="a_title")
            figures.save(figure, tmp_path / "figure.png")
            assert matplotlib.rcParams == before
        written.append((tmp_path / "figure.png").read_bytes())
    assert written[0] == written[1]
