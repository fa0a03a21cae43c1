"""The report page as text: made from the files of run folders alone, in which everything may have any name."""

import dataclasses
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import made
import pytest

import report
from chestrobust import config
from chestrobust.errors import RunError
from chestrobust.reporting import dossier, page

ROOT = Path(__file__).resolve().parents[2]
VOID = {"meta", "link", "input", "img", "br"}
EVIL = "<script>alert('x')</script>&\"\u202e"


class Parsed(HTMLParser):
    """What stands in a page, and whether its elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.texts, self.wrong = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, text):
        if not {"style", "script"} & set(self.open):
            self.texts.append(text)

    @property
    def shown(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def pair(tmp_path):
    """A baseline's run and a robust one beside it, both evaluated."""
    weights = b"weights of the baseline"
    base = made.folder(tmp_path / "base", made.results(0.25), {"standard": made.evaluation(0.25)})
    (base / "model.keras").write_bytes(weights)
    found = made.results(baseline="../base")
    found["baseline"]["sha256"] = hashlib.sha256(weights).hexdigest()
    made.folder(tmp_path / "robust", found, {"standard": made.evaluation()}, gallery=made.gallery())
    return base, tmp_path / "robust"


def rendered(folder):
    return Parsed(page.write(folder).read_text())


def numbers(content):
    """All numbers that JSON holds."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        return [number for part in content for number in numbers(part)]
    return [content] if isinstance(content, int | float) else []


def shown(path):
    return Parsed(path.read_text()).shown


def test_a_page_is_one_well_formed_file_that_loads_nothing(pair):
    text = page.write(pair[1]).read_text()
    parsed = Parsed(text)
    assert (parsed.open, parsed.wrong) == ([], [])
    assert len(text) < 5_000_000
    loading = [attributes.get(name) for _, attributes in parsed.elements for name in ("src", "href", "data", "action")]
    assert {link.partition(":")[0] for link in filter(None, loading) if not link.startswith("#")} == {"data"}
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", text)
    (policy,) = [attributes["content"] for _, attributes in parsed.elements if "http-equiv" in attributes]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_identifiers_are_unique_and_links_lead_somewhere(pair):
    elements = rendered(pair[1]).elements
    names = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(names) == len(set(names))
    wanted = {
        attributes[key] for _, attributes in elements for key in ("aria-labelledby", "data-copy") if key in attributes
    }
    wanted |= {attributes["href"][1:] for _, attributes in elements if attributes.get("href", "").startswith("#")}
    assert wanted <= set(names)
    assert [tag for tag, attributes in elements if tag == "img" and not attributes.get("alt")] == []
    levels = [int(tag[1]) for tag, _ in elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_baseline_and_robust_stand_side_by_side_with_intervals_and_verdicts(pair):
    shown = rendered(pair[1]).shown
    at = "at 2/255, the middle radius"
    assert f"base Clean AUC 0.875; worst of 2 attacks 0.25 (0.20 to 0.30) {at}; sensitivity 0.78 -> 0.15." in shown
    assert f"robust Clean AUC 0.875; worst of 2 attacks 0.50 (0.45 to 0.55) {at}; sensitivity 0.78 -> 0.40." in shown
    assert "Trust: 2 of 2 checks; 1 not run." in shown
    assert "Macro AUC, worst attack at 2/255 0.250 (0.200 to 0.300) 0.500 (0.450 to 0.550)" in shown
    assert "for clinical use" in shown
    assert "Not alike" not in shown


def test_the_numbers_of_the_tables_are_those_of_the_json(pair):
    known = set()
    for folder in pair:
        for path in (folder / "results.json", *folder.glob("evaluations/*.json")):
            known |= {f"{number:.3f}" for number in numbers(json.loads(path.read_text()))}
    elements = rendered(pair[1]).elements
    values = [attributes["data-value"] for tag, attributes in elements if tag == "td" and "data-value" in attributes]
    shares = [value for value in values if "." in value]
    assert len(shares) > 40
    assert {f"{float(value):.3f}" for value in shares} <= known


def test_a_number_that_changes_in_the_json_changes_on_the_page(pair):
    path = pair[1] / "evaluations" / "standard.json"
    found = json.loads(path.read_text())
    found["evaluations"][-1]["per_label_auc"]["mass"] = 0.123456  # the floor at 4/255
    found["evaluations"][-3]["per_label_auc"]["mass"] = 0.234567  # and at 2/255
    path.write_text(json.dumps(found))
    values = {attributes.get("data-value") for _, attributes in rendered(pair[1]).elements}
    assert "0.234567" in values and "0.123456" not in values


def test_what_strangers_name_is_escaped_everywhere(tmp_path):
    evil = [*made.LABELS[:2], EVIL]
    data = made.data(label_names=evil, name=EVIL, note=EVIL)
    rows = [made.row(attack, epsilon, 0.5, evil) for attack, epsilon in (("clean", 0.0), (EVIL, 0.1), ("pgd", 0.1))]
    lines = [made.line(EVIL, "failed", "invalid")]
    judged = made.evaluation(data=data, evaluations=rows, audit=lines, versions={EVIL: EVIL}, commit=EVIL)
    shown = made.gallery((EVIL,))
    shown["label_names"], shown["attack"], shown["patients"][0]["present"] = evil, EVIL, [EVIL]
    found = made.results(data=data, evaluations=rows, versions={EVIL: EVIL}, commit=EVIL, hardware={EVIL: EVIL})
    found["config"] |= {"data": EVIL, "optimizer": EVIL}
    found["model"]["name"] = found["training"]["selected_on"] = EVIL
    folder = made.folder(tmp_path / "run", found, {"standard": judged}, gallery=shown)
    text = page.write(folder).read_text()
    assert "alert" in text
    assert text.count("<script") == 2  # the gallery's data, and ours
    assert "<script>alert" not in text and "</script>&" not in text
    parsed = Parsed(text)
    assert (parsed.open, parsed.wrong) == ([], [])


def test_made_up_data_carry_a_banner_and_others_none(pair, tmp_path):
    assert "Made-up data" not in rendered(pair[1]).shown
    folder = made.folder(tmp_path / "phantom", made.results(data=made.data(name="phantom", synthetic=True)))
    assert "Made-up data." in rendered(folder).shown


def test_a_run_without_evaluation_says_what_is_missing(tmp_path):
    shown = rendered(made.folder(tmp_path / "run", made.results())).shown
    assert "Trust: not audited yet." in shown
    assert "Not audited yet: python evaluate.py RUN --suite standard , where RUN is the run's folder." in shown
    assert "The same patient" not in shown


def test_an_evaluation_of_other_test_images_counts_and_says_so(tmp_path):
    fewer = made.evaluation(data=made.data(counts={"train": 48, "val": 24, "test": 10}))
    shown = rendered(made.folder(tmp_path / "run", made.results(), {"fewer": fewer})).shown
    assert "not audited" not in shown.lower()
    assert "Trust: 2 of 2 checks; 1 not run. This is of 10 test images, the run's own scores are of 20." in shown
    # One of the same images says more, however few attacks it has.
    whole = made.evaluation(0.25, evaluations=made.rows(0.25))
    found = made.folder(tmp_path / "both", made.results(), {"fewer": fewer, "whole": whole})
    assert dossier.read(found)[-1].chief == dossier.read(found)[-1].evaluations["whole"]
    assert "test images, the run's own" not in rendered(found).shown
    other = made.evaluation(data=made.data(sha256="cd" * 32))
    assert (
        "Trust: not audited yet." in rendered(made.folder(tmp_path / "third", made.results(), {"other": other})).shown
    )


def test_undefined_scores_are_called_so(tmp_path):
    rows = made.rows(0.0)
    for one in rows:
        one["macro_auc"], one["per_label_auc"]["hernia"] = None, None
        one["intervals"] = {"macro_auc": None, "macro_ap": None, "per_label_auc": {}}
    folder = made.folder(tmp_path / "run", made.results(), {"standard": made.evaluation(evaluations=rows)})
    shown = rendered(folder).shown
    assert "Clean AUC undefined. Trust" in shown
    assert "nan" not in shown.lower().split()


def test_the_audit_is_told_in_the_words_of_its_page(pair):
    shown = rendered(pair[1]).shown
    assert "text of noise is weaker" in shown
    assert "As above, for uniform noise. The gradient is useless." in shown


def test_every_check_of_the_audit_has_its_words():
    told = page.audit_guide()
    assert {"perturbation", "corners", "weights untouched"} <= set(told)
    assert all(text and "##" not in text for text in told.values())


def test_differences_are_paired_and_reports_counted(tmp_path):
    found = made.results(baseline="../base")
    score = {"difference": 0.25, "low": 0.125, "high": 0.375}
    found["baseline"]["differences"] = [
        {"attack": row["attack"], "macro_auc": score, "macro_ap": None} for row in found["evaluations"]
    ]
    shares = {name: dict.fromkeys(made.LABELS, share) for name, share in (("sensitivity", 0.5), ("specificity", 0.75))}
    for rows in (found["evaluations"], found["baseline"]["evaluations"]):
        for row in rows:
            row |= {f"per_label_{name}": values for name, values in shares.items()}
    shown = rendered(made.folder(tmp_path / "run", found)).shown
    assert "clean +0.250 (+0.125 to +0.375) undefined undefined undefined" in shown
    assert "mass 50 % \u2192 50 % 25 % \u2192 25 %" in shown


def test_what_is_left_without_an_attacker_has_its_tables(tmp_path):
    found = made.evaluation()
    scores = {"macro_auc": 0.75, "macro_sensitivity": 0.5, "macro_specificity": 0.25}
    of_all = made.row(
        f"corruption={EVIL}",
        *(1.0, 0.75),
        severities=[scores, scores],
        balanced_error=0.375,
        clean_balanced_error=0.25,
        difference={"balanced_error": {"difference": 0.125, "low": 0.0625, "high": 0.1875}},
    )
    of_all["intervals"]["balanced_error"] = [0.25, 0.5]
    found["evaluations"].append(of_all)
    parsed = rendered(made.folder(tmp_path / "run", made.results(), {"clinical": found}))
    assert parsed.wrong == [] and "Macro AUC by severity [95 %], run" in parsed.shown
    assert ".375 [.250, .500] +.125 [+.062, +.188] .500 .250" in parsed.shown
    assert "AlexNet" not in parsed.shown
    of_all["over_alexnet"] = {"be": 1.25, "rbe": 2.5}
    parsed = rendered(made.folder(tmp_path / "other", made.results(), {"clinical": found}))
    assert "+.125 [+.062, +.188] 1.25 2.50 .500 .250" in parsed.shown and "AlexNet" in parsed.shown


def test_what_smoothing_proves_has_its_table_and_its_words(tmp_path):
    found = made.evaluation(smoothed=made.smoothed())
    other = made.evaluation(smoothed=made.smoothed(sigma=0.3), data=made.data(sha256="cd" * 32))
    folder = made.folder(tmp_path / EVIL.replace("/", ""), made.results(), {"standard": found, "other": other})
    parsed = rendered(folder)
    assert (parsed.open, parsed.wrong) == ([], [])
    assert "Under any Euclidean change, noise 0.1: " in parsed.shown and "noise 0.3" not in parsed.shown
    assert "0.05 .500 [.438, .562] .375 [.250, .500] 25.0 %" in parsed.shown
    assert "0 .750 [-] .625 [.500, .750] 87.5 %" in parsed.shown
    for words in (
        "what most of 200 draws of Gaussian noise of deviation 0.1 make the model report",
        "the model itself may answer otherwise",
        "with a probability of 0.999, not with certainty",
        "an abstention, counts as wrong",
        "prove nothing above 0.163",
        "4/255 on every pixel is 0.44 long",
    ):
        assert words in parsed.shown
    assert "& Sensitivity, at least &" in parsed.shown  # LaTeX
    assert "@misc{cohen2019," in parsed.shown
    assert "L2 up to 0.05, 0.1, by randomized smoothing" in parsed.shown  # the checklists
    names = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(names) == len(set(names))


def test_draws_that_prove_nothing_have_words_and_no_table(tmp_path):
    found = made.evaluation(smoothed=made.smoothed(radii=[], largest_radius=0.0))
    parsed = rendered(made.folder(tmp_path / "run", made.results(), {"standard": found}))
    assert parsed.wrong == [] and "prove nothing above 0." in parsed.shown
    assert "Reports that can't change" not in [text.strip() for text in parsed.texts]


def test_nobody_who_did_not_ask_reads_of_smoothing(pair):
    assert "smoothing" not in rendered(pair[1]).shown


def test_certified_and_stored_scores_stand_beside_the_attacks(tmp_path):
    found = made.evaluation()
    found["evaluations"] += [made.row("certified", epsilon, 0.25, unchanged=0.375) for epsilon in made.RADII]
    for row in found["evaluations"]:
        if row["attack"] == "pgd":
            row["stored"] = {"macro_auc": 0.625}
    parsed = rendered(made.folder(tmp_path / "run", made.results(), {"standard": found}))
    assert "Macro AUC, certified at 2/255 0.250 (0.200 to 0.300)" in parsed.shown
    assert "Reports that provably can't change at 2/255 37.5 %" in parsed.shown
    assert "Macro AUC, worst attack at 2/255 0.500" in parsed.shown  # A bound is no attack.
    assert "PGD-10, 2/255 0.625 (0.575 to 0.675) 0.625 25.0 % 12.5 %" in parsed.shown
    assert "run, certified" in parsed.shown  # the lower end in the plot over the radius


def test_several_runs_stand_for_themselves(pair, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unfinished").mkdir()
    report.main(["base", "robust", "unfinished"])
    told = capsys.readouterr().out
    assert "Left out, as no finished run is there: unfinished" in told
    assert told.splitlines()[-1] == "Report: report.html"
    assert [line.partition(":")[0] for line in told.splitlines()[1:3]] == ["base", "robust"]
    parsed = Parsed((tmp_path / "report.html").read_text())
    assert (parsed.open, parsed.wrong) == ([], [])
    assert "<h1>" not in parsed.shown and "base and robust" in parsed.shown
    assert parsed.shown.count(" met ") > 2


def test_of_many_runs_the_unfinished_and_the_damaged_are_left_out_in_a_line_each(pair, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made.folder(tmp_path / "third", made.results(baseline="../base"))
    made.folder(tmp_path / "cut", made.results())
    (tmp_path / "cut" / "results.json").write_bytes((tmp_path / "base" / "results.json").read_bytes()[:500])
    made.folder(tmp_path / "odd", {"data": {"name": "x"}, "evaluations": [{"attack": "clean"}]})
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "config.json").write_text("{}")
    report.main(["base", "cut", "odd", "robust", "third", "unfinished"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(". Received")[0] for line in lines[:3]] == [
        "Left out, as it can't be read: cut/results.json: expected JSON of a run",
        "Left out, as it can't be read: odd/results.json: expected results as a run writes them",
        "Left out, as no finished run is there: unfinished",
    ]
    assert [line.partition(":")[0] for line in lines[3:6]] == ["base", "robust", "third"]
    assert lines[6:] == ["", "Report: report.html"]
    with pytest.raises(RunError, match="cut and 1 others: expected a finished run"):
        report.main(["cut", "unfinished"])


def test_many_models_stand_below_each_other_and_keep_their_colours(pair, tmp_path):
    for name in ("third", "fourth"):
        made.folder(tmp_path / name, made.results(baseline="../base"), {"standard": made.evaluation(0.125)})
    page.compare([*pair, tmp_path / "third", tmp_path / "fourth"], tmp_path / "all.html")
    text = (tmp_path / "all.html").read_text()
    assert "third 0.875 (0.825 to 0.925) 0.375 (0.325 to 0.425)" in Parsed(text).shown
    # The gallery is that of the robust run, whose colour is the second.
    (kept,) = re.findall(r'id="gallery-data">(.*?)</script>', text)
    assert [model["colour"] for model in json.loads(kept)["models"]] == [0, 1]
    assert json.loads(kept)["run"] == "robust"
    # Where another undefended model comes first, the gallery's baseline keeps the colour that it has on this page.
    made.folder(tmp_path / "first", made.results())
    page.compare([tmp_path / "first", *pair], tmp_path / "all.html")
    (kept,) = re.findall(r'id="gallery-data">(.*?)</script>', (tmp_path / "all.html").read_text())
    assert [model["colour"] for model in json.loads(kept)["models"]] == [1, 2]


@pytest.mark.parametrize("task", ["multi-label", "binary", "multi-class"])
def test_thresholds_are_spoken_of_where_there_are_some(tmp_path, task):
    found = made.results(data=made.data(task=task))
    if task == "multi-class":
        del found["thresholds"]
    shown = rendered(made.folder(tmp_path / "run", found, gallery=made.gallery())).shown
    verdict = shown.partition("Fool it yourself")[0].partition("Under attack")[0]
    assert ("threshold" in verdict) == (task != "multi-class")
    assert ("the likeliest class" in verdict) == (task == "multi-class")


def test_only_models_that_came_along_can_be_fooled_on_the_page(tmp_path):
    shown = made.gallery()
    made.folder(tmp_path / "none", made.results(), gallery=shown)
    text = page.write(tmp_path / "none").read_text()
    assert "fool" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL) and "readNetwork" not in text
    shown["models"][1]["network"] = made.network(1)
    made.folder(tmp_path / "one", made.results(), gallery=shown)
    text = page.write(tmp_path / "one").read_text()
    assert "by this model, and nothing is loaded" in Parsed(text).shown
    assert text.count("<script") == 3 and 'href="#fool"' in text
    kept = json.loads(re.search(r'id="gallery-data">(.*?)</script>', text)[1])
    assert [model.get("network") for model in kept["models"]] == [None, made.network(1)]


def test_runs_on_other_images_are_called_not_alike(pair, tmp_path, monkeypatch):
    other = made.data(sha256="cd" * 32)
    made.folder(tmp_path / "other", made.results(data=other), {"standard": made.evaluation(data=other)})
    page.compare([pair[0], tmp_path / "other"], tmp_path / "both.html")
    assert "Not alike." in Parsed((tmp_path / "both.html").read_text()).shown
    nih = made.data(name="nih")
    made.folder(tmp_path / "nih", made.results(data=nih), {"standard": made.evaluation(data=nih)})
    page.compare([pair[0], tmp_path / "nih"], tmp_path / "both.html")
    assert "chestmnist; nih. For research" in Parsed((tmp_path / "both.html").read_text()).shown


def test_files_that_are_no_runs_are_reported_beside_their_evaluations(tmp_path):
    (tmp_path / "evaluations").mkdir()
    (tmp_path / "evaluations" / "mine-standard.json").write_text(json.dumps(made.evaluation(model="dir/mine.keras")))
    path = page.write(tmp_path)
    assert path == tmp_path / "evaluations" / "report.html"
    assert "mine Clean AUC 0.875" in Parsed(path.read_text()).shown


def of_files(folder, drops):
    """Evaluations of files that are no runs, and what `evaluate.py` writes of several of them together."""
    (folder / "evaluations").mkdir(parents=True)
    models = []
    for name, drop in drops.items():
        (folder / f"{name}.keras").write_bytes(name.encode())
        found = made.evaluation(drop, model=str(folder / f"{name}.keras"))
        (folder / "evaluations" / f"{name}-data-quick.json").write_text(json.dumps(found))
        models.append({"sha256": hashlib.sha256(name.encode()).hexdigest(), "evaluations": found["evaluations"]})
    change = {"difference": 0.125, "low": 0.0625, "high": 0.1875}
    scores = ("auc", "ap", "sensitivity", "specificity")
    rows = [{"title": "clean", "epsilon": 0.0, **{f"macro_{name}": change for name in scores}}]
    told = {"models": models, "differences": [rows] * (len(models) - 1), "radius": 2 / 255}
    if len(drops) > 1:
        (folder / "comparison-data-quick.json").write_text(json.dumps(told))
    return told


def test_files_in_one_folder_are_compared_as_runs_are(tmp_path):
    of_files(tmp_path / "mine", {"a": 0.25, "b": 0.125})
    parsed = rendered(tmp_path / "mine")
    assert parsed.wrong == [] and "Not alike." not in parsed.shown
    assert "b minus a" in parsed.shown and "+0.125 (+0.062 to +0.188)" in parsed.shown
    assert parsed.shown.count("Copy methods") == 2  # Each stands for itself.
    (tmp_path / "mine" / "b.keras").write_bytes(b"another model")
    parsed = rendered(tmp_path / "mine")
    assert "b minus a" not in parsed.shown and "come with python evaluate.py RUN RUN2 ..." in parsed.shown


def test_files_stand_in_the_order_and_colours_of_their_comparison(tmp_path):
    told = of_files(tmp_path / "mine", {"b": 0.25, "c": 0.125, "a": 0.0})
    told["models"], told["differences"] = told["models"][:2], told["differences"][:1]
    (tmp_path / "mine" / "comparison-data-quick.json").write_text(json.dumps(told))
    text = page.write(tmp_path / "mine").read_text()
    sentences = re.findall(r'class="sentence m(\d)"><strong>.*?</svg> (\w)</strong>', text)
    # `c` isn't named before `b`, and what was not compared comes last; a first file is drawn as in other figures.
    assert sentences == [("0", "b"), ("1", "c"), ("2", "a")]
    assert "c minus b" in Parsed(text).shown


def test_a_file_and_a_run_are_compared_in_any_order(pair, tmp_path):
    told = of_files(tmp_path / "mine", {"a": 0.25, "b": 0.125})
    told["models"][1]["sha256"] = hashlib.sha256(b"weights of the baseline").hexdigest()
    (tmp_path / "mine" / "comparison-data-quick.json").write_text(json.dumps(told))
    for folders in ([tmp_path / "mine", pair[0]], [pair[0], tmp_path / "mine"]):
        page.compare(folders, tmp_path / "both.html")
        assert "base minus a" in Parsed((tmp_path / "both.html").read_text()).shown


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for name, drop in (("one", 0.25), ("two", 0.125)):
        of_files(tmp_path / name, {"mine": drop})
    page.compare([tmp_path / "one", tmp_path / "two"], tmp_path / "both.html")
    assert "one/mine and two/mine" in Parsed((tmp_path / "both.html").read_text()).shown


def test_members_of_an_ensemble_stand_side_by_side(tmp_path):
    rows = [
        made.row(attack, epsilon, auc) | {"model": name, "through": through}
        for name, ways in (("a", ("a",)), ("vote", ("a", "end to end")))
        for attack, epsilon, auc, through in (
            ("clean", 0.0, 0.75, None),
            *(("pgd", 4 / 255, 0.25 if way == "end to end" else 0.5, way) for way in ways),
        )
    ]
    found = made.results(evaluations=rows, thresholds={"a": {}, "vote": {}}) | {"members": ["a", "b"]}
    found["config"] = dataclasses.asdict(config.EnsembleConfig(members=("runs/a", "runs/b")))
    del found["training"], found["model"]
    shown = rendered(made.folder(tmp_path / "ensemble", found)).shown
    assert "a Clean AUC 0.750; PGD 0.50 (0.45 to 0.55) at 4/255" in shown
    assert "vote Clean AUC 0.750; PGD 0.25 (0.20 to 0.30) at 4/255" in shown
    assert "python ensemble.py runs/a runs/b" in shown


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda path: None, "expected a finished run"),
        (lambda path: (path / "results.json").write_text("{"), "expected JSON of a run"),
        (
            lambda path: (path / "results.json").write_text('{"data": 1, "evaluations": []}'),
            "expected data of a run",
        ),
        (lambda path: (path / "results.json").write_text('{"data": {}, "evaluations": []}'), "expected results as"),
        (lambda path: made.folder(path / "x", made.results(), {"one": {}}), "expected model, data"),
    ],
)
def test_what_is_no_run_is_one_line_and_writes_nothing(tmp_path, make, part):
    folder = tmp_path / "run"
    folder.mkdir()
    make(folder)
    folder = folder / "x" if (folder / "x").exists() else folder
    before = sorted(folder.rglob("*"))
    done = subprocess.run(
        [sys.executable, ROOT / "report.py", folder], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert part in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_only_pages_of_ours_are_replaced(pair, tmp_path):
    page.write(pair[1])
    page.write(pair[1])  # one of ours
    other = tmp_path / "other.html"
    other.write_text("<p>mine</p>")
    for out, part in ((other, "Received another file"), (tmp_path / "x.txt", "the name of a page"),
                      (tmp_path / "no" / "x.html", "in a folder that is there")):  # fmt: skip
        with pytest.raises(RunError, match=part):
            report.main([str(pair[1]), "--out", str(out)])
    assert other.read_text() == "<p>mine</p>"


def test_links_in_a_run_are_not_followed(pair, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(made.png(5))
    (pair[1] / "chestxray.png").unlink()
    (pair[1] / "chestxray.png").symlink_to(secret)
    assert dossier.pictures(pair[1]) == {}
    target = tmp_path / "target.html"
    target.write_text("kept")
    (pair[1] / "report.html").symlink_to(target)
    page.write(pair[1])
    assert target.read_text() == "kept"


def test_pictures_that_are_too_large_are_left_out(pair):
    (pair[1] / "explanations").mkdir()
    (pair[1] / "explanations" / "explanation.png").write_bytes(made.png() + bytes(dossier.MAX_PICTURE))
    assert list(dossier.pictures(pair[1])) == ["chestxray.png"]
    (pair[1] / "explanations" / "explanation.png").write_bytes(made.png())
    assert list(dossier.pictures(pair[1])) == ["chestxray.png", "explanations/explanation.png"]


def test_epochs_without_a_score_are_gaps_in_the_curves(pair):
    path = pair[1] / "history.csv"
    path.write_text("epoch,loss,auc,val_auc\n0,nan,0.5,nan\n1,inf,0.6,0.25\n2,nan,0.7,0.5\n")
    text = page.write(pair[1]).read_text()
    assert "robust: auc over the epochs" in text and "robust: loss over the epochs" not in text
    assert not re.search(r"[\s,\"](nan|inf)[\s,\"]", text)


def test_no_tensorflow_is_loaded_for_a_page(pair):
    code = (
        "import sys, report; report.main(sys.argv[1:]); sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, pair[1]], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_work_that_is_done_does_not_fail_for_want_of_a_page(tmp_path, capsys):
    folder = made.folder(tmp_path / "run", {"data": {}, "evaluations": []})
    assert page.write(folder) is None
    told = capsys.readouterr().out
    assert told.startswith("No report is written. ") and told.count("\n") == 1
    assert not (folder / "report.html").exists()


def test_the_same_run_gives_the_same_page(pair):
    assert page.write(pair[1]).read_bytes() == page.write(pair[1]).read_bytes()


def places(content, depth=3):
    """Paths of keys in JSON, of lists the first and the last entry."""
    if depth == 0 or not isinstance(content, dict | list) or not content:
        return
    for key in content if isinstance(content, dict) else {0, len(content) - 1}:
        yield (key,)
        yield from ((key, *rest) for rest in places(content[key], depth - 1))


@pytest.mark.parametrize("file", ["results.json", "evaluations/standard.json", "gallery.json"])
def test_results_of_another_form_give_a_page_or_one_line(tmp_path, file, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # Hundreds of them take a minute.
    found = made.results(baseline="../base")
    made.folder(tmp_path / "run", found, {"standard": made.evaluation()}, gallery=made.gallery())
    path = tmp_path / "run" / file
    whole = path.read_text()
    outcomes = {"page": 0, "refused": 0}
    for place in places(json.loads(whole)):
        if place[:-1] in (("config",), ("baseline", "data")):
            continue  # Many alike.
        for value in ("x", None, -1, [], float("nan"), 10**400):
            content = json.loads(whole)
            parent = content
            for key in place[:-1]:
                parent = parent[key]
            parent[place[-1]] = value
            path.write_text(json.dumps(content))
            try:
                page.compare([tmp_path / "run"], tmp_path / "page.html")
                outcomes["page"] += 1
                assert value == "x" or not re.search(r"\b(nan|inf|1?0{20,})\b", shown(tmp_path / "page.html"))
            except RunError as error:
                assert "\n" not in str(error)
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 5
