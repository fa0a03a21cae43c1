"""The tables of names: every row leads to a function that takes what the row says."""

import argparse
import dataclasses
import inspect
import subprocess
import sys

import pytest

from chestrobust import catalogue, commandline, config
from chestrobust.attacks import named
from chestrobust.tasks import Task


@pytest.mark.parametrize("name", catalogue.ATTACKS)
def test_an_attack_leads_to_a_function_that_takes_its_parameters(name):
    row = catalogue.ATTACKS[name]
    if row.function is None:
        assert name == "clean"
        return
    takes = inspect.signature(catalogue.resolve(row.function)).parameters
    assert {parameter for parameter in row.parameters.values() if parameter} <= set(takes)
    assert ("loss" in takes) >= bool(row.loss)
    assert ("indices" in takes) == ("seed" in row.parameters.values())
    assert ("precision" in takes) == row.gradient
    assert set(row.parameters) | set(row.defaults) <= {field.name for field in dataclasses.fields(named.Attack)}
    assert all(callable(getattr(task, row.loss or "loss")) for task in Task)
    assert bool(row.label) == bool(row.weights)
    assert (row.label is None) == (row.wanted is not None)
    assert row.weights is None or callable(catalogue.resolve(row.weights))
    assert bool(row.aim) == bool(row.against)
    assert row.aim is None or (callable(catalogue.resolve(row.aim)) and row.against in catalogue.ATTACKS)


@pytest.mark.parametrize("name", catalogue.MODELS)
def test_a_model_leads_to_its_builder(name):
    row = catalogue.MODELS[name]
    takes = inspect.signature(catalogue.resolve(row.builder)).parameters
    assert set(takes) >= (
        {"input_shape", "num_labels", "attention"} if row.hand_made else {"row", "size", "pretrained"}
    )
    if not row.hand_made:
        _scale, _offset = catalogue.resolve(row.normalization)
        assert row.published


@pytest.mark.parametrize("name", catalogue.SOURCES)
def test_a_source_leads_to_its_loader(name):
    row = catalogue.SOURCES[name]
    assert set(row.parameters) <= set(inspect.signature(catalogue.resolve(row.loader)).parameters)
    assert ("root" in row.parameters) == bool(row.root) == (name in config.FOLDERS)


def test_names_and_help_need_no_tensorflow():
    code = (
        "import sys; from chestrobust import catalogue, config, tasks, titles; "
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=config.__file__.rpartition("/chestrobust/")[0])


def test_the_command_line_offers_what_the_tables_hold(capsys):
    for kind, offered in (
        (config.EvaluateConfig, ["ni-fgsm (Nesterov momentum)", "invent=FINDING", "one-pixel"]),
        (config.BaselineConfig, ["pneumoniamnist, nih,", "folders, phantom (made-up data)", "resnet18"]),
    ):
        with pytest.raises(SystemExit):
            config.parse(kind, ["--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert [text for text in offered if text not in shown] == []


def test_extra_takes_the_attacks_that_are_offered_and_a_finding_where_one_is_needed():
    for name, row in catalogue.ATTACKS.items():
        for text, fits in ((name, not row.label), (f"{name}=mass", row.label is not False)):
            if row.extra and fits:
                assert commandline.extra_attack(text) == text
            else:
                with pytest.raises(argparse.ArgumentTypeError, match="hide"):
                    commandline.extra_attack(text)


def test_an_attack_is_made_of_the_settings_that_it_has():
    settings = {"epsilon": 0.1, "steps": 7, "restarts": 2, "random_start": True, "seed": 3, "precision": "float32"}
    assert named.of("noise", **settings) == named.Attack("noise", 0.1, seed=3)
    assert named.of("ni-fgsm", **settings) == named.Attack("ni-fgsm", 0.1, steps=7, precision="float32")
    assert named.of("invent", label=1, **settings) == named.Attack("invent", 0.1, None, 7, 2, True, 3, 1, "float32")
    assert named.of("one-pixel", **settings) == named.Attack("one-pixel", 1.0, seed=3)


def test_an_unknown_attack_is_refused():
    with pytest.raises(ValueError, match="attack='pgdd'"):
        named.Attack("pgdd")
