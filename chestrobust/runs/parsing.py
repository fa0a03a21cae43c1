"""How JSON of runs is read, whoever wrote it: numbers are finite, and texts can be printed."""

import json
import math

from chestrobust.errors import printable


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
