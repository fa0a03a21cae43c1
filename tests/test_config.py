import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import chestrobust
from chestrobust import catalogue, commandline, config, data, errors
from chestrobust.config import recipes, trained
from chestrobust.errors import ExpectedError
from chestrobust.tasks import Task

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = config.SCRIPTS


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
        ["--size", "7"],
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
    assert config.parse(config.TuneConfig, []) == config.TuneConfig()
    assert config.parse(config.AdversarialConfig, ["--method=online"]) == config.AdversarialConfig()


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
    assert json.loads(config.to_json(options)) == json.loads(json.dumps(dataclasses.asdict(options)))  # tuples as lists


@pytest.mark.parametrize(("script", "config_class"), SCRIPTS.items())
def test_help_names_every_option_without_loading_tensorflow(script, config_class):
    code = f"import sys, runpy; sys.argv = [{script!r}, '--help']\n"
    code += f"try: runpy.run_path({script!r}, run_name='__main__')\n"
    code += "except SystemExit: pass\n"
    code += "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules and 'sklearn' not in sys.modules\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for field in commandline.options(config_class):
        assert is_argument(field) or errors.dashed(field.name) in done.stdout


@pytest.mark.parametrize("config_class", SCRIPTS.values())
def test_help_has_every_option_in_a_titled_group_and_more_of_them_last(config_class):
    text = commandline.parser_of(config_class).format_help()
    titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    own = titles[titles.index("options") + 1 :]
    later = [title.startswith("more: ") for title in own]
    assert own and len(set(own)) == len(own)
    assert later == sorted(later)
    assert {field.metadata["group"] for field in commandline.options(config_class)} - {None} == set(own)
    assert all(field.metadata["group"] for field in commandline.options(config_class) if not is_argument(field))


def is_argument(field):
    return field.default is commandline.ARGUMENT


@pytest.mark.parametrize("config_class", SCRIPTS.values())
def test_help_shows_the_default_of_every_option_that_has_one(config_class):
    text = " ".join(commandline.parser_of(config_class).format_help().split())
    for field in commandline.options(config_class):
        if isinstance(field.default, (int, float)) and not isinstance(field.default, bool):
            entry = text.partition(f"{errors.dashed(field.name)} {field.name.upper()} ")[2]
            shown = entry.partition("(default: ")[2].partition(")")[0]
            assert commandline.length(shown) == field.default if "/" in shown else float(shown) == field.default


def test_a_suite_has_its_own_number_of_steps_unless_told():
    for suite, steps in trained.STEPS.items():
        options = config.parse(config.EvaluateConfig, ["run", "--suite", suite])
        assert options.steps == dataclasses.replace(options, data="a.npz").steps == steps
        assert config.parse(config.EvaluateConfig, ["run", "--suite", suite, "--steps", "3"]).steps == 3
    assert config.EvaluateConfig("run").steps == trained.STEPS["quick"]


def test_help_shows_lengths_as_papers_write_them():
    text = " ".join(commandline.parser_of(config.EvaluateConfig).format_help().split())
    assert "(default: 0 1/255 2/255 4/255 8/255 12/255)" in text


def test_what_can_only_be_switched_on_has_no_twin(capsys):
    flags = re.findall(r"--no-\S+", commandline.parser_of(config.AdversarialConfig).format_help())
    assert set(flags) == {"--no-edges", "--no-flip", "--no-metadata"}
    assert config.parse(config.BaselineConfig, ["--no-flip"]).flip is False
    with pytest.raises(SystemExit):
        config.parse(config.BaselineConfig, ["--no-overwrite"])


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--epoch", "3"], "Did you mean --epochs?"),
        (["--train-epsilon", "0.1"], "Did you mean"),
        (["--bach-size=3"], "Did you mean --batch-size?"),
        (["--optimizer", "adamv"], "Did you mean adam"),
        (["--model", "resnet-18"], "Did you mean resnet18?"),
        (["--zzz"], None),
    ],
)
def test_a_mistyped_option_or_choice_gets_the_one_that_was_meant(arguments, hint, capsys):
    with pytest.raises(SystemExit) as stop:
        config.parse(config.BaselineConfig, arguments)
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert hint in error if hint else "Did you mean" not in error


def test_a_mistyped_data_set_and_a_mistyped_option_in_a_file_get_it_too(tmp_path):
    with pytest.raises(ExpectedError, match=r"Did you mean chestmnist\?"):
        data.load("chestmist")
    (tmp_path / "best.json").write_text('{"learning_rat": 0.1}')
    with pytest.raises(ExpectedError, match=r"Received: learning_rat\. Did you mean learning_rate\?"):
        config.parse(config.BaselineConfig, [f"--params={tmp_path / 'best.json'}"])


def test_one_root_serves_all_folders_and_the_old_names_are_taken_but_not_shown():
    assert set(config.FOLDERS) == {name for name, row in catalogue.SOURCES.items() if row.root}
    assert config.parse(config.BaselineConfig, ["--data=nih", "--root=a"]).root == "a"
    both = ["--covid-root=a", "--nih-root=b", "--folders-root=c"]
    for source, root in (("covid", "a"), ("nih", "b"), ("folders", "c"), ("NIH", "b")):
        assert config.parse(config.BaselineConfig, [f"--data={source}", *both]).root == root
    assert config.parse(config.EvaluateConfig, ["run", "--nih-root=b"]).root == "b"
    assert "nih-root" not in commandline.parser_of(config.BaselineConfig).format_help()


def test_what_older_versions_wrote_is_read_as_today(tmp_path):
    old = {"data": "nih", "nih_root": "a", "covid_root": None, "folders_root": "c", "seed": 3, "freeze": False}
    assert config.renewed(old) == {"data": "nih", "root": "a", "seed": 3, "freeze": False}
    (tmp_path / "config.json").write_text(json.dumps(old))
    params = f"--params={tmp_path / 'config.json'}"
    read = config.parse(config.BaselineConfig, [params])
    assert (read.data, read.root, read.seed) == ("nih", "a", 3)
    assert config.parse(config.BaselineConfig, [params, "--nih-root=b", "--seed=4"]).root == "b"
    assert config.given(config.BaselineConfig, [params]) == {"data", "root", "seed", "params"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_says_its_version(script, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [script])
    with pytest.raises(SystemExit) as stop:
        config.parse(SCRIPTS[script], ["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"{script} {chestrobust.__version__}\n"


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


def test_a_recipe_is_a_set_of_options_that_the_command_line_overrides():
    best = config.parse(config.AdversarialConfig, ["--recipe=best", "--epochs=3"])
    wanted = recipes.RECIPES["best"].options | {"epochs": 3, "recipe": "best"}
    assert {name: getattr(best, name) for name in wanted} == wanted
    assert dataclasses.replace(best, **{name: getattr(config.AdversarialConfig, name) for name in wanted}) == (
        config.AdversarialConfig()
    )
    assert json.loads(config.to_json(best))["recipe"] == "best"


def test_what_trains_on_clean_images_alone_takes_a_recipe_as_it_is_for_these():
    recipe, read = recipes.RECIPES["best"], config.parse(config.BaselineConfig, ["--recipe=best", "--scale=0.3"])
    assert recipe.clean["epochs"] != recipe.options["epochs"]
    for name, value in (recipe.clean | {"scale": 0.3, "ema": recipe.options["ema"]}).items():
        assert getattr(read, name) == value
    robust = config.parse(config.AdversarialConfig, ["--recipe=best"])
    assert (robust.epochs, robust.rotation) == (recipe.options["epochs"], None)


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_names_options_of_the_scripts_and_is_in_the_help(name):
    recipe = recipes.RECIPES[name]
    assert set(recipe.options) <= {field.name for field in commandline.options(config.AdversarialConfig)}
    assert set(recipe.clean) <= {field.name for field in commandline.options(config.BaselineConfig)}
    for kind in (config.BaselineConfig, config.AdversarialConfig):
        read = config.parse(kind, [f"--recipe={name}"])
        assert read.recipe == name and read.model == recipe.options.get("model", "cnn")
        assert f"{name}: {recipe.help}" in " ".join(commandline.parser_of(kind).format_help().split())


def test_a_recipe_gives_way_to_another_method_and_to_a_file(tmp_path):
    assert config.parse(config.AdversarialConfig, ["--recipe=best", "--method=fast"]).model == "robust_cnn"
    (tmp_path / "best.json").write_text('{"learning_rate": 0.5}')
    read = config.parse(config.AdversarialConfig, ["--recipe=best", f"--params={tmp_path / 'best.json'}"])
    assert (read.learning_rate, read.ema) == (0.5, recipes.RECIPES["best"].options["ema"])


def test_robust_training_from_scratch_takes_the_default_recipe(tmp_path):
    options = config.parse(config.AdversarialConfig, ["--epochs=3"])
    wanted = recipes.RECIPES["default"].options | {"epochs": 3, "recipe": "default"}
    assert options == config.AdversarialConfig(**wanted)
    assert config.parse(config.AdversarialConfig, ["--recipe=default", "--epochs=3"]) == options
    (tmp_path / "best.json").write_text('{"epochs": 3}')
    for other in ("--init-from=runs/x", "--method=pgd", f"--params={tmp_path / 'best.json'}"):
        read = config.parse(config.AdversarialConfig, [other])
        assert (read.recipe, read.ema) == (None, 0.0)
        assert config.parse(config.AdversarialConfig, [other, "--recipe=default"]).ema == wanted["ema"]
    assert config.parse(config.BaselineConfig, []).recipe is None


def test_all_but_the_best_recipe_name_it_and_that_for_another_end():
    ends = ("best", "certified")
    assert [recipes.better(name) for name in ends] == [None, None]
    assert all("--recipe best" in recipes.better(name) for name in (None, *recipes.RECIPES) if name not in ends)


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_under_way_is_told_at_a_terminal_alone(terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    commandline.under_way("Loading phantom")
    assert capsys.readouterr() == ("", "Loading phantom\n" if terminal else "")


@pytest.mark.parametrize(
    ("given", "option", "argument"),
    [
        (("transfer_from",), "--transfer-from", "transfer_from"),
        (("suite", "standard"), "--suite standard", 'suite="standard"'),
        (("input_range", "0 255"), "--input-range 0 255", 'input_range="0 255"'),
        (("batch_size", 5), "--batch-size 5", "batch_size=5"),
        (("certify", True), "--certify", "certify=True"),
        (("import_", "a.py"), "--import a.py", 'custom_objects="a.py"'),
    ],
)
def test_a_setting_is_an_option_or_an_argument(given, option, argument):
    assert errors.setting(*given) == option
    with errors.called_from_python(import_="custom_objects"):
        assert errors.setting(*given) == argument
    with pytest.raises(ZeroDivisionError), errors.called_from_python():
        raise ZeroDivisionError
    assert errors.setting(*given) == option
