"""Cells and tables in Markdown, and numbers as papers print them."""

NONE = "-"


def markdown(header, rows):
    """A table, a list of lines: the first column to the left, the others to the right."""
    widths = [max(2, *(len(row[column]) for row in [header, *rows])) for column in range(len(header))]
    ruler = ["-" * (width - bool(column)) + ":" * bool(column) for column, width in enumerate(widths)]
    return [
        "| "
        + " | ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in [header, ruler, *rows]
    ]


def with_interval(value, ends):
    """A score and its 95 % interval, `.833 [.812, .850]`."""
    if value is None:
        return "undefined"
    return f"{digits(value)} [{NONE}]" if ends is None else f"{digits(value)} [{', '.join(map(digits, ends))}]"


def paired(found):
    """A difference and its interval."""
    if not found or found["difference"] is None:
        return NONE
    ends = NONE if found["low"] is None else ", ".join(digits(found[end], "+") for end in ("low", "high"))
    return f"{digits(found['difference'], '+')} [{ends}]"


def digits(value, sign=""):
    """A score from -1 to 1 as papers print those that can't be larger: without the zero."""
    return "undefined" if value is None else f"{value:{sign}.3f}".replace("0.", ".", 1)
