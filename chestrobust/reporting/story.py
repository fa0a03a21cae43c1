"""The picture of a run: one patient through each model, clean and attacked, and what the model says now."""

import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from chestrobust import titles
from chestrobust.data import metadata
from chestrobust.reporting import figures

FINDINGS = 4  # shown beneath an image; all true ones are, if they are more
# Inches: an image's width, the gaps between, the margins, and a finding's line of text with its bar.
IMAGE, GAP, LEFT, RIGHT, TOP, BOTTOM, LINE, BAR = 2.5, 0.2, 0.5, 0.12, 0.9, 0.45, 0.3, 0.06
HEADING = 9.5, 0.2  # characters to the inch, and the height of a line
SEEN, MISSED, INVENTED, LOST = "\u2713", "\u2717", "+", ", lost"
LEGEND = (
    f"{SEEN} named, {MISSED} missed (shaded: lost to the attack), {INVENTED} invented by the model's report; tick: "
    "threshold, fixed on clean validation images."
)
SHADE = "#f7d3c4"
LONGEST, SHORTEST = 26, 5  # characters of a finding's name


@dataclass(frozen=True)
class Told:
    """What one model says of the patient.

    Attributes:
        name: What the model is called.
        colour: One of `figures.COLOURS`.
        pictures: Images in [0, 1] by what was done to them, `(height, width, channels)`; the first is the clean one.
        answers: Probabilities, as many as pictures, `(versions, num_labels)`.
        reported: bool, likewise: which labels the report names.
        thresholds: Of the probabilities, `(num_labels,)`; None for classes.
    """

    name: str
    colour: str
    pictures: dict
    answers: np.ndarray
    reported: np.ndarray
    thresholds: np.ndarray | None


@figures.plain_settings
def draw(models, label_names, present, *, title, note):
    """A row per model: the clean image, the attacked ones and the last one's perturbation, with findings beneath.

    Args:
        models: `Told`s with pictures of the same names.
        label_names: One per probability.
        present: bool, `(num_labels,)`: which labels the image really has.
        title: Heading of the figure.
        note: What stands at its foot.

    Returns:
        A matplotlib `Figure`.
    """
    shown, names = _shown(models, present), list(models[0].pictures)
    shape = metadata.pixels(models[0].pictures[names[0]]).shape
    tall, columns = IMAGE * shape[0] / shape[1], len(names) + 1
    each = tall + LINE * len(shown) + 2 * GAP
    width = LEFT + columns * (IMAGE + GAP) - GAP + RIGHT
    heading = textwrap.wrap(title, int(HEADING[0] * (width - LEFT)))
    above = TOP + HEADING[1] * (len(heading) - 1)
    height = above + len(models) * each + BOTTOM
    figure = Figure(figsize=(width, height))

    def axes(column, top, high):
        """Axes whose upper edge is `top` inches below the figure's."""
        left = LEFT + column * (IMAGE + GAP)
        return figure.add_axes((left / width, 1 - (top + high) / height, IMAGE / width, high / height))

    figure.text(LEFT / width, 1 - 0.14 / height, "\n".join(heading), fontsize=12, va="top", weight="bold")
    limit = _limit(models, shown)
    for number, one in enumerate(models):
        top = above + number * each
        _name(figure, one, width, height, top, tall)
        for column, name in enumerate(names):
            ax = axes(column, top, tall)
            _image(ax, metadata.pixels(one.pictures[name]))
            if number == 0:
                ax.set_title(textwrap.fill(name, 34), fontsize=9)
            beneath = axes(column, top + tall + 0.06, LINE * len(shown))
            _findings(beneath, one, column, shown, label_names, present, limit)
        _perturbation(axes(columns - 1, top, tall), one, names[-1], "perturbation" if number == 0 else "")
    scale = "" if limit == 1 else f" Bars end at {100 * limit:.0f} %."
    thresholds = LEGEND if models[0].thresholds is not None else LEGEND.partition(";")[0] + "."
    foot = textwrap.fill(f"{thresholds}{scale} {note}", int(13.5 * width))
    figure.text(LEFT / width, 0.08 / height, foot, fontsize=8, va="bottom", color=figures.SOFT, linespacing=1.3)
    return figure


def _shown(models, present):
    """Indices of the findings beneath the images: all true ones, then what is named wrongly, then what changes most."""
    answers = np.stack([one.answers for one in models])
    invented = np.stack([one.reported for one in models]).any(axis=(0, 1)) & ~present
    change = np.abs(answers - answers[:, :1]).max(axis=(0, 1))
    order = np.lexsort((-change, ~invented, ~present))
    return order[: max(FINDINGS, int(present.sum()))]


def _limit(models, shown):
    """Where the bars end: ChestMNIST's probabilities are small, on a full axis their changes would vanish."""
    values = [one.answers[:, shown] for one in models]
    values += [one.thresholds[shown] for one in models if one.thresholds is not None]
    largest = max(float(value.max()) for value in values)
    return next(end for end in (0.1, 0.2, 0.5, 1) if largest <= end)


def _name(figure, one, width, height, top, tall):
    """The model's name beside its row, in its colour."""
    upper, lower = 1 - top / height, 1 - (top + tall) / height
    figure.add_artist(Line2D([0.38 / width] * 2, [lower, upper], color=one.colour, linewidth=4))
    figure.text(0.2 / width, (upper + lower) / 2, one.name, rotation=90, ha="center", va="center", fontsize=11,
                weight="bold", color=one.colour)  # fmt: skip


def _image(ax, image):
    ax.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _perturbation(ax, one, name, title):
    """The change of an attack, as much enlarged as the grey levels allow."""
    first, last = (metadata.pixels(one.pictures[key]) for key in (next(iter(one.pictures)), name))
    change = last - first
    largest = float(np.abs(change).max())
    factor = max(1, int(0.5 / largest)) if largest else 1
    _image(ax, np.clip(0.5 + factor * change, 0, 1))
    ax.set_title(title, fontsize=9)
    most = titles.length(round(255 * largest, 2) / 255)  # float32 isn't exactly 4/255
    told = f"{name.partition(',')[0]} minus clean, times {factor}\ngrey: unchanged; at most {most}"
    ax.text(0, -0.03, told, transform=ax.transAxes, va="top", fontsize=8.5, color=figures.SOFT, linespacing=1.4)


def _findings(ax, one, column, shown, label_names, present, limit):
    """A line for each finding: named, missed or lost, how probable it was and is, and a slim bar with its threshold."""
    ax.set(xlim=(0, limit), ylim=(len(shown), 0))
    ax.axis("off")
    for row, label in enumerate(shown):
        value, was, named = one.answers[column, label], one.answers[0, label], one.reported[column, label]
        mark = (MISSED, SEEN)[int(named)] if present[label] else INVENTED if named else ""
        colour = figures.INK if present[label] or named else figures.SOFT
        words = f"{_percent(was)} \u2192 {_percent(value)}" if column else _percent(value)
        style = {"fontsize": 9, "color": colour, "va": "bottom", "weight": "bold" if present[label] else "normal"}
        lost = present[label] and one.reported[0, label] and not named
        if lost:
            ax.fill_between((0, limit), row + 0.06, row + 1.04, color=SHADE, linewidth=0)
        number = ax.text(limit, row + 0.58, words, ha="right", **style)
        _beside(number, ax.text(0, row + 0.58, "", **style), mark, label_names[label], LOST * int(lost))
        height = BAR / LINE
        ax.barh(row + 0.78, limit, height, color="#e4e6e9", linewidth=0)
        ax.barh(row + 0.78, value, height, color=one.colour, alpha=1 if present[label] else 0.55, linewidth=0)
        if one.thresholds is not None:
            cut = one.thresholds[label]
            ax.plot([cut, cut], [row + 0.65, row + 0.98], color=figures.INK, linewidth=1.3, solid_capstyle="butt")


def _beside(number, finding, mark, name, end):
    """Fill in a finding's text, its name as long as it keeps clear of the number."""
    renderer = FigureCanvasAgg(number.figure).get_renderer()
    free = number.get_window_extent(renderer).x0 - 0.08 * number.figure.dpi
    for length in range(LONGEST, SHORTEST - 1, -1):
        finding.set_text(f"{mark} {titles.shortened(name, length)}{end}".lstrip())
        if finding.get_window_extent(renderer).x1 < free:
            return


def _percent(value):
    return f"{100 * value:.0f} %"
