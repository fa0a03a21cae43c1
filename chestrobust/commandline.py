"""Dataclass fields as command-line options: what a value may be, and one line when it isn't."""

import argparse
import dataclasses
import math

from chestrobust import catalogue, files
from chestrobust.errors import printable


def option(default, text, parse=str, **settings):
    """A dataclass field that is also a command-line option, or an argument if the default is `ARGUMENT`.

    `parse` and `settings` go to argparse.
    """
    return dataclasses.field(default=default, metadata={"help": text, "parse": parse, **settings})


ARGUMENT = dataclasses.MISSING


def length(text):
    """Parse a length in pixel units of [0, 1], as a decimal or as papers write it: `8/255`."""
    try:
        numerator, slash, denominator = text.partition("/")
        value = float(numerator) / (float(denominator) if slash else 1)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(
            f"expected a number in [0, 1] such as 0.03 or 8/255. Received: {text!r}"
        ) from None
    if not 0 <= value <= 1:
        hint = f" Did you mean {text}/255?" if 1 < value <= 255 and "/" not in text else ""
        raise argparse.ArgumentTypeError(
            f"images run from 0 to 1, so a length must lie in [0, 1]. Received: {text}.{hint}"
        )
    return value


def number(kind, low, high=math.inf, *, open_low=False, open_high=False):
    """A parser for an `int` or `float` between `low` and `high`; an open end is excluded."""
    bounds = f"{'>' if open_low else '>='} {low}"
    if high < math.inf:
        bounds += f" and {'<' if open_high else '<='} {high}"

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        inside = (low < value if open_low else low <= value) and (value < high if open_high else value <= high)
        if not inside or math.isinf(value):
            noun = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"expected {noun} {bounds}. Received: {text}")
        return value

    return parse


def file_name(text):
    """Check a name that becomes a file's: no folder in it, and nothing that some system wouldn't take."""
    if text.startswith(".") or not files.is_portable(text):
        raise argparse.ArgumentTypeError(
            f"expected a name of a file on any system, without folders. Received: {text!r}"
        )
    return text


def extra_attack(text):
    """Check the name of an attack for `--extra`; whether its finding exists is known once the data are."""
    row, finding = catalogue.attack(text), text.partition("=")[2]
    if not (row and row.extra and row.label == bool(finding)):
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(catalogue.extras())}. Received: {text}")
    return text


class HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Descriptions as they are written, and the default of every option."""


class OneLineParser(argparse.ArgumentParser):
    """argparse without abbreviations, whose errors are one line."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, formatter_class=HelpFormatter, **settings)

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {printable(message)}\n")


def parser_of(config_class, settings):
    """The parser of a dataclass whose fields are `option`s; `settings` go to argparse."""
    parser = OneLineParser(**settings)
    # In the help, a script's own options come before those it shares.
    for field in sorted(dataclasses.fields(config_class), key=lambda field: field.kw_only):
        settings = dict(field.metadata)
        kind = settings.pop("parse")
        if field.name in getattr(config_class, "WITHOUT", ()):
            continue
        if kind is bool:
            settings["action"] = argparse.BooleanOptionalAction
        else:
            settings["type"] = kind
        if field.default is ARGUMENT:
            parser.add_argument(field.name, **settings)
            continue
        # A suppressed default keeps "(default: None)" out of the help; the dataclass supplies the value.
        hidden = field.default is None or isinstance(field.default, tuple)
        default = argparse.SUPPRESS if hidden else field.default
        # `import` can't be the name of a field.
        parser.add_argument(
            "--" + field.name.rstrip("_").replace("_", "-"), dest=field.name, default=default, **settings
        )
    return parser
