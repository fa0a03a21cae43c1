"""Pictures as functions of arrays; each returns a `Figure` and leaves saving to the caller."""

import functools
import textwrap

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from chestrobust import catalogue, titles
from chestrobust.data import metadata
from chestrobust.reporting import tables

COLOURS = ("#222222", "#e69f00", "#0072b2")  # clean, FGSM, PGD: distinct in black and white and to the colour-blind
HATCHES = ("", "///", "...")


def _plain_settings(draw):
    """A function that draws with matplotlib's own settings, whatever the user's are: LaTeX may not be there."""

    @functools.wraps(draw)
    def drawn(*arguments, **options):
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            return draw(*arguments, **options)

    return drawn


@_plain_settings
def perturbation(pictures, probabilities, label_names, *, title, present, count=6):
    """One image clean and attacked, the perturbations, and the probabilities that changed most.

    Args:
        pictures: Images in [0, 1] by name, `(height, width, channels)`; the first is the clean one.
        probabilities: The model's answers by the same names, each `(num_labels,)`.
        label_names: One per probability.
        title: Heading of the figure.
        present: Names of the labels that the image really has; they are marked in the chart.
        count: Number of labels in the chart.

    Returns:
        A matplotlib `Figure`.
    """
    names, pictures = list(pictures), {name: metadata.pixels(picture) for name, picture in pictures.items()}
    clean = pictures[names[0]]
    figure = Figure(figsize=(11, 7.4), layout="constrained")
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(2, len(names))
    for column, name in enumerate(names):
        axes[0, column].imshow(pictures[name].squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes[0, column].set_title(textwrap.fill(name, 34), fontsize=11)
    changes = {name: pictures[name] - clean for name in names[1:]}
    limit = max(1e-6, *(np.abs(change).max() for change in changes.values()))
    for column, (name, change) in enumerate(changes.items(), start=1):
        # Of the three colours of an RGB image, the mean: a diverging map shows one number per pixel.
        shown = axes[1, column].imshow(
            change.mean(axis=-1), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
        )
        axes[1, column].set_title(f"{name.split(',')[0]}: change, at most {np.abs(change).max():.3g}", fontsize=11)
    bar = figure.colorbar(shown, ax=axes[1, 1:], shrink=0.85, pad=0.02)
    bar.set_label("change of a pixel, in [0, 1] units")
    for ax in (*axes[0], *axes[1, 1:]):
        ax.set_xticks([])
        ax.set_yticks([])
    _changes(axes[1, 0], probabilities, label_names, present, count)
    return figure


@_plain_settings
def curves(results):
    """Macro AUC over the radius, an attack a line, and over the number of PGD steps; both must end up flat or at 0.

    Args:
        results: What `evaluate.py` writes.

    Returns:
        A matplotlib `Figure`.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle(
        f"{results['model']} on {titles.data_title(results['data'])}; {tables.verdict(results['audit'])}", fontsize=11
    )
    radii, steps = figure.subplots(1, 2)
    clean, *entries = results["evaluations"]
    # Without a radius there is no place for an attack; what sums up several has no row.
    names = [
        name
        for name in dict.fromkeys(entry["attack"] for entry in entries)
        if (row := catalogue.attack(name)) is None or row.radius
    ]
    for number, name in enumerate(names):
        line = [clean, *(entry for entry in entries if entry["attack"] == name)]
        x = [entry["epsilon"] for entry in line]
        y = np.array([np.nan if entry["macro_auc"] is None else entry["macro_auc"] for entry in line])
        marker = "osv^Dx+*<>"[number % 10]
        (drawn,) = radii.plot(x, y, marker=marker, markersize=5, linewidth=1.2, label=titles.name(name))
        ends = [entry["intervals"]["macro_auc"] or [np.nan, np.nan] for entry in line]
        radii.fill_between(x, *np.array(ends).T, color=drawn.get_color(), alpha=0.12, linewidth=0)
    radii.set_xlabel("epsilon, in [0, 1] pixel units; bands: 95 % intervals")
    if names:
        radii.legend(fontsize=8)
    curve = results["steps_curve"]
    points = [(point["steps"], point["macro_auc"]) for point in curve["points"] if point["macro_auc"] is not None]
    steps.plot(*zip(*points, strict=True), marker="o", markersize=5, linewidth=1.2, color=COLOURS[2])
    steps.set_xscale("log")
    steps.set_xticks([point["steps"] for point in curve["points"]], [str(point["steps"]) for point in curve["points"]])
    steps.minorticks_off()
    steps.set_xlabel(f"PGD steps, epsilon {titles.length(curve['epsilon'])}, {curve['images']} test images")
    for ax in (radii, steps):
        ax.axhline(0.5, color="#999999", linewidth=0.8, linestyle=":")
        ax.set_ylim(-0.02, 1.02)
        ax.set_ylabel("macro AUC")
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _changes(ax, probabilities, label_names, present, count):
    """Bars of the labels whose probability an attack changed most."""
    values = np.stack(list(probabilities.values()))
    chosen = np.argsort(-np.abs(values[1:] - values[0]).max(axis=0))[:count]
    height = 0.8 / len(values)
    for row, name in enumerate(probabilities):
        positions = np.arange(len(chosen)) + (row - (len(values) - 1) / 2) * height
        ax.barh(
            positions,
            values[row, chosen],
            height,
            color=COLOURS[row],
            hatch=HATCHES[row],
            edgecolor="white",
            label=name.split(",")[0],
        )
    marks = [f"{label_names[label]}{' (present)' if label_names[label] in present else ''}" for label in chosen]
    ax.set_yticks(np.arange(len(chosen)), marks)
    ax.invert_yaxis()
    # ChestMNIST's probabilities are small; on a full axis their changes would vanish.
    ax.set_xlim(0, min(1, 1.1 * values[:, chosen].max()))
    ax.set_xlabel("predicted probability")
    ax.set_title("Most changed findings", fontsize=11)
    ax.legend(fontsize=8, ncols=len(values), loc="upper center", bbox_to_anchor=(0.5, -0.13), frameon=False)
    ax.spines[["top", "right"]].set_visible(False)


@_plain_settings
def save(figure, path):
    """Write a figure as a PNG; the same figure gives the same bytes."""
    with matplotlib.rc_context({"hatch.linewidth": 0.6}):
        figure.savefig(path, dpi=130, metadata={"Software": None})


PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999", "#222222")


@_plain_settings
def explanation(rows, *, title):
    """Maps over images: a row per version of the image, a column per map.

    Args:
        rows: A dictionary per row, from a panel's title to `(kind, image, map)`. Kinds: `"image"` (no map), `"heat"`
            (0 or more, `(height, width)`), `"signed"` and `"difference"` (`(height, width)`). Signed maps share a
            scale, as do differences, so that panels can be compared.
        title: Heading of the figure.

    Returns:
        A matplotlib `Figure`.
    """
    columns = max(map(len, rows))
    figure = Figure(figsize=(2.6 * columns + 1.2, 2.9 * len(rows) + 0.9), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    panels = [panel for row in rows for panel in row.values()]
    limits = {kind: _limit([m for k, _, m in panels if k == kind]) for kind in ("signed", "difference")}
    shown = {}
    for line, row in zip(axes, rows, strict=True):
        for ax, (name, (kind, image, values)) in zip(line, row.items(), strict=True):
            empty = kind == "heat" and not values.any()
            _plain(ax, f"{name}\nempty: nothing speaks for it" if empty else name)
            if kind in ("image", "heat"):
                ax.imshow(metadata.pixels(image).squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if kind == "heat" and not empty:
                # Each on its own scale: Grad-CAM says where, not how much.
                ax.imshow(values, cmap="inferno", alpha=0.55, vmin=0, vmax=values.max())
            elif kind in limits:
                limit = limits[kind]
                shown[kind] = ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"), line
    for kind, (drawn, _) in shown.items():
        bar = figure.colorbar(drawn, ax=axes, shrink=0.7, pad=0.01)
        bar.set_label("contribution to the logit" if kind == "signed" else "difference of contributions")
    return figure


def _limit(maps):
    return max([1e-12, *(np.quantile(np.abs(m), 0.995) for m in maps)])


def _plain(ax, title):
    ax.set_title("\n".join(textwrap.fill(line, 36) for line in title.split("\n")), fontsize=9)
    ax.set_xticks([])
    ax.set_yticks([])


@_plain_settings
def gallery(rows, *, title):
    """Images in rows with a caption each.

    Args:
        rows: Pairs of a row's name and its `(caption, image)` pairs, as many in each row.
        title: Heading of the figure.
    """
    columns = len(rows[0][1])
    figure = Figure(figsize=(2.1 * columns + 0.6, 2.6 * len(rows) + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    for line, (name, pictures) in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        for ax, (caption, image) in zip(line, pictures, strict=True):
            ax.imshow(metadata.pixels(image).squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            _plain(ax, textwrap.fill(caption, 27))
            ax.title.set_fontsize(8)
        line[0].set_ylabel(textwrap.fill(name, 26), fontsize=8)
    return figure


@_plain_settings
def features(points, groups, *, title):
    """Two-dimensional features of images, a panel each for clean and attacked, on the same axes.

    Args:
        points: `(count, 2)` by panel name.
        groups: Name of each image's group, `(count,)`; a colour each.
        title: Heading of the figure.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    figure.suptitle(title, fontsize=11)
    names = list(dict.fromkeys(groups))
    for ax, (panel, places) in zip(
        figure.subplots(1, len(points), sharex=True, sharey=True), points.items(), strict=True
    ):
        for number, name in enumerate(sorted(names)):
            chosen = places[np.asarray(groups) == name]
            colour, marker = PALETTE[number % len(PALETTE)], "os^Dv"[number % 5]
            ax.scatter(*chosen.T, s=12, color=colour, marker=marker, alpha=0.7, linewidths=0, label=name)
        _plain(ax, panel)
    ax.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    return figure


@_plain_settings
def confusion(panels, *, title):
    """Confusion matrices: counts, shaded by their share of the true class.

    Args:
        panels: By panel title: matrices that stand side by side, true down and predicted across, the names of their
            rows, and of all their columns.
        title: Heading of the figure.
    """
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    width = max(len(panel[2]) for panel in panels.values())
    figure = Figure(figsize=(columns * (0.75 * width + 1), lines * (0.5 * width + 1) + 0.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax, (name, (matrices, true, predicted)) in zip(axes, panels.items(), strict=False):
        shares = np.hstack([matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1) for matrix in matrices])
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for border in np.cumsum([matrix.shape[1] for matrix in matrices])[:-1]:
            ax.axvline(border - 0.5, color="black", linewidth=1)
        for (row, column), count in np.ndenumerate(np.hstack(matrices)):
            colour = "white" if shares[row, column] > 0.5 else "black"
            ax.text(column, row, f"{count}", ha="center", va="center", fontsize=8, color=colour)
        ax.set_title(name, fontsize=9)
        ax.set_xticks(range(len(predicted)), predicted, fontsize=7)
        ax.set_yticks(range(len(true)), true, fontsize=7)
    for ax in axes[len(panels) :]:
        ax.set_visible(False)
    figure.supxlabel("predicted (darker: a larger share of the true class)", fontsize=9)
    figure.supylabel("true", fontsize=9)
    return figure


@_plain_settings
def history(columns, *, best, title):
    """Loss and AUC over the epochs.

    Args:
        columns: Values per epoch by name, from `history.csv`.
        best: Epoch of the checkpoint that was kept, from 1, or None.
        title: Heading of the figure.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    for ax, kind in zip(figure.subplots(1, 2), ("loss", "auc"), strict=True):
        lines = {kind: "training", titles.validation_score(kind): "validation"}
        for attack in (*catalogue.ATTACKS, *titles.SUMS):
            lines.setdefault(titles.validation_score(kind, attack), f"validation {titles.name(attack)}")
        for number, name in enumerate(name for name in columns if name in lines):
            values, style = columns[name], {"marker": "os^D"[number % 4], "markersize": 4, "color": PALETTE[number]}
            ax.plot(np.arange(1, len(values) + 1), values, **style, label=lines[name])
        if best:
            ax.axvline(best, color="#999999", linestyle=":", linewidth=1, label="kept")
        ax.set_xlabel("epoch")
        ax.set_ylabel({"loss": "loss", "auc": "macro AUC"}[kind])
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    return figure


@_plain_settings
def search_history(values, *, title):
    """The score of each complete trial of a search, and the best so far.

    Args:
        values: Pairs of a trial's number and its score, by number.
        title: Heading of the figure.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    figure.suptitle(title, fontsize=11)
    ax = figure.subplots()
    numbers, scores = np.array(values).T
    ax.scatter(numbers, scores, s=18, color=PALETTE[0], label="trial")
    ax.step(numbers, np.maximum.accumulate(scores), where="post", color=PALETTE[1], label="best so far")
    ax.set_xlabel("trial")
    ax.set_ylabel("validation macro AUC")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


@_plain_settings
def importance(shares, *, title):
    """How much of a score's variance each option explains, as bars; `shares` by option name."""
    figure = Figure(figsize=(7, 0.4 * len(shares) + 1.6), layout="constrained")
    figure.suptitle(title, fontsize=11)
    ax = figure.subplots()
    names = sorted(shares, key=shares.get)
    bars = ax.barh([name.replace("_", " ") for name in names], [shares[name] for name in names], color=PALETTE[0])
    ax.bar_label(bars, fmt="%.2f", fontsize=8, padding=3)
    ax.set_xlabel("share of the variance")
    ax.spines[["top", "right"]].set_visible(False)
    return figure
