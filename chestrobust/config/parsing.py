"""From the command line, and the file that `--params` names, to a script's options; and back to JSON."""

import dataclasses
import json
from pathlib import Path

from chestrobust import commandline
from chestrobust.config import methods, recipes
from chestrobust.config.shared import FOLDERS
from chestrobust.config.training import AdversarialConfig
from chestrobust.errors import ExpectedError, did_you_mean

# Options of one run alone: they aren't repeated with its others.
OF_ONE_RUN = ("run", "overwrite", "resume", "params", "folds", "debug")
ROOTS = {source: f"{source}_root" for source in FOLDERS}  # what older versions had instead of `root`


def parse(config_class, arguments=None, **settings):
    """Read a `config_class` from the command line; wrong options end the program with one line and code 2.

    Options in the file that `--params` names are read as those of the command line, which win; both win over those of
    the `--recipe`, or of the class's own `RECIPE`. `settings` go to argparse.
    """
    read = _read(config_class, arguments, **settings)
    return config_class(**{**_of_recipe(config_class, read), **read})


def given(config_class, arguments=None):
    """Names of the options that are on the command line or in the file that `--params` names."""
    return set(_read(config_class, arguments))


def _read(config_class, arguments, **settings):
    read = renewed(commandline.given(config_class, arguments, **settings))
    if "params" not in read:
        return read
    repeated = commandline.as_arguments(_params(read["params"]), config_class)
    return renewed(commandline.given(config_class, repeated, **settings)) | read


def _of_recipe(config_class, read):
    """The recipe that is asked for, and its options but for those that the class or its `--method` doesn't have."""
    name = recipes.taken(read, getattr(config_class, "RECIPE", None))
    if name is None:
        return {}
    recipe = recipes.RECIPES[name]
    names = {field.name for field in dataclasses.fields(config_class)}
    options = recipe.options if "method" in names else recipe.options | recipe.clean
    names -= set(methods.unused(read.get("method", options.get("method"))))
    return {"recipe": name} | {option: value for option, value in options.items() if option in names}


def _params(path):
    """The options in a JSON file, by name."""
    try:
        values = json.loads(Path(path).expanduser().read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ExpectedError(f"--params {path}: expected a JSON file of options. Received: {error}.") from None
    if not isinstance(values, dict):
        raise ExpectedError(
            f"--params {path}: expected options of the training scripts. Received: {type(values).__name__}."
        )
    # A run's config.json has all options: those that aren't set, and those of that run alone, say nothing here.
    values = {name: value for name, value in renewed(values).items() if value is not None and name not in OF_ONE_RUN}
    known = [field.name for field in dataclasses.fields(AdversarialConfig)]
    if wrong := sorted(set(values) - set(known)):
        raise ExpectedError(
            f"--params {path}: expected options of the training scripts. Received: {', '.join(wrong)}."
            f"{did_you_mean(wrong[0], known)}"
        )
    return values


def renewed(values):
    """Options by name, as this version names them: older ones had a root for each source of folders.

    Args:
        values: A dictionary, of a run's config.json or of the command line.
    """
    roots = {source: values[name] for source, name in ROOTS.items() if values.get(name) is not None}
    now = {name: value for name, value in values.items() if name not in ROOTS.values()}
    # Where the data aren't named, as with those of a run, the one that is given is meant.
    source = str(values["data"]).lower() if values.get("data") is not None else next(iter(roots), None)
    if source in roots and now.get("root") is None:
        now["root"] = roots[source]
    return now


def to_json(config):
    """The configuration as indented JSON text."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"
