"""Pictures as functions of arrays; each returns a `Figure` and leaves saving to the caller."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import metadata
import report

COLOURS = ("#222222", "#e69f00", "#0072b2")  # clean, FGSM, PGD: distinct in black and white and to the colour-blind
HATCHES = ("", "///", "...")


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
        axes[0, column].set_title(name, fontsize=11)
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


def curves(results):
    """Macro AUC over the radius, an attack a line, and over the number of PGD steps; both must end up flat or at 0.

    Args:
        results: What `evaluate.py` writes.

    Returns:
        A matplotlib `Figure`.
    """
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    figure.suptitle(
        f"{results['model']} on {report.data_title(results['data'])}; {report.verdict(results['audit'])}", fontsize=11
    )
    radii, steps = figure.subplots(1, 2)
    clean, *entries = results["evaluations"]
    names = list(dict.fromkeys(entry["attack"] for entry in entries if entry["attack"] != "one-pixel"))
    for number, name in enumerate(names):
        line = [clean, *(entry for entry in entries if entry["attack"] == name)]
        x = [entry["epsilon"] for entry in line]
        y = np.array([np.nan if entry["macro_auc"] is None else entry["macro_auc"] for entry in line])
        marker = "osv^Dx+*<>"[number % 10]
        (drawn,) = radii.plot(x, y, marker=marker, markersize=5, linewidth=1.2, label=report.NAMES.get(name, name))
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
    steps.set_xlabel(f"PGD steps, epsilon {report.length(curve['epsilon'])}, {curve['images']} test images")
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


def save(figure, path):
    """Write a figure as a PNG; the same figure gives the same bytes."""
    with matplotlib.rc_context({"hatch.linewidth": 0.6}):
        figure.savefig(path, dpi=130, metadata={"Software": None})
