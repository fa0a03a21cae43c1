"""How figures look and are written, and those of images: functions of arrays that return a `Figure`.

A model has the same colour in all figures and on the report page: `COLOURS[0]` is an undefended one.
"""

import functools
import math
import textwrap

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from chestrobust import files, titles
from chestrobust.data import metadata

# Okabe and Ito's, some darker: told apart by the colour-blind, and in grey by what goes along, markers and dashes.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#b9578f", "#b07800", "#2f8fc4")
INK, SOFT, LINE = "#1b1e23", "#565d66", "#d5d9de"
MARKERS, DASHES = "osD^vXP*<>", ("-", "--", ":", "-.")
FORMATS = (".png", ".svg")


def plain_settings(draw):
    """A function that draws with matplotlib's own settings, whatever the user's are: LaTeX may not be there."""

    @functools.wraps(draw)
    def drawn(*arguments, **options):
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            # Names come from strangers, and a dollar in them is no formula.
            matplotlib.rcParams.update(
                {"text.parse_math": False, "svg.hashsalt": "chestrobust", "hatch.linewidth": 0.6}
            )
            return draw(*arguments, **options)

    return drawn


def model_colours(undefended):
    """A colour for each model: the first undefended one has the first on every figure, others theirs in turn.

    Args:
        undefended: Of each model, whether it was trained on clean images alone.
    """
    first = next((number for number, one in enumerate(undefended) if one), None)
    others = iter(range(1, len(undefended) + 1))
    return [COLOURS[0 if number == first else next(others) % len(COLOURS)] for number in range(len(undefended))]


@plain_settings
def save(figure, path):
    """Write a figure in the format of the path's ending; the same figure gives the same bytes."""
    ending = path.suffix
    figure.savefig(path, dpi=130, format=ending[1:], metadata={"Date" if ending == ".svg" else "Software": None})


def write(figure, path):
    """Write a figure as PNG and as SVG, each whole or not at all.

    Args:
        path: Path of both, without their endings.

    Returns:
        Path of the PNG.
    """
    for place in (path.with_name(path.name + ending) for ending in FORMATS):
        with files.writing(place) as temporary:
            save(figure, temporary)
    return path.with_name(path.name + FORMATS[0])


def headed(title, size):
    """An empty figure of a size in inches with a heading, in as many lines as it takes."""
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(textwrap.fill(title, int(11 * size[0])), fontsize=11)
    return figure


def radius_axis(ax, epsilons):
    """Let the axis of radii have the radii's own unit, k/255, if all of them are whole grey levels.

    Args:
        ax: The axes; x is a radius in pixel units of [0, 1].
        epsilons: What is drawn there.
    """
    levels = [255 * epsilon for epsilon in epsilons]
    if not any(levels) or any(abs(level - round(level)) > 1e-6 for level in levels):
        return
    step = 2 ** max(0, math.ceil(math.log2(max(levels) / 6)))
    ax.xaxis.set_major_locator(MultipleLocator(step / 255))
    ax.xaxis.set_major_formatter(lambda epsilon, _: titles.radius(epsilon) if epsilon > 0 else "0")


@plain_settings
def explanation(rows, *, title):
    """Maps over images: a row per model and version of the image, a column per map.

    Args:
        rows: A row's name, its model's colour, and a dictionary from a panel's title to `(kind, image, map)`. Kinds:
            `"image"` (no map), `"heat"` (0 or more, `(height, width)`), `"signed"` (in units of its model's scale).
        title: Heading of the figure.

    Returns:
        A matplotlib `Figure`.
    """
    columns = max(len(panels) for *_, panels in rows)
    figure = headed(title, (2.6 * columns + 1.4, 2.9 * len(rows) + 0.9))
    axes, shown = figure.subplots(len(rows), columns, squeeze=False), None
    for line, (row, colour, panels) in zip(axes, rows, strict=True):
        for ax in line[len(panels) :]:
            ax.set_visible(False)
        for ax, (name, (kind, image, values)) in zip(line, panels.items(), strict=False):
            empty = kind == "heat" and not values.any()
            _plain(ax, f"{name}\nempty: nothing speaks for it" if empty else name)
            if kind == "signed":
                shown = ax.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
                continue
            ax.imshow(metadata.pixels(image).squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if kind == "heat" and not empty:
                # Each on its own scale: Grad-CAM says where, not how much.
                ax.imshow(values, cmap="inferno", alpha=0.55, vmin=0, vmax=values.max())
        line[0].set_ylabel(textwrap.fill(row, 30), fontsize=9, color=colour)
    if shown is not None:
        bar = figure.colorbar(shown, ax=axes, shrink=0.6, pad=0.01, extend="both", ticks=[-1, 0, 1])
        bar.set_label("contribution to the logit, in units of the panel's scale")
    return figure


@plain_settings
def gallery(rows, *, title):
    """Images in rows with a caption each.

    Args:
        rows: Pairs of a row's name and its `(caption, image)` pairs, as many in each row.
        title: Heading of the figure.
    """
    columns = len(rows[0][1])
    figure = headed(title, (2.1 * columns + 0.6, 2.6 * len(rows) + 0.6))
    for line, (name, pictures) in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        for ax, (caption, image) in zip(line, pictures, strict=True):
            ax.imshow(metadata.pixels(image).squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            _plain(ax, textwrap.fill(caption, 27))
            ax.title.set_fontsize(8)
        line[0].set_ylabel(textwrap.fill(name, 26), fontsize=8)
    return figure


def _plain(ax, title):
    ax.set_title("\n".join(textwrap.fill(line, 36) for line in title.split("\n")), fontsize=9)
    ax.set(xticks=[], yticks=[])
