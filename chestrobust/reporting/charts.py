"""Charts of the report page as SVG text: small functions of numbers. Colours, fonts and themes are the page's own.

Elements are made by `xml.etree.ElementTree`, which escapes every text: names of labels and runs come from strangers.
"""

import math
from dataclasses import dataclass, field
from xml.etree import ElementTree

from chestrobust import titles

WIDTH, TOP, BOTTOM, LEFT, RIGHT = 480, 12, 42, 54, 112  # of a chart in its own units; phones show it at four fifths
MARKERS = "osd^"  # circle, square, diamond, triangle: told apart without colour
DASHES = ("", "7 3", "2 3", "9 3 2 3")
LINE = 15  # between the baselines of two texts


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        name: What stands at its end.
        colour: Number of its colour: the model's.
        points: `(x, y, ends)`; the ends of the interval, or None.
        style: Number of its marker and dashes, or None for that of the colour.
    """

    name: str
    colour: int
    points: list = field(default_factory=list)
    style: int | None = None

    @property
    def look(self):
        return self.colour if self.style is None else self.style


def curves(series, *, title, x_label, y_label="macro AUC", x_ticks, y_limits=(0.0, 1.0), logarithmic=False, at=None):
    """Lines over a length or a count, each with its name at its end.

    Args:
        series: `Series`s; empty ones are left out.
        title: What a screen reader says.
        x_label, y_label: Titles of the axes.
        x_ticks: Pairs of a place and its text.
        y_limits: Ends of the axis.
        logarithmic: Whether x counts in factors.
        at: Place of a vertical line, or None.

    Returns:
        SVG text, empty where nothing can be drawn.
    """
    series = [one for one in series if one.points]
    if not series:
        return ""
    height = 270
    across = _scale([x for one in series for x, _, _ in one.points], LEFT, WIDTH - RIGHT, logarithmic)
    low, high = y_limits
    up = lambda y: height - BOTTOM - (min(max(y, low), high) - low) / (high - low) * (height - BOTTOM - TOP)  # noqa: E731
    svg = _svg(height, title)
    for y in _ticks(low, high):
        _add(svg, "line", "grid", x1=LEFT, x2=WIDTH - RIGHT, y1=up(y), y2=up(y))
        _add(svg, "text", "tick end", f"{y:.3g}", x=LEFT - 6, y=up(y) + 4)
    for x, text in _apart([(across(x), text) for x, text in x_ticks]):
        _add(svg, "text", "tick middle", text, x=x, y=height - BOTTOM + 17)
    _add(svg, "text", "axis middle", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=height - 6)
    _add(svg, "text", "axis middle", y_label, x=12, y=height / 2, transform=f"rotate(-90 12 {height / 2:g})")
    if at is not None:
        _add(svg, "line", "mark", x1=across(at), x2=across(at), y1=TOP, y2=height - BOTTOM)
    for one in series:
        _line(svg, one, across, up)
    ends = _spread([(up(one.points[-1][1]), one) for one in series], TOP + 4, height - BOTTOM)
    for y, one in ends:
        _add(svg, "text", f"label m{one.colour % 6}", titles.shortened(one.name, 14), x=WIDTH - RIGHT + 9, y=y + 4)
    return ElementTree.tostring(svg, encoding="unicode")


def dots(rows, *, title, x_label, limits=(0.0, 1.0)):
    """A line for each name, on which each model has a dot with its interval.

    Args:
        rows: Pairs of a name and `(colour, value, ends)` triples; what has no value is left out.
        title, x_label, limits: As in `curves`.
    """
    if not rows:
        return ""
    left, right, apart = 150, WIDTH - 16, 8
    step = max(26, apart * max(len(entries) for _, entries in rows) + 10)
    height = TOP + step * len(rows) + BOTTOM
    low, high = limits
    across = lambda x: left + (min(max(x, low), high) - low) / (high - low) * (right - left)  # noqa: E731
    svg = _svg(height, title)
    for x in _ticks(low, high):
        _add(svg, "line", "grid", x1=across(x), x2=across(x), y1=TOP, y2=height - BOTTOM)
        _add(svg, "text", "tick middle", f"{x:.3g}", x=across(x), y=height - BOTTOM + 17)
    _add(svg, "text", "axis middle", x_label, x=(left + right) / 2, y=height - 6)
    for number, (name, entries) in enumerate(rows):
        y = TOP + step * (number + 0.5)
        _add(svg, "text", "tick end", titles.shortened(name, 23), x=left - 8, y=y + 4)
        shown = [entry for entry in entries if entry[1] is not None]
        for place, (colour, value, ends) in enumerate(shown):
            level = y + apart * (place - (len(shown) - 1) / 2)
            if ends:
                _add(svg, "line", f"interval m{colour % 6}", x1=across(ends[0]), x2=across(ends[1]), y1=level, y2=level)
            _marker(svg, colour, across(value), level)
    return ElementTree.tostring(svg, encoding="unicode")


def above(value):
    """A round number that isn't below `value`, for the end of an axis."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(factor * power for factor in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15) if factor * power >= value)


def swatch(colour):
    """A model's marker on its line, for legends."""
    svg = ElementTree.Element("svg", {"viewBox": "0 0 34 14", "class": "swatch", "aria-hidden": "true"})
    _add(svg, "line", f"line m{colour % 6}", x1=1, x2=33, y1=7, y2=7, **_dashes(colour))
    _marker(svg, colour, 17, 7)
    return ElementTree.tostring(svg, encoding="unicode")


def _svg(height, title):
    svg = ElementTree.Element(
        "svg", {"viewBox": f"0 0 {WIDTH} {height}", "class": "chart", "role": "img", "aria-label": title}
    )
    ElementTree.SubElement(svg, "title").text = title
    return svg


def _add(parent, tag, classes, text=None, **attributes):
    values = {
        name.replace("_", "-"): f"{value:.1f}" if isinstance(value, float) else str(value)
        for name, value in attributes.items()
    }
    ElementTree.SubElement(parent, tag, {"class": classes, **values}).text = text


def _line(svg, one, across, up):
    places = [(across(x), up(y)) for x, y, _ in one.points]
    bounded = [(across(x), up(ends[0]), up(ends[1])) for x, _, ends in one.points if ends]
    if len(bounded) > 1:
        outline = [(x, low) for x, low, _ in bounded] + [(x, high) for x, _, high in reversed(bounded)]
        _add(svg, "polygon", f"band m{one.colour % 6}", points=_points(outline))
    _add(svg, "polyline", f"line m{one.colour % 6}", points=_points(places), **_dashes(one.look))
    # More would hide the line.
    for x, y in places if len(places) <= 15 else places[-1:]:
        _marker(svg, one.colour, x, y, one.look)


def _points(places):
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _dashes(colour):
    dashes = DASHES[colour % len(DASHES)]
    return {"stroke_dasharray": dashes} if dashes else {}


def _marker(svg, colour, x, y, look=None):
    classes, kind = f"marker m{colour % 6}", MARKERS[(colour if look is None else look) % len(MARKERS)]
    if kind == "o":
        _add(svg, "circle", classes, cx=x, cy=y, r=4)
    elif kind == "s":
        _add(svg, "rect", classes, x=x - 3.6, y=y - 3.6, width=7.2, height=7.2)
    else:
        corners = {"d": ((0, -5), (5, 0), (0, 5), (-5, 0)), "^": ((0, -5), (4.5, 4), (-4.5, 4))}[kind]
        _add(svg, "polygon", classes, points=_points([(x + right, y + down) for right, down in corners]))


def _scale(values, start, end, logarithmic):
    """A function from values to places."""
    turn = math.log if logarithmic else float
    low, high = turn(min(values)), turn(max(values))
    width = (high - low) or 1.0
    return lambda value: start + (turn(value) - low) / width * (end - start)


def _ticks(low, high):
    """Round numbers from one end of an axis to the other, at most seven."""
    least = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))
    return [low + number * step for number in range(round((high - low) / step) + 1)]


def _spread(labels, top, bottom):
    """Labels moved as little as need be so that none covers another: pairs of a height and what belongs to it."""
    placed, level = [], top - LINE
    for y, one in sorted(labels, key=lambda label: label[0]):
        level = max(y, level + LINE)
        placed.append([level, one])
    ceiling = bottom
    for label in reversed(placed):
        label[0] = min(label[0], ceiling)
        ceiling = label[0] - LINE
    return placed


def _apart(ticks, gap=34):
    """Ticks without those that would touch the one before."""
    kept = []
    for x, text in sorted(ticks):
        if not kept or x - kept[-1][0] >= gap:
            kept.append((x, text))
    return kept
