"""What stands in each section of the report page: numbers as text, and charts, from dossiers."""

from dataclasses import dataclass

from chestrobust import catalogue, titles
from chestrobust.reporting import charts, dossier, verdict

BOUNDS = {"joint": "worst image", "floor": "floor", "certified": "certified"}  # rows of the table of labels


@dataclass(frozen=True)
class Compared:
    """Models under the same attacks, if there are such scores of all of them.

    Attributes:
        names: What they are called.
        colours: Number of each one's colour.
        results: What each was scored by, with `evaluations`.
        alike: Whether these are the same attacks on the same images.
    """

    names: list
    colours: list
    results: list
    alike: bool

    @property
    def rows(self):
        """Tuples of rows, one per model, of the attacks that all of them have."""
        by_title = [{titles.title(row): row for row in one["evaluations"]} for one in self.results]
        return [
            tuple(found[name] for found in by_title)
            for name in by_title[0]
            if all(name in found for found in by_title[1:])
        ]

    @property
    def radius(self):
        """The radius that all have and the first is summed up at."""
        return verdict.radius(self.results[0])

    def at_radius(self, name):
        """Each model's row of an attack, or a sum, at the radius; None where it has none."""
        return [
            next((row for row in one["evaluations"] if row["attack"] == name and row["epsilon"] == self.radius), None)
            for one in self.results
        ]

    @property
    def worst(self):
        """Each model's worst row at the radius, or None."""
        return [verdict.worst(one, self.radius) for one in self.results]

    @property
    def clean(self):
        """Each model's row of clean images."""
        return [verdict.clean_of(one["evaluations"]) for one in self.results]


def compared(dossiers):
    """The strongest scores that all models have in common, as `Compared`."""
    called, colours = names(dossiers), _colours(dossiers)
    common = set.intersection(*(set(one.own) for one in dossiers))
    choices = [[one.own[name] for one in dossiers] for name in sorted(common)]
    choices.sort(key=lambda found: len(found[0]["evaluations"]), reverse=True)
    choices += [[{**one.results, "data": one.data, "evaluations": one.rows} for one in dossiers]]
    for results in choices:
        if all(one["evaluations"] for one in results) and _alike(results):
            return Compared(called, colours, results, True)
    return Compared(called, colours, [one.judged for one in dossiers], len(dossiers) == 1)


def _alike(results):
    """Whether models were scored by the same attacks on the same images."""
    first, *others = (
        (one["data"].get("sha256"), one["data"]["counts"]["test"], [titles.title(row) for row in one["evaluations"]])
        for one in results
    )
    return all(other == first for other in others)


def names(dossiers):
    """Names that tell the models apart: with their folders, where several have the same."""
    called = [one.name for one in dossiers]
    return [
        name if called.count(name) == 1 else f"{one.path.resolve().parent.name}/{name}"
        for name, one in zip(called, dossiers, strict=True)
    ]


def _colours(dossiers):
    """The first undefended model has the first colour on every page; the others have theirs in turn."""
    first = next((number for number, one in enumerate(dossiers) if one.undefended), None)
    others = iter(range(1, len(dossiers) + 1))
    return [0 if number == first else next(others) for number in range(len(dossiers))]


def summary(found):
    """Rows of the first screen's table: what it is, and a text for each model."""
    worst, at = found.worst, f"at {titles.radius(found.radius)}" if found.radius else ""
    rows = [("Macro AUC, clean", [score(row, "macro_auc") for row in found.clean])]
    if any(worst):
        rows.append((f"Macro AUC, worst attack {at}", [score(row, "macro_auc") for row in worst]))
    for name, title in BOUNDS.items():
        if name != "joint" and any(bounds := found.at_radius(name)):
            rows.append((f"Macro AUC, {title} {at}", [score(row, "macro_auc") for row in bounds]))
    rows.append(("Average precision, clean", [score(row, "macro_ap") for row in found.clean]))
    if any(worst):
        rows.append((f"Average precision, worst attack {at}", [score(row, "macro_ap") for row in worst]))
    for name in ("sensitivity", "specificity"):
        cells = [_change(*pair, name) for pair in zip(found.clean, worst, strict=True)]
        if any(cells):
            rows.append((f"{name.capitalize()}, clean \u2192 attacked", [cell or "not measured" for cell in cells]))
    return rows


def score(row, key):
    """A score with its interval."""
    if row is None or row[key] is None:
        return "undefined"
    ends = verdict.interval(row, key)
    return f"{row[key]:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else "")


def _change(clean, attacked, name):
    before = verdict.operating(clean, name)
    after = attacked and verdict.operating(attacked, name)
    return f"{before:.2f} \u2192 {after:.2f}" if before is not None and after is not None else None


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
    rows = [(titles.name(name), _entries(found, found.at_radius(name))) for name in names if name != "clean"]
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
        epsilons = sorted({row["epsilon"] for row in results["evaluations"] if _has_radius(row)})
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


def _has_radius(row):
    known = catalogue.attack(row["attack"])
    return row["epsilon"] > 0 and (known is None or known.radius)


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


def attack_table(found):
    """Header and rows of the table of attacks: title, and for each model scores and shares of reports."""
    shares = any("hidden" in row for rows in found.rows for row in rows)
    columns = ["AUC", *(["hidden", "invented"] if shares else [])]
    rows = []
    for entries in found.rows:
        cells = []
        for row in entries:
            cells.append((row["macro_auc"], score(row, "macro_auc")))
            if shares:
                cells += [(row.get(key), _share(row.get(key))) for key in ("hidden", "invented")]
        rows.append((titles.title(entries[0]), cells))
    return columns, rows


def _share(value):
    return "" if value is None else f"{100 * value:.1f} %"


def label_table(found):
    """Columns of each model, and a row per label of `(value, text, interval)` cells, of clean and attacked AUC."""
    bounds = {"clean": found.clean, "worst attack": found.worst}
    bounds |= {title: found.at_radius(name) for name, title in BOUNDS.items() if name != "joint"}
    bounds = {title: rows for title, rows in bounds.items() if any(rows)}
    rows = []
    for label in found.results[0]["data"]["label_names"]:
        cells = []
        for number in range(len(found.names)):
            cells += [_label_cell(rows_[number], label) for rows_ in bounds.values()]
        rows.append((label, cells))
    return list(bounds), rows


def _label_cell(row, label):
    value = row["per_label_auc"].get(label) if row else None
    ends = ((verdict.interval(row, "per_label_auc") or {}).get(label)) if row else None
    text = "\u2013" if value is None else f"{value:.3f}"
    return value, text, f"95 % interval {ends[0]:.3f} to {ends[1]:.3f}" if ends else ""


def finding_table(found):
    """A row per label of what reports say: of those who have it how many are found, of the others how many are named.

    Empty where results have no confusion of labels.
    """
    pairs = list(zip(found.clean, found.worst, strict=True))
    if not all(row and row.get("confusion") for pair in pairs for row in pair):
        return []
    rows = []
    for label in found.results[0]["data"]["label_names"]:
        cells = []
        for clean, attacked in pairs:
            (_, invented), (missed, seen) = clean["confusion"][label]
            (_, after), (_, still) = attacked["confusion"][label]
            cells += [(still - seen, f"{seen} \u2192 {still} of {seen + missed}")]
            cells += [(after - invented, f"{invented} \u2192 {after}")]
        rows.append((label, cells))
    return rows


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
            lines[column], colour, [(epoch, y, None) for epoch, y in enumerate(columns[column], start=1)], style
        )
        for style, column in enumerate(chosen)
    ]
    values = [y for column in chosen for y in columns[column]]
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
