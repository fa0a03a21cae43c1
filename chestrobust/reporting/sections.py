"""Models under the same attacks, and the tables of the report page: numbers as text, from dossiers."""

from dataclasses import dataclass

from chestrobust import titles
from chestrobust.reporting import severities, smoothing, verdict

BOUNDS = {"floor": "floor", "certified": "certified"}  # rows that stand beside the worst attack


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
    # Files in one folder have evaluations of names of their own.
    choices += [[one.chief for one in dossiers]] if all(one.chief for one in dossiers) else []
    choices += [[{**one.results, "data": one.data, "evaluations": one.rows} for one in dossiers]]
    shared = [_shared(results) for results in choices if all(one["evaluations"] for one in results)]
    # Of several as strong ones the first: an evaluation rather than what training wrote.
    best = max(filter(None, shared), key=lambda results: len(results[0]["evaluations"]), default=None)
    if best:
        return Compared(called, colours, best, True)
    return Compared(called, colours, [one.judged for one in dossiers], len(dossiers) == 1)


def _shared(results):
    """Results with the attacks alone that all models were scored under; None if they are of other images, or none."""
    images = {(one["data"].get("sha256"), one["data"]["counts"]["test"]) for one in results}
    known = [{titles.title(row) for row in one["evaluations"]} for one in results]
    common = set.intersection(*known)
    if len(images) > 1 or (len(common) < 2 and any(len(found) > 1 for found in known)):
        return None
    return [
        {**one, "evaluations": [row for row in one["evaluations"] if titles.title(row) in common]} for one in results
    ]


def names(dossiers):
    """Names that tell the models apart: with their folders, where several have the same."""
    called = [one.name for one in dossiers]
    return [
        name if called.count(name) == 1 else f"{_folder(one).name}/{name}"
        for name, one in zip(called, dossiers, strict=True)
    ]


def _folder(one):
    """The folder around a run, or the one that a file lies in."""
    return one.path.resolve().parent if one.results else one.path.resolve()


def _colours(dossiers):
    """The first undefended model has the first colour on every page, where a stranger's counts as such.

    The others have theirs in turn.
    """
    first = next((number for number, one in enumerate(dossiers) if one.undefended or not one.results), None)
    others = iter(range(1, len(dossiers) + 1))
    return [0 if number == first else next(others) for number in range(len(dossiers))]


def summary(found):
    """Rows of the first screen's table: what it is, and for each model a text and its interval."""
    worst, at = found.worst, f"at {titles.radius(found.radius)}" if found.radius else ""
    rows = [("Macro AUC, clean", "macro_auc", found.clean)]
    if any(worst):
        rows.append((f"Macro AUC, worst attack {at}", "macro_auc", worst))
    for name, title in BOUNDS.items():
        if any(bounds := found.at_radius(name)):
            rows.append((f"Macro AUC, {title} {at}", "macro_auc", bounds))
    rows.append(("Average precision, clean", "macro_ap", found.clean))
    if any(worst):
        rows.append((f"Average precision, worst attack {at}", "macro_ap", worst))
    told = [(title, [(_value(row, key), _between(row, key)) for row in entries]) for title, key, entries in rows]
    unchanged = [(row or {}).get("unchanged") for row in found.at_radius("certified")]
    if any(share is not None for share in unchanged):
        texts = [(_share(share) or "not certified", "") for share in unchanged]
        told.append((f"Reports that provably can't change {at}", texts))
    for name in ("sensitivity", "specificity"):
        cells = [_change(*pair, name) for pair in zip(found.clean, worst, strict=True)]
        if any(cells):
            told.append(
                (f"{name.capitalize()}, clean \u2192 attacked", [(cell or "not measured", "") for cell in cells])
            )
    return told


def score(row, key):
    """A score with its interval."""
    return f"{_value(row, key)} {_between(row, key)}".strip()


def _value(row, key):
    if row is None:
        return "not scored"
    return "undefined" if row[key] is None else f"{row[key]:.3f}"


def _between(row, key):
    ends = row and verdict.interval(row, key)
    return f"({ends[0]:.3f} to {ends[1]:.3f})" if ends else ""


def _change(clean, attacked, name):
    before = verdict.operating(clean, name)
    after = attacked and verdict.operating(attacked, name)
    return f"{before:.2f} \u2192 {after:.2f}" if before is not None and after is not None else None


def attack_table(found):
    """Header and rows of the table of attacks: title, and for each model scores and shares of reports.

    As stored: the score of the attacked images as a file of 8 bits holds them.
    """
    everything = [row for rows in found.rows for row in rows]
    shares, stored = (any(key in row for row in everything) for key in ("hidden", "stored"))
    columns = ["AUC", *(["as stored"] if stored else []), *(["hidden", "invented"] if shares else [])]
    rows = []
    for entries in found.rows:
        cells = []
        for row in entries:
            cells.append((row["macro_auc"], score(row, "macro_auc")))
            if stored:
                kept = row.get("stored")
                cells.append((kept["macro_auc"], _value(kept, "macro_auc")) if kept else (None, ""))
            if shares:
                cells += [(row.get(key), _share(row.get(key))) for key in ("hidden", "invented")]
        rows.append((_title(entries[0]), cells))
    return columns, rows


def _title(row):
    """A row's title with its radius as narrow tables have it."""
    title, epsilon = titles.title(row), row["epsilon"]
    return title.replace(f"epsilon {titles.length(epsilon)}", titles.radius(epsilon))


def _share(value):
    return "" if value is None else f"{100 * value:.1f} %"


def label_table(found):
    """Columns of each model, and a row per label of `(value, text, ends)` cells, of clean and attacked AUC."""
    bounds = {"clean": found.clean, "worst attack": found.worst}
    bounds |= {title: found.at_radius(name) for name, title in BOUNDS.items()}
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
    return value, text, f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else ""


def finding_table(found):
    """A row per label of what reports say: of those who have it how many are found, of the others how many are named.

    Counts where results have them, else shares; empty where they have neither.
    """
    pairs = list(zip(found.clean, found.worst, strict=True))
    labels = found.results[0]["data"]["label_names"]
    if not all(row and _reported(row, label) for pair in pairs for row in pair for label in labels):
        return []
    rows = []
    for label in labels:
        cells = []
        for clean, attacked in pairs:
            before, after = _reported(clean, label), _reported(attacked, label)
            cells += [
                (was[0] - now[0], f"{was[1]} \u2192 {now[1]}{now[2]}") for now, was in zip(after, before, strict=True)
            ]
        rows.append((label, cells))
    return rows


def _reported(row, label):
    """Findings of a label that are found, and that are invented: `(number, text, what of)` each; None if unknown."""
    if row.get("confusion"):
        (_, invented), (missed, seen) = row["confusion"][label]
        return (seen, f"{seen}", f" of {seen + missed}"), (invented, f"{invented}", "")
    shares = [(row.get(f"per_label_{name}") or {}).get(label) for name in ("sensitivity", "specificity")]
    if None in shares:
        return None
    return tuple((share, f"{100 * share:.0f} %", "") for share in (shares[0], 1 - shares[1]))


def differences(subject):
    """How much a robust model is above its baseline, paired on the same resamples.

    Returns:
        A list of a heading and a row per attack of training; empty where results have none.
    """
    paired = (subject.results.get("baseline") or {}).get("differences") or []
    rows = [(_title(row), _cells(found)) for row, found in zip(subject.rows, paired, strict=False)]
    return [("Robust minus baseline", rows)] if rows else []


def differences_from_first(called, compared):
    """How much models are above the first one of a comparison, clean and at the radius that it is summed up at.

    Args:
        called: Names of the models on the page.
        compared: What `dossier.comparison` returns.

    Returns:
        A list, for each of the others, of a heading and a row per attack.
    """
    places, told = compared if compared else ([], {"models": [{"evaluations": []}], "differences": []})
    named = {titles.title(row): _title(row) for row in told["models"][0]["evaluations"]}
    shown = []
    for place, found in zip(places[1:], told["differences"], strict=True):
        rows = [(named[row["title"]], _cells(row)) for row in found if row["epsilon"] in (0, told["radius"])]
        shown += [(f"{called[place]} minus {called[places[0]]}", rows)] if place is not None else []
    return shown


def corruptions(called):
    """What is left without an attacker, of each model that `--suite clinical` was run on.

    Args:
        called: Pairs of a model's name and its `dossier.Dossier`.

    Returns:
        A list of a heading, a caption, a header and rows of text.
    """
    shown = []
    for name, one in called:
        found = next((results for results in one.own.values() if severities.tables(results)), None)
        if found:
            caption = " ".join(severities.notes(found)).replace("\n", " ")
            shown += [(f"{header[0]}, {name}", caption, header, rows) for header, rows in severities.tables(found)]
    return shown


def smoothed(called):
    """What no Euclidean change goes below, of each model that `--smooth` was run on; arguments as of `corruptions`.

    Returns:
        A list of a heading, a header, rows of text, and sentences on what they promise and what they don't.
    """
    return [
        (
            f"Under any Euclidean change, noise {found['smoothed']['sigma']:g}: {name}",
            *smoothing.table(found),
            smoothing.notes(found),
        )
        for name, one in called
        for found in one.smoothed
    ]


def _cells(found):
    return [_paired(found.get(f"macro_{name}")) for name in ("auc", "ap", "sensitivity", "specificity")]


def _paired(found):
    if not found or found["difference"] is None:
        return "undefined"
    ends = "" if found["low"] is None else f" ({found['low']:+.3f} to {found['high']:+.3f})"
    return f"{found['difference']:+.3f}{ends}"
