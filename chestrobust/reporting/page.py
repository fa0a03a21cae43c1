"""The report page: one file that holds all there is to say of a run, or of several side by side, and needs no network.

It is made from the files of run folders alone; `templates/` has its form.
"""

import functools
from pathlib import Path

import jinja2

from chestrobust import __version__, devices, files, titles
from chestrobust.errors import RunError
from chestrobust.reporting import charts, checklists, dossier, exports, plots, sections, smoothing, verdict
from chestrobust.runs import read_back
from chestrobust.runs.folder import Run
from chestrobust.tasks import Task

NAME = "report.html"
GENERATOR = "chestrobust"
HEAD = 1024  # bytes at the start of a page, which say who made it
AUDIT_GUIDE = Path(__file__).resolve().parents[2] / "docs" / "audit.md"


def write(*folders):
    """Write the page of one run, with its baseline beside it, or of several, after other work; only the chief does.

    That work is done and stays: where no page can be made of a folder, why is printed.

    Args:
        folders: The run folder, or one with `evaluations` of a file that is no run's; or several.

    Returns:
        Path of the page, or None if there is none.
    """
    path = place(folders)
    try:
        if devices.chief():
            compare(folders, path)
    except RunError as error:
        print(f"No report is written. {error}")
        return None
    return path


def place(folders):
    """Where a page goes unless told: into the run folder, or beside the evaluations; of several, around the first run.

    A folder of files that are no run's is around them itself.
    """
    if len(folders) > 1:
        return around(folders[0]) / NAME
    run = Run(folders[0])
    return (run.path if run.finished else run.path / "evaluations") / NAME


def around(folder):
    """Where what is said of several models goes: the folder around a run, or the one of files that are no run's."""
    run = Run(folder)
    return run.path.parent if run.finished else run.path


def compare(folders, path):
    """Write a page of a run with its baseline, or of several runs or files, each of which stands for itself.

    Args:
        folders: Paths of run folders, or of those of files that are no run's.
        path: Path of the page.

    Returns:
        Pairs of a model's name and its verdict.

    Raises:
        RunError: If a folder has nothing to report, or the page can't be written.
    """
    shown, several = [], len(folders) > 1
    for folder in folders:
        with read_back(Run(folder)):
            found = dossier.read(folder)
            # Of a run and its baseline, the run; of an ensemble or of files, all.
            shown += found[-1:] if several and found[0].undefended else found
    with read_back(Run(folders[0])):
        strangers = len(folders) == 1 and len(shown) > 1 and not any(one.results for one in shown)
        several, places = several or strangers, dict.fromkeys(around(folder).resolve() for folder in folders)
        compared = dossier.comparison(places, shown) if several else None
        if compared and strangers:
            shown, compared = dossier.in_order(shown, *compared)
        text = render(shown, several, compared)
        told = [(name, one.sentence) for name, one in zip(sections.names(shown), shown, strict=True)]
    save(text, path)
    return told


def save(text, path):
    """Write a page whole or not at all, and never over a file of somebody else's.

    Raises:
        RunError: If another file is in its place, or it can't be written.
    """
    check(path)
    with files.writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check(path):
    """Refuse a path where a page can't be written, or something lies that is none.

    Raises:
        RunError: With the reason.
    """
    if not path.parent.is_dir():
        raise RunError(f"{path}: expected a file in a folder that is there. Received none. Make {path.parent} first.")
    if path.is_dir() or path.suffix.lower() not in (".html", ".htm"):
        raise RunError(f"{path}: expected the name of a page, such as {NAME}. Received another.")
    if files.is_own(path):
        with path.open("rb") as file:
            if f'name="generator" content="{GENERATOR} '.encode() not in file.read(HEAD):
                raise RunError(
                    f"{path}: expected a page of this program to replace. Received another file. Choose another --out."
                )


def render(dossiers, several=False, compared=None):
    """The page as text.

    Args:
        dossiers: `dossier.Dossier`s, the one that the page is about last.
        several: Whether the page is about all of them.
        compared: What `dossier.comparison` returns of several.
    """
    found, subject = sections.compared(dossiers), dossiers[-1]
    subjects = dossiers if several else [subject]
    models = [
        {"name": name, "colour": colour, "swatch": charts.swatch(colour), "dossier": one}
        for name, colour, one in zip(found.names, found.colours, dossiers, strict=True)
    ]
    called = [(model["name"], model["dossier"]) for model in models]
    smoothed = [(name, results) for name, one in called for results in one.smoothed]
    content = {
        "generator": f"{GENERATOR} {__version__}",
        "title": " and ".join(filter(None, (", ".join(found.names[:-1]), found.names[-1]))),
        "data": "; ".join(dict.fromkeys(titles.data_title(one.data) for one in dossiers)),
        "thresholds": not Task(subject.data["task"]).exclusive,
        "made_up": any(one.data["synthetic"] for one in dossiers),
        "models": models,
        "subjects": [model for model in models if model["dossier"] in subjects],
        "alike": found.alike,
        "summary": sections.summary(found),
        "overview": plots.overview(found),
        "pictures": dossier.pictures(subject.path) if len({one.path for one in subjects}) == 1 else {},
        "gallery": _gallery(dossiers, found),
        "charts": [*filter(None, (plots.over_radius(found), plots.over_steps(dossiers, found)))],
        "attacks": plots.attacks(found),
        "attack_table": sections.attack_table(found),
        "label_table": sections.label_table(found),
        "finding_table": sections.finding_table(found),
        "differences": sections.differences_from_first(found.names, compared)
        if several
        else sections.differences(subject),
        "corruptions": sections.corruptions(called),
        "smoothed": sections.smoothed(called),
        "training": plots.training(dossiers, found),
        "audit_guide": audit_guide(),
        "latex": exports.latex(found.names, found.rows),
        "csv": exports.table(found.names, found.rows),
        "smoothed_latex": "\n".join(exports.latex_smoothed(results) for _, results in smoothed),
        "smoothed_csv": smoothing.as_csv(smoothed),
        "bibtex": exports.bibliography.bibtex(dict.fromkeys(work for one in dossiers for work in exports.works(one))),
    }
    try:
        return _environment().get_template("page.html").render(content)
    except jinja2.UndefinedError as error:
        raise KeyError(str(error)) from error  # Results lack what ours have.


def _gallery(dossiers, found):
    """What the script of the gallery reads, of the last model that has one; None without."""
    for name, colour, one in zip(reversed(found.names), reversed(found.colours), reversed(dossiers), strict=True):
        if kept := dossier.gallery(one.path):
            # The model itself comes last, its baseline before it: in its own colour, or else in the first.
            baseline = Path(str((one.results.get("baseline") or {}).get("run"))).name
            other = dict(zip(found.names, found.colours, strict=True)).get(baseline, 0)
            colours = [*[other] * (len(kept["models"]) - 1), colour]
            models = [{**model, "colour": its} for model, its in zip(kept["models"], colours, strict=True)]
            steps = [titles.radius(radius) for radius in kept["radii"]]
            attackable = sum("network" in model for model in models)
            return {**kept, "models": models, "steps": steps, "run": name, "attackable": attackable}
    return None


@functools.cache
def audit_guide():
    """What `docs/audit.md` says of each check, by its name; empty where the page isn't at hand."""
    if not AUDIT_GUIDE.is_file():
        return {}
    _, *entries = AUDIT_GUIDE.read_text(encoding="utf-8").split("\n### ")
    told = (entry.partition("\n") for entry in entries)
    return {name.strip(): " ".join(text.partition("\n## ")[0].split()) for name, _, text in told}


@functools.cache
def _environment():
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("chestrobust.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"checklist": lambda one: checklists.answered(checklists.facts(one))}
    environment.globals |= {"methods": exports.methods, "command": exports.command}
    environment.globals |= {"sentence": verdict.sentence, "data_title": titles.data_title}
    return environment
