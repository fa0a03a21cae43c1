"""The form of results: what each entry of their JSON may hold, whoever wrote the file.

Tables, figures and pages print what is there. A share of 7, a `true` for a count or a NaN would be printed too, so that
a file that holds one is refused whole. An entry that is missing is none of this module's business: results of earlier
versions lack what is new.
"""

import json
import math

from chestrobust.errors import RunError, printable

SLACK = 1e-9  # by which rounding may take a share out of [0, 1]
MOST = 1 << 53  # up to which whole numbers are exact in JSON


def parsed(text):
    """The content of JSON whose numbers are finite.

    Raises:
        ValueError: If it is no such JSON.
    """
    return json.loads(text, parse_constant=_finite, parse_float=_finite, parse_int=_finite_int)


def _finite(text):
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"a number that isn't finite, {text:.20}")
    return value


def _finite_int(text):
    _finite(text)
    return int(text)


def made_printable(content):
    """JSON whose names and texts can be printed; paths stay, as they are opened and no reader's business."""
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, list):
        return [made_printable(part) for part in content]
    if isinstance(content, dict):
        return {printable(key): part if key == "path" else made_printable(part) for key, part in content.items()}
    return content


def check(content, path, rules=None):
    """Refuse results with an entry of another form.

    Args:
        content: What a JSON file holds: of a run, of an evaluation or of a comparison.
        path: The file.
        rules: Those of another kind of file, `GALLERY`.

    Raises:
        RunError: Naming the first such entry.
    """
    try:
        _walk(content, rules or RULES, "")
    except _AnotherError as error:
        raise RunError(f"{path}: expected {error}") from None


class _AnotherError(Exception):
    """An entry is of another form."""


def _walk(content, rules, place):
    """Hold what JSON contains against rules, by the keys of its dictionaries."""
    if isinstance(content, list):
        for number, part in enumerate(content):
            _walk(part, rules, f"{place}[{number}]")
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        here = f"{place}.{key}" if place else key
        words, holds = rules.get(key) or rules.get(f"{key[:_BEGINNING]}...", (None, None))
        if holds and not holds(value):
            raise _AnotherError(f"{words} as {here}. Received: {json.dumps(value):.60}.")
        if key in ("difference", "differences"):
            _walk(value, CHANGES, here)
        elif key == "by":
            for attribute, groups in value.items():
                for name, row in groups.items():
                    _walk(row, RULES, f"{here}.{attribute}.{name}")
        elif rules is CHANGES and key.startswith("per_label"):
            for name, change in (value or {}).items():
                _walk(change, CHANGES, f"{here}.{name}")
        elif key not in CLOSED and not key.startswith("per_label"):
            _walk(value, rules, here)


def _number(low, high):
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _whole(low):
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= MOST


def _is(*kinds):
    return lambda value: isinstance(value, kinds)


def _or_null(holds):
    return lambda value: value is None or holds(value)


def _any(*of):
    return lambda value: any(holds(value) for holds in of)


def _list_of(holds, count=None):
    return lambda value: isinstance(value, list) and all(map(holds, value)) and count in (None, len(value))


def _dict_of(holds):
    return lambda value: isinstance(value, dict) and all(map(holds, value.values()))


_share, _change = _number(-SLACK, 1 + SLACK), _number(-1 - SLACK, 1 + SLACK)
_ends = _or_null(lambda value: _list_of(_share, 2)(value) and value[0] <= value[1] + SLACK)
_any_number = _number(-math.inf, math.inf)
_plain = _or_null(_any(_is(str), _any_number))
_not_negative = _number(0, math.inf)

_SHARE, _LENGTH = ("a number from 0 to 1, or null", _or_null(_share)), ("a number from 0 to 1", _share)
_COUNT, _MAYBE_COUNT = ("a whole number", _whole(0)), ("a whole number or null", _or_null(_whole(0)))
_TEXT, _MAYBE_TEXT = ("a text", _is(str)), ("a text or null", _or_null(_is(str)))
_TEXTS, _GROUP = ("a list of texts", _list_of(_is(str))), ("a dictionary", _is(dict))
_ROWS = "a list of dictionaries", _list_of(_is(dict))
_ENDS = "two numbers from 0 to 1 in their order, or null", _ends
_SHARES = "a number from 0 to 1, or null, for each label", _dict_of(_or_null(_share))
_CHANGE = "a number from -1 to 1, or null", _or_null(_change)
_FLAG = "true or false", _is(bool)

# By key; `abcdefghi...` is all keys that begin so.
RULES = {
    **dict.fromkeys(
        ("macro_auc", "macro_ap", "macro_sensitivity", "macro_specificity", "accuracy", "robust_accuracy", "macro",
         "micro", "brier", "calibration_error", "hidden", "invented", "unchanged", "balanced_error",
         "clean_balanced_error", "same_for_all_auc", "own_epsilon", "step_size"), _SHARE),
    **dict.fromkeys(("epsilon", "alpha", "sigma"), _LENGTH),
    **dict.fromkeys(("schema", "images", "levels", "parameters", "epochs", "draws"), _COUNT),
    **dict.fromkeys(("steps", "restarts", "best_epoch"), _MAYBE_COUNT),
    **dict.fromkeys(("attack", "title", "status", "text", "task", "name", "note", "sha256", "verdict"), _TEXT),
    **dict.fromkeys(("commit", "selected_on", "through", "run"), _MAYBE_TEXT),
    **dict.fromkeys(("label_names", "undefined_labels", "members"), _TEXTS),
    **dict.fromkeys(("synthetic", "undefended"), _FLAG),
    **dict.fromkeys(("evaluations", "audit", "models", "radii", "points", "severities"), _ROWS),
    **dict.fromkeys(("data", "training", "steps_curve", "stored", "f1", "recall", "baseline"), _GROUP),
    **dict.fromkeys(("radius", "largest_radius", "seconds"), ("a number that isn't negative", _not_negative)),
    **dict.fromkeys(("macro_auc_interval", "balanced_error_interval"), _ENDS),
    "versions": ("texts by name", _dict_of(_or_null(_is(str)))),
    "hardware": ("texts and numbers by name", _dict_of(_any(_plain, _list_of(_plain)))),
    "config": ("options by name", _dict_of(_any(_plain, _is(bool), _list_of(_any(_is(str), _any_number))))),
    "thresholds": ("a number for each of them", _dict_of(_any(_any_number, _dict_of(_any_number)))),
    "counts": ("a whole number for each split", _dict_of(_whole(0))),
    "positives": ("a whole number for each label", _dict_of(_whole(0))),
    "image_shape": ("three whole numbers", _list_of(_whole(1), 3)),
    "model": ("a text or a dictionary", _is(str, dict)),
    "severity": ("a text, a whole number or null", _or_null(_any(_is(str), _whole(0)))),
    "value": ("a number or null", _or_null(_any_number)),
    "random_start": ("true, false or null", _or_null(_is(bool))),
    "over_alexnet": ("numbers by name", _dict_of(_or_null(_any_number))),
    "confusion": ("a table of two lines of two counts for each label", _dict_of(_list_of(_list_of(_whole(0), 2), 2))),
    "intervals": (f"{_ENDS[0]}, for each score", _or_null(_dict_of(_any(_ends, _dict_of(_ends))))),
    "labels": ("lists of texts by name, or null", _or_null(_dict_of(_list_of(_is(str))))),
    "by": ("scores by groups", _dict_of(_dict_of(_is(dict)))),
    "difference": ("differences of scores", _or_null(_is(dict))),
    "differences": ("lists of differences of scores", _list_of(_any(_is(dict), _list_of(_is(dict))))),
    "per_label...": _SHARES,
}  # fmt: skip
CHANGES = {
    **{key: RULES[key] for key in ("attack", "title", "epsilon")},
    **dict.fromkeys(("difference", "low", "high"), _CHANGE),
    **dict.fromkeys(("p", "p_holm"), _SHARE),
    **dict.fromkeys(("macro_auc", "macro_ap", "macro_sensitivity", "macro_specificity", "balanced_error"),
                    ("a difference or null", _or_null(_is(dict)))),
    "per_label...": ("a difference or null for each label", _or_null(_dict_of(_or_null(_is(dict))))),
}  # fmt: skip
GALLERY = {
    **{key: RULES[key] for key in ("attack", "name", "label_names", "models")},
    **dict.fromkeys(("radii", "thresholds"), ("a list of numbers from 0 to 1", _list_of(_share))),
    "patients": _ROWS,
    "present": _TEXTS,
    "clean": _TEXT,
    "attacked": ("lists of texts", _list_of(_list_of(_is(str)))),
    "answers": ("lists of lists of numbers from 0 to 1", _list_of(_list_of(_list_of(_share)))),
}
_BEGINNING = len("per_label")
# What is in them has names of its own, which may be those of a rule.
CLOSED = ("config", "versions", "hardware", "counts", "positives", "thresholds", "confusion", "intervals", "labels",
          "over_alexnet", "range", "same_for_all", "input_range", "agreement", "attack_settings")  # fmt: skip
