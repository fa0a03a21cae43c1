"""The charts of the report page, from models under the same attacks."""

import math

from chestrobust import catalogue, titles
from chestrobust.reporting import charts, dossier, verdict


def overview(found):
    """A chart of the first screen's AUCs."""
    rows = [("clean", found.clean)]
    if any(found.worst):
        rows.append((f"worst attack, {titles.radius(found.radius)}", found.worst))
    return charts.dots([(name, _entries(found, row)) for name, row in rows], title="Macro AUC of each model, clean and "
                       "under the worst attack, with 95 % intervals", x_label="macro AUC")  # fmt: skip


def attacks(found):
    """A chart of all attacks at one radius."""
    if found.radius is None:
        return ""
    names = dict.fromkeys(row["attack"] for one in found.results for row in one["evaluations"])
    called = {name: titles.name(name).partition(":")[0] for name in names if name != "clean"}
    rows = [(title, _entries(found, found.at_radius(name))) for name, title in called.items()]
    rows = [(name, entries) for name, entries in rows if entries]
    return charts.dots(
        [("clean", _entries(found, found.clean)), *rows],
        title=f"Macro AUC under each attack at epsilon {titles.radius(found.radius)}",
        x_label=f"macro AUC at epsilon {titles.radius(found.radius)}",
    )


def _entries(found, rows):
    """Dots of a chart: `(colour, value, ends)` of each model that has a row."""
    return [
        (colour, row["macro_auc"], verdict.interval(row, "macro_auc"))
        for colour, row in zip(found.colours, rows, strict=True)
        if row
    ]


def over_radius(found):
    """A chart of the worst attack over the radius; empty where there is only one."""
    lines, radii = [], set()
    for name, colour, results in zip(found.names, found.colours, found.results, strict=True):
        clean = verdict.clean_of(results["evaluations"])
        epsilons = sorted({row["epsilon"] for row in results["evaluations"] if verdict.has_radius(row)})
        rows = [clean, *(row for epsilon in epsilons if (row := verdict.worst(results, epsilon)))]
        radii.update(epsilons)
        points = [
            (row["epsilon"], row["macro_auc"], verdict.interval(row, "macro_auc"))
            for row in rows
            if row["macro_auc"] is not None
        ]
        lines.append(charts.Series(name, colour, points))
        bounds = [row for row in results["evaluations"] if row["attack"] == "certified"]
        if bounds:
            points = [(row["epsilon"], row["macro_auc"], None) for row in bounds if row["macro_auc"] is not None]
            lines.append(charts.Series(f"{name}, certified", colour, points, 3))
    if len(radii) < 2:
        return ""
    ticks = [(0.0, "0"), *((epsilon, titles.radius(epsilon)) for epsilon in sorted(radii))]
    return charts.curves(
        lines,
        title="Macro AUC under the worst attack over the radius",
        x_label="epsilon; bands: 95 % intervals",
        x_ticks=ticks,
    )


def over_steps(dossiers, found):
    """A chart of PGD over its steps, of the models whose chief evaluation has it."""
    lines, counts, radii = [], set(), set()
    for name, colour, one in zip(found.names, found.colours, dossiers, strict=True):
        curve = one.chief["steps_curve"] if one.chief else {"points": []}
        points = [(point["steps"], point["macro_auc"], None) for point in curve["points"]]
        points = [point for point in points if point[1] is not None]
        counts.update(steps for steps, _, _ in points)
        radii.update([titles.radius(curve["epsilon"])] if points else [])
        lines.append(charts.Series(name, colour, points))
    return charts.curves(
        lines,
        title="Macro AUC under PGD over the number of its steps",
        x_label=f"PGD steps, epsilon {' and '.join(sorted(radii))}",
        x_ticks=[(steps, str(steps)) for steps in sorted(counts)],
        logarithmic=True,
    )


def training(dossiers, found):
    """Charts of loss and AUC over the epochs, two for each model whose history is there."""
    drawn = []
    for name, colour, one in zip(found.names, found.colours, dossiers, strict=True):
        columns = dossier.history(one.path) if one.results.get("training") else {}
        best = one.results.get("training", {}).get("best_epoch")
        for kind in ("loss", "auc"):
            chart = _history(columns, kind, colour, best, name)
            drawn += [chart] if chart else []
    return drawn


def _history(columns, kind, colour, best, name):
    lines = {kind: "training", titles.validation_score(kind): "validation"}
    for attack, row in catalogue.ATTACKS.items():
        lines.setdefault(titles.validation_score(kind, attack), f"val. {row.title}")
    chosen = [column for column in columns if column in lines]
    series = [
        charts.Series(
            lines[column],
            colour,
            [(epoch, y, None) for epoch, y in enumerate(columns[column], 1) if math.isfinite(y)],
            style,
        )
        for style, column in enumerate(chosen)
    ]
    values = [y for one in series for _, y, _ in one.points]
    if not values:
        return ""
    epochs = range(1, len(columns[chosen[0]]) + 1)
    return charts.curves(
        series,
        title=f"{name}: {kind} over the epochs",
        x_label=f"epoch of {name}{f'; kept: {best}' if best else ''}",
        y_label={"loss": "loss", "auc": "macro AUC"}[kind],
        x_ticks=[(epoch, str(epoch)) for epoch in epochs],
        y_limits=(0.0, charts.above(max(values)) if kind == "loss" else 1.0),
        at=best,
    )
