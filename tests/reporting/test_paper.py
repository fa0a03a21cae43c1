"""What a paper takes from a run: paragraph, tables, citations, the command, and the checklists' answers."""

import copy
import csv
import dataclasses
import io
import json
import re
import shlex

import made
import pytest

from chestrobust import catalogue, config
from chestrobust.config import methods
from chestrobust.reporting import bibliography, checklists, dossier, exports, smoothing


@pytest.fixture
def robust(tmp_path):
    """The `Dossier` of a robust run with an evaluation on its own data and one on others."""
    other = made.evaluation(data=made.data(name="nih", sha256="cd" * 32))
    found = {"standard": made.evaluation(), "nih-quick": other}
    made.folder(tmp_path / "robust", made.results(baseline="../base"), found)
    return dossier.read(tmp_path / "robust")[-1]


def test_the_paragraph_tells_data_training_attacks_and_scores(robust):
    text = exports.methods(robust)
    for part in (
        "We used chestmnist with 3 labels (multi-label) and images of 28 x 28 x 1 pixels: 48 for training",
        "The model (cnn, 111,662 parameters) was trained adversarially (method online, radius 0.05, step size 0.0125, "
        "7 steps) for 3 epochs",
        "The checkpoint was chosen by macro AUC under PGD-10, epsilon 0.05 on validation images.",
        "epsilon 2/255, 4/255. Attacks ran on the logits of the whole model in inference mode: FGSM; PGD-10.",
        "We report macro AUC and average precision over all labels. Thresholds were fixed on clean",
        "not tuned again under attack. Intervals are 95 % intervals (1000 bootstrap resamples).",
        "The attacks were audited: 2 of 2 checks; 1 not run.",
    ):
        assert part in text
    assert "made-up" not in text


def test_the_paragraph_tells_the_settings_that_the_method_has(robust):
    robust.results["config"] |= {"method": "fast", "train_epsilon": 4 / 255}
    assert "(method fast, radius 4/255) for" in exports.methods(robust)
    assert "steps of PGD are 2.5 epsilon / steps long" not in exports.methods(robust)
    robust.chief["evaluations"][2]["step_size"] = 2 / 255 / 4
    assert "Unless said, steps of PGD are 2.5 epsilon / steps long" in exports.methods(robust)


def test_a_model_chosen_on_clean_images_is_not_under_an_attack_that_is_called_clean(tmp_path):
    training = {"epochs": 3, "best_epoch": 2, "selected_on": "clean"}
    found = made.results(training=training, data=made.data(label_names=["mass"]))
    made.folder(tmp_path / "run", found)
    one = dossier.read(tmp_path / "run")[0]
    assert "with 1 label (multi-label)" in exports.methods(one)
    assert "The checkpoint was chosen by clean macro AUC on validation images." in exports.methods(one)
    texts = {answer.item.number: answer.text for answer in checklists.answered(checklists.facts(one))}
    assert texts["26"] == "clean macro AUC on validation images, epoch 2"
    assert texts["24"] == "random weights, seed 0"


def test_made_up_data_are_called_so_in_the_paragraph(tmp_path):
    made.folder(tmp_path / "run", made.results(data=made.data(synthetic=True)))
    assert "(made-up data, without meaning for patients)" in exports.methods(dossier.read(tmp_path / "run")[0])


def test_latex_has_a_cell_for_each_score_and_escapes_names():
    rows = [(made.row("clean", 0.0, 0.875), made.row("clean", 0.0, 0.75)),
            (made.row("pgd", 4 / 255, 0.5), made.row("pgd", 4 / 255, 0.25, macro_ap=None))]  # fmt: skip
    lines = exports.latex(["base_1", "50 % & more"], rows).splitlines()
    assert lines[:2] == [r"\begin{tabular}{lcccc}", r"\toprule"]
    assert lines[2] == r"Attack & \multicolumn{2}{c}{base\_1} & \multicolumn{2}{c}{50 \% \& more} \\"
    assert lines[-3:] == [
        r"PGD-10, epsilon 0.0157 (4/255) & 0.500 (0.450--0.550) & 0.250 (0.200--0.300) & 0.250 (0.200--0.300) & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert exports.escaped("\\{}~^#$_") == (r"\textbackslash{}\{\}\textasciitilde{}\textasciicircum{}\#\$\_")


def test_csv_holds_all_digits():
    rows = [(made.row("clean", 0.0, 0.875, macro_auc=0.8754321987654321),)]
    (line,) = csv.DictReader(io.StringIO(exports.table(["a, b"], rows)))
    assert (line["model"], line["attack"], float(line["macro_auc"])) == ("a, b", "clean", 0.8754321987654321)
    assert float(line["macro_auc_low"]) == pytest.approx(0.825)


def test_what_smoothing_proves_goes_into_the_paragraph_and_tables_of_its_own(tmp_path):
    found = made.evaluation(smoothed=made.smoothed())
    subject = dossier.read(made.folder(tmp_path / "run", made.results(), {"standard": found}))[0]
    text = exports.methods(subject)
    assert "200 draws of Gaussian noise of deviation 0.1 per image, against changes of Euclidean (L2) length" in text
    assert "up to 0, 0.05, 0.1: each image's holds for the smoothed model with a probability of 0.999" in text
    lines = exports.latex_smoothed(found).splitlines()
    assert lines[0] == r"\begin{tabular}{lccc}"
    assert (
        lines[2] == r"Change up to (L2) & Sensitivity, at least & Specificity, at least & Reports that can't change \\"
    )
    assert lines[5] == r"0.05 & .500 [.438, .562] & .375 [.250, .500] & 25.0 \% \\"
    rows = list(csv.DictReader(io.StringIO(smoothing.as_csv([("a, b", found)]))))
    assert [float(row["radius"]) for row in rows] == [0, 0.05, 0.1]
    assert [row["macro_sensitivity_low"] for row in rows] == ["", "0.4375", "0.1875"]
    assert {(row["model"], row["sigma"], row["draws"], row["alpha"]) for row in rows} == {
        ("a, b", "0.1", "200", "0.001")
    }
    assert [float(row["unchanged"]) for row in rows] == [0.875, 0.25, 0]


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: made.results(), config.BaselineConfig(limit=200, data="a b.npz", epsilon=0.5 / 255)),
        (lambda: made.results(baseline="../base"), config.AdversarialConfig(train_steps=3, flip=False, resume=True)),
        (
            lambda: made.results(baseline="../base"),
            config.parse(config.AdversarialConfig, ["--recipe=best", "--ema=0"]),
        ),
        (made.evaluation, config.EvaluateConfig("runs/x", suite="standard", epsilons=(0.1, 0.2), extra=("noise",))),
    ],
)
def test_the_command_gives_the_options_back(make, options):
    found = make()
    found["config"] = dataclasses.asdict(options)
    python, script, *arguments = shlex.split(exports.command(found))
    assert python == "python"
    parsed = config.parse(type(options), arguments)
    expected = dataclasses.asdict(options) | ({"resume": False} if hasattr(options, "resume") else {})
    assert json.dumps(dataclasses.asdict(parsed)) == json.dumps(expected)  # tuples as lists
    assert script == {"BaselineConfig": "diagnosis.py", "AdversarialConfig": "diagnosis_adv.py"}.get(
        type(options).__name__, "evaluate.py"
    )


def test_attacks_methods_and_data_are_cited_once():
    works = bibliography.cited(
        "chestmnist_64", ["clean", "pgd", "pgd-auc", "ni-fgsm", "apgd-bce", "square"], "trades", True
    )
    assert [work[0] for work in works] == [
        *("yang2023", "wang2017", "madry2018", "lin2020", "croce2020", "andriushchenko2020", "zhang2019"),
        "carlini2019",
    ]
    text = bibliography.bibtex(works)
    assert text.count("@misc{") == len(works) and text.count("{") == text.count("}")
    assert [work[0] for work in bibliography.cited("phantom", ["clean"])] == []


def test_every_attack_of_a_paper_is_cited():
    ours = {"clean", "noise", "hide", "invent", "exposure"}
    missing = {name for name in catalogue.ATTACKS if not bibliography.cited("phantom", [name])}
    assert missing <= ours | {name for name, row in catalogue.ATTACKS.items() if row.extra}


def test_every_method_of_training_is_cited_by_whose_it_is():
    assert set(bibliography.METHODS) == set(methods.METHODS)
    # The single step of `fast` is that of N-FGSM, and `static` trains on images of FGSM.
    assert [bibliography.METHODS[name][0] for name in ("fast", "static")] == ["dejorge2022", "goodfellow2015"]
    assert [work[0] for work in bibliography.cited("phantom", ["universal-hide", "ni-fgsm"])] == [
        "moosavi2017",
        "lin2020",
    ]


def test_entries_have_keys_years_and_numbers():
    works = [*bibliography.ATTACKS.values(), *bibliography.METHODS.values()]
    works += [work for known in bibliography.DATA.values() for work in known]
    assert all(re.fullmatch(r"[a-z]+\d{4}", work[0]) and work[0].endswith(str(work[4])) for work in works)
    assert all(work[5] is None or re.fullmatch(r"\d{4}\.\d{5}|\d{4}\.\d{4}", work[5]) for work in works)
    assert len({work[0] for work in works}) == len(set(works))


def test_every_item_is_answered_from_the_results_or_says_what_to_do(robust):
    answers = checklists.answered(checklists.facts(robust))
    unmet = [answer for answer in answers if not answer.met]
    assert [(answer.item.guideline, answer.item.number) for answer in unmet] == [
        ("CLAIM 2024", "14"),
        ("CLAIM 2024", "20"),
        ("TRIPOD+AI", "14"),
        ("FUTURE-AI", "Fairness 3"),
    ]
    assert all(answer.text for answer in answers)
    texts = {answer.item.number: answer.text for answer in answers}
    assert texts["22"] == "cnn, 111,662 parameters"
    assert texts["30"] == "macro AUC 0.500 under the worst of 2 attacks, epsilon 2/255"
    assert texts["33"] == "nih"
    assert texts["38"] == "clean macro AUC 0.875, 95 % interval 0.825 to 0.925"
    assert texts["21"] == "20 test images; positive: effusion 6, mass 6, hernia 6"
    assert len({(answer.item.guideline, answer.item.number) for answer in answers}) == len(answers)


def test_scores_of_other_images_than_the_runs_own_are_counted_as_such(tmp_path):
    fewer = made.evaluation(data=made.data(counts={"train": 12, "val": 12, "test": 20}))
    own = made.results(data=made.data(counts={"train": 48, "val": 24, "test": 80}))
    made.folder(tmp_path / "run", own, {"standard": fewer})
    one = dossier.read(tmp_path / "run")[0]
    assert "24 for validation and 80 for testing" in exports.methods(one)
    assert "over all labels, of 20 test images." in exports.methods(one)
    texts = {answer.item.number: answer.text for answer in checklists.answered(checklists.facts(one))}
    assert texts["21"] == "20 test images; positive: effusion 6, mass 6, hernia 6"


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ("multi-label", "probabilities; 3 thresholds fixed on clean"),
        ("multi-class", "largest is the answer: no thresh"),
    ],
)
def test_classes_that_exclude_each_other_have_no_thresholds(tmp_path, task, told):
    made.folder(tmp_path / "run", made.results(data=made.data(task=task)))
    answers = checklists.answered(checklists.facts(dossier.read(tmp_path / "run")[0]))
    assert told in {answer.item.number: answer.text for answer in answers}["15"]


def test_the_checklists_speak_of_the_radius_of_the_verdict(robust):
    known = checklists.facts(robust)
    known["judged"]["steps_curve"]["epsilon"] = 4 / 255
    texts = {answer.item.number: answer.text for answer in checklists.answered(known)}
    assert texts["30"] == "macro AUC 0.438 under the worst of 2 attacks, epsilon 4/255"
    assert texts["Robustness 3"].startswith(texts["30"])


@pytest.mark.parametrize("item", checklists.ITEMS, ids=lambda item: f"{item.guideline} {item.number}")
def test_an_item_whose_field_is_missing_is_not_met(robust, item):
    known = checklists.facts(robust)
    (before,) = [answer for answer in checklists.answered(known) if answer.item == item]
    for field in item.fields:
        without = copy.deepcopy(known)
        *path, last = field.split(".")
        parent = without
        for key in path:
            parent = parent.get(key, {})
        parent.pop(last, None)
        (after,) = [answer for answer in checklists.answered(without) if answer.item == item]
        assert not after.met
        if before.met:
            assert after.text != before.text


def test_intervals_of_training_answer_for_uncertainty(tmp_path):
    found = made.results()
    made.folder(tmp_path / "without", found)
    for row in found["evaluations"]:
        row["intervals"] = {"macro_auc": [0.8, 0.9], "macro_ap": [0.3, 0.4], "macro_sensitivity": None}
    made.folder(tmp_path / "run", found)
    intervals = "95 % intervals of macro AUC, average precision, and of each label's"
    for folder, told in (("run", intervals), ("without", None)):
        answers = checklists.answered(checklists.facts(dossier.read(tmp_path / folder)[-1]))
        (answer,) = (one for one in answers if (one.item.guideline, one.item.number) == ("CLAIM 2024", "29"))
        assert answer.met == bool(told) and answer.text == (told or answer.item.remedy)


def test_scores_by_group_answer_for_fairness(robust):
    for row in robust.judged["evaluations"]:
        row["by"] = {"sex": {}, "age": {}}
    texts = {answer.item.number: answer for answer in checklists.answered(checklists.facts(robust))}
    assert texts["Fairness 3"].met and texts["Fairness 3"].text == "scores by sex, age"
