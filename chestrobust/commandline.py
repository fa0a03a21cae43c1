"""Dataclass fields as command-line options: what a value may be, and one line when it isn't."""

import argparse
import dataclasses
import math
import sys

from chestrobust import __version__, catalogue, files
from chestrobust.errors import ExpectedError, dashed, did_you_mean, printable, setting


def option(default, text, parse=str, *, group=None, formerly=(), **settings):
    """A dataclass field that is also a command-line option, or an argument if the default is `ARGUMENT`.

    An argument with `nargs="*"` may be left out, also where the dataclass is made: it is empty then.

    A flag has `parse=bool`: it can only be switched on if its default is False, and on or off (`--no-`) if it is None.

    Args:
        default: Value of the field where the option isn't given; the help shows it.
        text: What the help says.
        parse: From the text of the command line to a value, or bool.
        group: Title in the help; groups that begin with "more" come last.
        formerly: Names that older versions had for it: still taken, not shown.
        settings: Go to argparse.
    """
    metadata = {"help": text, "parse": parse, "group": group, "formerly": formerly, **settings}
    if settings.get("nargs") == "*":
        return dataclasses.field(default_factory=tuple, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


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


def positive_length(text):
    """Parse a `length` above 0."""
    value = length(text)
    if not value:
        raise argparse.ArgumentTypeError(f"expected a length above 0. Received: {text}")
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


def one_of(choices, parse=str):
    """A parser for one of several values."""

    def parse_choice(text):
        try:
            value = parse(text)
        except ValueError:
            value = None
        if value not in choices:
            names = [str(choice) for choice in choices]
            raise argparse.ArgumentTypeError(
                f"expected one of {', '.join(names)}. Received: {text}.{did_you_mean(text, names)}"
            )
        return value

    return parse_choice


def file_name(text):
    """Check a name that becomes a file's: no folder in it, and nothing that some system wouldn't take."""
    if text.startswith(".") or not files.is_portable(text):
        raise argparse.ArgumentTypeError(
            f"expected a name of a file on any system, without folders. Received: {text!r}"
        )
    return text


def count_or_all(text):
    """Check a number of images, or `all` of them."""
    return text if text == "all" else str(number(int, 1)(text))


def extra_attack(text):
    """Check the name of an attack for `--extra`; whether its finding exists is known once the data are."""
    row, finding = catalogue.attack(text), text.partition("=")[2]
    if not (row and row.extra and row.label in (None, bool(finding))):
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(catalogue.extras())}. Received: {text}")
    return text


class OneLineParser(argparse.ArgumentParser):
    """argparse without abbreviations, whose errors are one line and name the option that was meant."""

    def __init__(self, **settings):
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def parse_args(self, args=None, namespace=None):
        read, unknown = self.parse_known_args(args, namespace)
        if unknown:
            shown = [name for name in self.format_help().replace(",", " ").split() if name.startswith("--")]
            hints = [did_you_mean(name.partition("=")[0], shown) for name in unknown if name.startswith("-")]
            self.error(f"unrecognized arguments: {' '.join(unknown)}.{next(filter(None, hints), '')}")
        return read

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {printable(message)}\n")


def parser_of(config_class, **settings):
    """The parser of a dataclass whose fields are `option`s; what isn't given is left to the dataclass.

    Args:
        config_class: The dataclass; options in its `WITHOUT` are left out.
        settings: Go to argparse.
    """
    parser = OneLineParser(argument_default=argparse.SUPPRESS, **settings)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    # In the help, a script's own options come before those it shares.
    fields = sorted(options(config_class), key=lambda field: field.kw_only)
    titles = dict.fromkeys(field.metadata["group"] for field in fields if field.default is not ARGUMENT)
    groups = {title: parser.add_argument_group(title) for title in sorted(titles, key=_comes_last)}
    usage = ["%(prog)s"]
    for field in fields:
        settings = {name: value for name, value in field.metadata.items() if name not in ("parse", "group", "formerly")}
        settings = _reading(field.metadata["parse"], field.default, settings.pop("choices", None)) | settings
        if field.default is ARGUMENT:
            parser.add_argument(field.name, default=None, **settings)
            usage.append(
                {"?": "[{}]", "*": "[{} ...]", "+": "{} ..."}.get(settings.get("nargs"), "{}").format(
                    settings["metavar"]
                )
            )
            continue
        if field.default is not None and field.default is not False and field.default != ():
            settings["help"] += f" (default: {_shown(field.default)})"
        groups[field.metadata["group"]].add_argument(dashed(field.name), dest=field.name, **settings)
        for former in field.metadata["formerly"]:
            parser.add_argument(dashed(former), dest=former, **settings | {"help": argparse.SUPPRESS})
    parser.usage = " ".join([*usage, "[options]"])
    return parser


def options(config_class):
    """The fields of a dataclass that are options or arguments."""
    return [
        field for field in dataclasses.fields(config_class) if field.name not in getattr(config_class, "WITHOUT", ())
    ]


def _comes_last(title):
    return bool(title) and title.startswith("more")


def _reading(parse, default, choices):
    """How argparse is to read a value."""
    if parse is bool:
        return {"action": "store_true" if default is False else argparse.BooleanOptionalAction}
    if choices is None:
        return {"type": parse}
    return {"type": one_of(choices, parse), "metavar": f"{{{','.join(map(str, choices))}}}"}


def _shown(value):
    """A default as a user would write it: lengths that have no short decimal as k/255."""
    if isinstance(value, tuple):
        return " ".join(map(_shown, value))
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else f"{255 * value:g}/255"
    return str(value)


def given(config_class, arguments=None, **settings):
    """The options that are on the command line, by name; wrong ones end the program with one line and code 2.

    Args:
        config_class: The dataclass.
        arguments: Instead of the command line's.
        settings: Go to argparse.
    """
    return vars(parser_of(config_class, **settings).parse_args(arguments))


def read(config_class, values):
    """Values that a caller gives in Python, by name, as the command line would read them; other names stay.

    Raises:
        ExpectedError: With the first that the command line would refuse.
    """
    fields = {field.name: field for field in options(config_class) if field.name in values}
    return values | {name: _read(field, values[name]) for name, field in fields.items()}


def _read(field, value):
    parse, several = field.metadata["parse"], "nargs" in field.metadata
    if value is None and field.default is None:
        return None
    if parse is bool:
        if isinstance(value, bool):
            return value
        raise ExpectedError(f"{setting(field.name)}: expected True or False. Received: {value}.")
    parse = _reading(parse, field.default, field.metadata.get("choices"))["type"]
    try:
        parts = [parse(str(part)) for part in (value if several else [value])]
    except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
        raise ExpectedError(f"{setting(field.name)}: {error}") from None
    return tuple(parts) if several else parts[0]


def takes(field, value):
    """Whether a value from JSON is of the kind that an option takes, a dataclass's field; choices may have changed."""
    parse = field.metadata["parse"]
    if value is None or isinstance(value, bool) or parse is bool:
        return value is field.default or (isinstance(value, bool) and parse is bool)
    if isinstance(value, list | tuple) != ("nargs" in field.metadata):
        return False
    try:
        return all(parse(str(part)) == part for part in (value if "nargs" in field.metadata else [value]))
    except (ValueError, argparse.ArgumentTypeError):
        return False


def as_arguments(values, config_class):
    """Options by name as the command line has them; those that a dataclass hasn't are left out.

    So is a flag that is off where it can only be switched on.
    """
    fields = {field.name: field for field in options(config_class)}
    fields |= {former: field for field in fields.values() for former in field.metadata["formerly"]}
    arguments = []
    for name, value in values.items():
        if name not in fields:
            continue
        if not isinstance(value, bool):
            arguments.append(f"{dashed(name)}={value}")
        elif value or fields[name].default is not False:
            arguments.append(dashed(name) if value else dashed(f"no_{name}"))
    return arguments


def under_way(text):
    """Tell whoever waits at a terminal what is being done; files of output are spared."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
