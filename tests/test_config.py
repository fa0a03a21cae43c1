import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from chestrobust import commandline, config
from chestrobust.errors import ExpectedError
from chestrobust.tasks import Task

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("text", "value"), [("8/255", 8 / 255), ("0.03", 0.03), ("0", 0), ("0.5/255", 0.5 / 255), ("1", 1), ("1e-3", 1e-3)]
)
def test_length_reads_what_papers_write(text, value):
    assert commandline.length(text) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("text", ["8", "-0.1", "1/0", "nan", "inf", "8/255/2", "", "0x1", "300/255"])
def test_length_refuses_what_is_no_length_in_pixel_units(text, capsys):
    with pytest.raises(SystemExit) as stop:
        config.parse(config.BaselineConfig, ["--epsilon", text])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "--epsilon" in error
    assert "[0, 1]" in error


def test_a_bare_eight_is_refused_with_the_reason_and_the_way_out(capsys):
    with pytest.raises(SystemExit):
        config.parse(config.BaselineConfig, ["--epsilon", "8"])
    assert "8/255" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--epochs", "0"],
        ["--batch-size", "1.5"],
        ["--dropout", "1"],
        ["--limit", "-3"],
        ["--seed", "x"],
        ["--size", "32"],
        ["--optimizer", "adagrad"],
        ["--epoch", "3"],
        ["--learning-rate", "0"],
        ["--learning-rate", "nan"],
        ["--steps"],
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        config.parse(config.BaselineConfig, arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_line_gives_the_defaults_of_the_dataclass():
    assert config.parse(config.BaselineConfig, []) == config.BaselineConfig()
    assert config.parse(config.AdversarialConfig, []) == config.AdversarialConfig()


def test_every_option_reaches_its_field_and_the_json():
    options = config.parse(
        config.AdversarialConfig,
        [
            *("--data=phantom", "--size=64", "--limit=7", "--overwrite"),
            *("--epsilon=4/255", "--train-epsilon=0.02", "--adv-weight=1"),
        ],
    )
    assert (options.data, options.size, options.limit, options.overwrite) == ("phantom", 64, 7, True)
    assert (options.epsilon, options.train_epsilon, options.adv_weight) == (pytest.approx(4 / 255), 0.02, 1.0)
    assert json.loads(config.to_json(options)) == dataclasses.asdict(options)


@pytest.mark.parametrize(
    ("script", "config_class"),
    [
        ("diagnosis.py", config.BaselineConfig),
        ("diagnosis_adv.py", config.AdversarialConfig),
        ("explain.py", config.ExplainConfig),
        ("tune.py", config.TuneConfig),
        ("ensemble.py", config.EnsembleConfig),
    ],
)
def test_help_names_every_option_without_loading_tensorflow(script, config_class):
    code = f"import sys, runpy; sys.argv = [{script!r}, '--help']\n"
    code += f"try: runpy.run_path({script!r}, run_name='__main__')\n"
    code += "except SystemExit: pass\n"
    code += "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules and 'sklearn' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for field in dataclasses.fields(config_class):
        if field.default is commandline.ARGUMENT or field.name in getattr(config_class, "WITHOUT", ()):
            continue
        assert "--" + field.name.replace("_", "-") in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights=imagenet"], "expected a backbone"),
        (["--freeze"], "expected a backbone"),
        (["--backbone-size=64"], "expected a backbone"),
        (["--model=vit_b16", "--attention=se"], "feature maps"),
        (["--model=vit_b16", "--backbone-size=40"], "multiple of 16"),
        (["--model=vit_b16", "--weights=imagenet", "--backbone-size=64"], "expected 224"),
        (["--model=resnet18", "--weights=nowhere.keras"], r"Received: nowhere\.keras"),
        (["--model=resnet18", "--weights=imagenet", "--init-from=run"], "Received both"),
        (["--model=resnet18", "--freeze"], "random backbone"),
    ],
)
def test_options_of_the_model_that_contradict_each_other_are_refused(arguments, message):
    with pytest.raises(ExpectedError, match=message):
        config.parse(config.AdversarialConfig, arguments)


def test_a_frozen_backbone_may_come_from_a_run():
    assert config.parse(config.AdversarialConfig, ["--model=resnet18", "--freeze", "--init-from=run"]).freeze


def test_a_loss_that_the_task_does_not_have_is_refused():
    options = config.BaselineConfig(loss="asymmetric")
    config.check_task(options, Task("multi-label"))
    with pytest.raises(ExpectedError, match="multi-class"):
        config.check_task(options, Task("multi-class"))
