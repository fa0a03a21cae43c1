"""Several models under the same attacks on the same images: one table and one figure, from what was written of them.

A comparison holds the settings and data of all, `models` (`name`, `verdict`, and the rows in `evaluations` that all of
them have), and in `differences`, for each model after the first, each row's scores minus the first model's, paired on
the same resamples: see `Measured.minus`.
"""

import textwrap

import numpy as np
from matplotlib.lines import Line2D

from chestrobust import titles
from chestrobust.reporting import figures, verdict
from chestrobust.reporting.cells import digits, markdown, paired, with_interval
from chestrobust.reporting.tables import LEGEND

NAME = 20  # characters of a model's name in a table of 100 columns
BESIDE = {"macro_auc": "Macro AUC", "macro_sensitivity": "Sensitivity", "macro_specificity": "Specificity"}


def place(one, name):
    """Where a comparison goes, without an ending: into the folder around the first run, or the one of a single file.

    Args:
        one: The first `saved.Saved` model.
        name: What its results are called.
    """
    folder = one.run.path.parent if one.own_run else one.run.path
    return folder / f"comparison-{name}"


def tables(told):
    """Scores of all models, clean and at the radius that they are summed up at, and the paired differences, as text."""
    data, names = told["data"], [one["name"] for one in told["models"]]
    rows = [
        [titles.short(row), titles.shortened(name, NAME), *_scores(row)]
        for entries in _rows(told)
        for name, row in zip(names, entries, strict=True)
    ]
    lines = [
        f"{', '.join(names)} on {titles.data_title(data)}: {data['counts']['test']} test images",
        *_radius(told),
        "",
        *markdown(["Attack", "Model", "Macro AUC [95 %]", "Sensitivity", "Specificity"], rows),
        "",
        LEGEND,
    ]
    header = ["Attack", *(f"{name} [95 %]" for name in BESIDE.values())]
    for name, found in zip(names[1:], told["differences"], strict=True):
        shown = {row["title"]: row for row in found}
        cells = [
            [titles.short(row), *(paired(shown[titles.title(row)][key]) for key in BESIDE)] for row, *_ in _rows(told)
        ]
        lines += ["", f"{name} minus {names[0]}, paired on the same resamples", "", *markdown(header, cells)]
        lines += ["", *_by_label(found, told)]
    return "\n".join(lines)


def _rows(told):
    """Tuples of rows, one per model: of clean images, and of all attacks at the radius of the summary."""
    found = zip(*(one["evaluations"] for one in told["models"]), strict=True)
    return [rows for rows in found if rows[0]["attack"] == "clean" or _shown(rows[0], told)]


def _shown(row, told):
    # What has no radius, such as a corruption, is shown too.
    return row["epsilon"] == told["radius"] or (row["attack"] != "clean" and not verdict.has_radius(row))


def _radii(told):
    return sorted({row["epsilon"] for row in told["models"][0]["evaluations"] if verdict.has_radius(row)})


def _radius(told):
    """Which radius the tables are of, where there is one."""
    others = len(_radii(told)) - 1
    more = f"; {others} other radii are in the file" if others > 0 else ""
    return [f"Attacked at epsilon {titles.length(told['radius'])}{more}."] if others >= 0 else []


def _scores(row):
    """AUC with its interval, and the operating point."""
    auc = with_interval(row["macro_auc"], row["intervals"]["macro_auc"])
    return [auc, digits(row["macro_sensitivity"]), digits(row["macro_specificity"])]


def _strongest(told):
    """The first model's row of the attack at the radius under which all have the lowest sum of AUCs; None without.

    It has this sum in the place of its own AUC.
    """
    found = [
        {**rows[0], "macro_auc": sum(row["macro_auc"] for row in rows)}
        for rows in _rows(told)
        if verdict.has_radius(rows[0]) and rows[0]["attack"] not in verdict.PER_LABEL
        if all(row["macro_auc"] is not None for row in rows)
    ]
    return verdict.lowest(found)


def _by_label(found, told):
    """Differences of each label's AUC, clean and under the strongest attack, with Holm's correction over labels."""
    strongest = _strongest(told)
    wanted = ["clean", *([titles.title(strongest)] if strongest else [])]
    columns = [row["per_label_auc"] for title in wanted for row in found if row["title"] == title]
    header = ["Label", "n", "AUC, clean [95 %]", *(["AUC, attacked [95 %]"] if strongest else [])]
    rows = [[label, str(count), *(_label(one[label]) for one in columns)] for label, count in told["positives"].items()]
    attacked = f" Attacked: {titles.title(strongest)}." if strongest else ""
    note = f"n: images with the finding.{attacked}\n* Differs at 5 % over all labels (Holm)."
    return [*markdown(header, rows), "", note]


def _label(found):
    sure = found is not None and found["p_holm"] is not None and found["p_holm"] < 0.05
    return f"{paired(found)}{'*' if sure else ''}"


@figures.plain_settings
def figure(told):
    """Macro AUC of all models under the worst attack on each, and beside it how far the others are from the first.

    Over the radius, differences under the attack that is the strongest on all; with a single radius, for each attack.

    Args:
        told: The comparison.

    Returns:
        A matplotlib `Figure`.
    """
    names, several = [one["name"] for one in told["models"]], len(_radii(told)) > 1
    colours = figures.model_colours([one["undefended"] for one in told["models"]])
    height = 4.8 if several else max(4.8, (0.14 + 0.16 * len(names)) * len(_rows(told)) + 1.8)
    drawn = figures.headed(f"{', '.join(names)} on {titles.data_title(told['data'])}", (11, height))
    left, right = drawn.subplots(1, 2, sharey=not several)
    (_over_radius if several else _by_attack)(left, right, told, colours)
    (right.axhline if several else right.axvline)(0, color=figures.SOFT, linewidth=1, linestyle=":")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color=figures.LINE, linewidth=0.5)
        ax.set_axisbelow(True)
    handles = [Line2D([], [], **_style(number, colours)) for number in range(len(names))]
    drawn.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), frameon=False, fontsize=9)
    return drawn


def _over_radius(left, right, told, colours):
    first, attack = told["models"][0]["name"], _strongest(told)
    for number, one in enumerate(told["models"]):
        rows = [verdict.clean_of(one["evaluations"]), *(verdict.worst(one, epsilon) for epsilon in _radii(told))]
        _line(left, [_score(row) for row in rows if row], number, colours)
    shown = ("clean", attack["attack"]) if attack else ("clean",)
    for number, found in enumerate(told["differences"], start=1):
        _line(right, [_difference(row) for row in found if row["attack"] in shown], number, colours)
    left.set(ylim=(-0.02, 1.02), ylabel="macro AUC, worst attack on each")
    under = f", {titles.name(attack['attack'])}" if attack else ""
    right.set_ylabel(textwrap.fill(f"macro AUC minus that of {first}{under}", 44))
    for ax in (left, right):
        figures.radius_axis(ax, _radii(told))
        ax.set_xlabel("epsilon, in [0, 1] pixel units; bands: 95 % intervals")


def _by_attack(left, right, told, colours):
    rows, first = _rows(told), told["models"][0]["name"]
    for number in range(len(told["models"])):
        _dots(left, [_score(entries[number]) for entries in rows], number, colours)
    for number, found in enumerate(told["differences"], start=1):
        by_title = {row["title"]: row for row in found}
        _dots(right, [_difference(by_title[titles.title(entries[0])]) for entries in rows], number, colours)
    left.set_yticks(range(len(rows)), [titles.name(entries[0]["attack"]) for entries in rows], fontsize=8)
    left.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.5))
    at = f" at epsilon {titles.length(told['radius'])}" if _radii(told) else ""
    left.set_xlabel(f"macro AUC{at}; bars: 95 % intervals")
    right.set_xlabel(textwrap.fill(f"macro AUC minus that of {first}", 60))
    right.locator_params(axis="x", nbins=6)


def _score(row):
    """Radius, value, and the ends of its interval; None where there are none."""
    low, high = verdict.interval(row, "macro_auc") or (None, None)
    return row["epsilon"], row["macro_auc"], low, high


def _difference(row):
    found = row["macro_auc"]
    return row["epsilon"], found["difference"], found["low"], found["high"]


def _line(ax, points, number, colours):
    """A model's line over the radius, with a band where there are intervals."""
    x, *scores = np.array([point for point in points if point[1] is not None], float).T if points else ([], [], [], [])
    ax.plot(x, scores[0], **_style(number, colours))
    ax.fill_between(x, *scores[1:], color=colours[number], alpha=0.14, linewidth=0)


def _dots(ax, points, number, colours):
    """A model's dot for each attack, below those of the models before it, with a bar for the interval."""
    for place, (_, value, low, high) in enumerate(points):
        y = place + 0.16 * (number - (len(colours) - 1) / 2)
        if low is not None:
            ax.plot([low, high], [y, y], color=colours[number], linewidth=1.6)
        if value is not None:
            ax.plot(value, y, **_style(number, colours) | {"linestyle": ""})


def _style(number, colours):
    """How a model is drawn: told apart without colours too."""
    marker, dash = figures.MARKERS[number % len(figures.MARKERS)], figures.DASHES[number % len(figures.DASHES)]
    return {"color": colours[number], "marker": marker, "linestyle": dash, "markersize": 5, "linewidth": 1.4}
