"""Graphs of numbers as functions of arrays and results; each returns a `Figure` and leaves saving to the caller."""

import numpy as np

from chestrobust import catalogue, titles
from chestrobust.reporting import figures, verdict

ATTACKS = (*figures.COLOURS[2:], figures.INK, figures.SOFT)  # the first two are a baseline's and a robust model's
FEW = 6  # attacks; more lines have their legend beneath, and bands where several attacks are summed up alone
ORDERED = ("#c6dbef", "#6baed6", "#2171b5", "#08306b")  # more of the same thing is darker


@figures.plain_settings
def curves(results):
    """Macro AUC over the radius, an attack a line, and over the number of PGD steps; both must end up flat or at 0.

    With a single radius, a dot with its interval for each attack.

    Args:
        results: What `evaluate.py` writes.

    Returns:
        A matplotlib `Figure`.
    """
    clean, *entries = results["evaluations"]
    radii = {entry["epsilon"] for entry in entries if verdict.has_radius(entry)}
    count = len({entry["attack"] for entry in entries})
    title = f"{titles.model(results['model'])} on {titles.data_title(results['data'])}. "
    figure = figures.headed(f"{title}{verdict.trust(results['audit'])}", (11, max(4.8, 0.25 * count + 1.6)))
    attacked, steps = figure.subplots(1, 2)
    if len(radii) == 1:
        _dots(attacked, [clean, *entries], radii.pop())
    else:
        _lines(attacked, clean, entries)
    _over_steps(steps, results["steps_curve"])
    handles, labels = attacked.get_legend_handles_labels()
    if len(labels) > FEW:
        figure.legend(handles, labels, loc="outside lower left", ncols=5, fontsize=8, frameon=False)
    elif labels:
        attacked.legend(fontsize=8)
    return figure


def _dots(ax, rows, epsilon):
    """Each attack's AUC and interval at the one radius; those without one, such as clean, say so by their name."""
    rows = [row for row in rows if row["macro_auc"] is not None]
    for place, row in enumerate(rows):
        ends = verdict.interval(row, "macro_auc")
        if ends:
            ax.plot(ends, [place, place], color=figures.SOFT, linewidth=1.6)
        ax.plot(row["macro_auc"], place, figures.MARKERS[place == 0], color=figures.INK, markersize=6)
        ax.annotate(
            f"{row['macro_auc']:.3f}", (1.03, place), xycoords=("axes fraction", "data"), va="center", fontsize=8
        )
    ax.axvline(0.5, color=figures.SOFT, linewidth=0.8, linestyle=":")
    ax.annotate(" chance", (0.5, 1), xycoords=("data", "axes fraction"), va="top", fontsize=7)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.5))
    ax.set_yticks(range(len(rows)), [titles.name(row["attack"]) for row in rows], fontsize=8)
    ax.set_xlabel(f"macro AUC at epsilon {titles.length(epsilon)}; bars: 95 % intervals")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", color=figures.LINE, linewidth=0.6)


def _lines(ax, clean, entries):
    """Each attack's AUC over the radius; what has none has no place here."""
    names = dict.fromkeys(entry["attack"] for entry in entries if verdict.has_radius(entry))
    for number, name in enumerate(names):
        line = [clean, *(entry for entry in entries if entry["attack"] == name)]
        x = [entry["epsilon"] for entry in line]
        y = np.array([np.nan if entry["macro_auc"] is None else entry["macro_auc"] for entry in line])
        style = {"marker": _of(figures.MARKERS, number), "linestyle": _of(figures.DASHES, number // 6)}
        colour = _of(ATTACKS, number)
        width = 2.4 if name in titles.SUMS else 1.2  # what it comes to stands out
        ax.plot(x, y, **style, color=colour, markersize=5, linewidth=width, label=titles.name(name))
        ends = [verdict.interval(entry, "macro_auc") or [np.nan, np.nan] for entry in line]
        if len(names) <= FEW or name in titles.SUMS:
            ax.fill_between(x, *np.array(ends).T, color=colour, alpha=0.12, linewidth=0)
    figures.radius_axis(ax, [entry["epsilon"] for entry in entries if verdict.has_radius(entry)])
    ax.set_xlabel("epsilon, in [0, 1] pixel units; bands: 95 % intervals")
    _of_auc(ax)


def _over_steps(ax, curve):
    points = [(point["steps"], point["macro_auc"]) for point in curve["points"] if point["macro_auc"] is not None]
    ax.plot(*zip(*points, strict=True), marker="o", markersize=5, linewidth=1.2, color=figures.INK)
    ax.set_xscale("log")
    ax.set_xticks([point["steps"] for point in curve["points"]], [str(point["steps"]) for point in curve["points"]])
    ax.minorticks_off()
    ax.set_xlabel(f"PGD steps, epsilon {titles.length(curve['epsilon'])}, {curve['images']} test images")
    _of_auc(ax)


def _of_auc(ax):
    ax.axhline(0.5, color=figures.SOFT, linewidth=0.8, linestyle=":")
    ax.annotate("chance", (1, 0.5), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
    ax.set_ylim(-0.02, 1.02)
    ax.set_ylabel("macro AUC")
    ax.spines[["top", "right"]].set_visible(False)


def _of(values, number):
    return values[number % len(values)]


@figures.plain_settings
def findings(versions, label_names, *, title, colour):
    """Per label the share of true findings that a report misses, and of absent ones that it invents.

    Args:
        versions: Confusion matrices by what was done to the images, `(num_labels, 2, 2)`, `[[TN, FP], [FN, TP]]`; the
            first is clean.
        label_names: One per label.
        title: Heading of the figure.
        colour: The model's.
    """
    figure = figures.headed(title, (11, 0.42 * len(label_names) + 1.7))
    left, right = figure.subplots(1, 2, sharey=True)
    places, height = np.arange(len(label_names)), 0.8 / len(versions)
    for ax, row, column, name in ((left, 1, 0, "missed: true findings"), (right, 0, 1, "invented: absent findings")):
        for number, (version, matrices) in enumerate(versions.items()):
            counts, totals = matrices[:, row, column], matrices[:, row].sum(axis=1)
            bars = ax.barh(
                places + (number - (len(versions) - 1) / 2) * height,
                counts / np.maximum(totals, 1),
                height,
                label=version,
                color=(figures.LINE, colour)[number > 0],
                hatch=("", "///")[number > 0],
                edgecolor=figures.SOFT,
                linewidth=0.5,
            )
            ax.bar_label(
                bars, [f"{n} of {total}" for n, total in zip(counts, totals, strict=True)], fontsize=7, padding=2
            )
        ax.set(xlim=(0, 1.12), xlabel=f"share of {name.partition(': ')[2]}", title=name.partition(":")[0])
        ax.spines[["top", "right"]].set_visible(False)
    left.set_yticks(places, label_names)
    left.invert_yaxis()
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(versions), frameon=False)
    return figure


@figures.plain_settings
def confusion(panels, *, title):
    """Confusion matrices: counts, shaded by their share of the true class.

    Args:
        panels: By panel title: the matrix, true down and predicted across, and the names of its rows and columns.
        title: Heading of the figure.
    """
    width = max(len(names) for _, names in panels.values())
    size = (max(7, len(panels) * (0.75 * width + 1)), 0.5 * width + 2)
    figure = figures.headed(title, size)
    for ax, (name, (matrix, names)) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), count in np.ndenumerate(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            ax.text(column, row, f"{count}", ha="center", va="center", fontsize=8, color=colour)
        ax.set_title(name, fontsize=9)
        ax.set_xticks(range(len(names)), names, fontsize=7)
        ax.set_yticks(range(len(names)), names, fontsize=7)
    figure.supxlabel("predicted (darker: a larger share of the true class)", fontsize=9)
    figure.supylabel("true", fontsize=9)
    return figure


@figures.plain_settings
def reliability(panels, *, title):
    """How often a finding is there that a model says with some probability; on the diagonal they agree.

    Args:
        panels: By panel title, by model: its colour, mean probabilities, frequencies and counts of the bins, NaN where
            a bin is empty, and the calibration error.
        title: Heading of the figure.
    """
    figure = figures.headed(title, (5.2 * len(panels) + 0.6, 5.6))
    axes = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=[4, 1])
    for (upper, lower), (panel, found) in zip(axes.T, panels.items(), strict=True):
        upper.plot([0, 1], [0, 1], color=figures.SOFT, linewidth=0.8, linestyle=":")
        for number, (name, (colour, means, frequencies, counts, error)) in enumerate(found.items()):
            style = {"marker": figures.MARKERS[number], "linestyle": figures.DASHES[number], "color": colour}
            there = counts > 0
            label = f"{name}, calibration error {error:.3f}"
            upper.plot(means[there], frequencies[there], **style, markersize=5, linewidth=1.4, label=label)
            edges = np.linspace(0, 1, len(counts) + 1)
            lower.stairs(counts, edges, color=colour, linestyle=figures.DASHES[number], linewidth=1.4)
        upper.set(title=panel, xlim=(0, 1), ylim=(-0.02, 1.02))
        lower.set_yscale("log")
        lower.minorticks_off()
        lower.yaxis.set_major_formatter("{x:.0f}")
        lower.set_xlabel("predicted probability")
        # Beneath: inside, it would hide bins, which may be anywhere.
        told = upper.get_legend_handles_labels()
        lower.legend(*told, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.5), frameon=False)
        for ax in (upper, lower):
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("how often it is there")
    axes[1, 0].set_ylabel("answers")
    return figure


@figures.plain_settings
def features(points, groups, *, names, title, ordered=False):
    """Two-dimensional features of images, a panel each for clean and attacked, on the same axes.

    Args:
        points: `(count, 2)` by panel name.
        groups: Name of each image's group, `(count,)`.
        names: The groups, as the legend lists them.
        title: Heading of the figure.
        ordered: Whether a later group has more of something: it is darker then.
    """
    figure = figures.headed(title, (10, 5))
    panels = figure.subplots(1, len(points), sharex=True, sharey=True)
    for ax, (panel, places) in zip(panels, points.items(), strict=True):
        for number, name in enumerate(names):
            chosen = places[np.asarray(groups) == name]
            colour = _of(ORDERED if ordered else figures.COLOURS, number)
            style = {"marker": _of(figures.MARKERS, number), "edgecolors": figures.SOFT, "linewidths": 0.3}
            ax.scatter(*chosen.T, s=16, color=colour, alpha=0.8, label=name, **style)
        ax.set_title(panel, fontsize=9)
        ax.set(xticks=[], yticks=[])
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return figure


@figures.plain_settings
def history(columns, *, best, title, colour=figures.INK):
    """Loss and AUC over the epochs.

    Args:
        columns: Values per epoch by name, from `history.csv`.
        best: Epoch of the checkpoint that was kept, from 1, or None.
        title: Heading of the figure.
        colour: The model's.
    """
    figure = figures.headed(title, (10, 4.3))
    for ax, kind in zip(figure.subplots(1, 2), ("loss", "auc"), strict=True):
        lines = {kind: "training", titles.validation_score(kind): "validation"}
        for attack in (*catalogue.ATTACKS, *titles.SUMS):
            lines.setdefault(titles.validation_score(kind, attack), f"validation {titles.name(attack)}")
        for number, name in enumerate(name for name in columns if name in lines):
            style = {"marker": _of(figures.MARKERS, number), "linestyle": _of(figures.DASHES, number), "color": colour}
            values = columns[name]
            ax.plot(np.arange(1, len(values) + 1), values, **style, markersize=4, label=lines[name])
        if best:
            ax.axvline(best, color=figures.SOFT, linestyle=":", linewidth=1, label="kept")
        ax.set_xlabel("epoch")
        ax.set_ylabel({"loss": "loss", "auc": "macro AUC"}[kind])
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
    # Beneath both, whose lines are called the same: inside, it would hide one of few epochs.
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)
    return figure


@figures.plain_settings
def search_history(values, *, title):
    """The score of each complete trial of a search, and the best so far.

    Args:
        values: Pairs of a trial's number and its score, by number.
        title: Heading of the figure.
    """
    figure = figures.headed(title, (7, 4))
    ax = figure.subplots()
    numbers, scores = np.array(values).T
    ax.scatter(numbers, scores, s=18, color=figures.SOFT, label="trial")
    ax.step(numbers, np.maximum.accumulate(scores), where="post", color=figures.INK, label="best so far")
    ax.set_xlabel("trial")
    ax.set_ylabel("validation macro AUC")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


@figures.plain_settings
def importance(shares, *, title):
    """How much of a score's variance each option explains, as bars; `shares` by option name."""
    figure = figures.headed(title, (7, 0.4 * len(shares) + 1.6))
    ax = figure.subplots()
    names = sorted(shares, key=shares.get)
    bars = ax.barh([name.replace("_", " ") for name in names], [shares[name] for name in names], color=figures.SOFT)
    ax.bar_label(bars, fmt="%.2f", fontsize=8, padding=3)
    ax.set_xlabel("share of the variance")
    ax.spines[["top", "right"]].set_visible(False)
    return figure
