"""The sentence that an evaluation comes to, and the list of runs: from results alone."""

import dataclasses

import made
import pytest

from chestrobust import __main__ as listing
from chestrobust import config
from chestrobust.errors import RunError
from chestrobust.reporting import tables, verdict


def test_the_verdict_is_one_sentence():
    audit = [made.line(f"check {number}") for number in range(15)]
    rows = [
        made.row("clean", 0.0, 0.918, recall={"macro": 0.91}),
        *(made.row(name, 4 / 255, 0.7) for name in ("fgsm", "pgd", "pgd-auc", "transfer", "square", "apgd-bce")),
        made.row("apgd-auc", 4 / 255, 0.55, recall={"macro": 0.12}),
        made.row("floor", 4 / 255, 0.3),
        made.row("certified", 4 / 255, 0.1),
    ]
    assert verdict.sentence({"evaluations": rows, "audit": audit}) == (
        "Clean AUC 0.918; worst of 7 attacks (one transferred) 0.55 (0.50 to 0.60) at 4/255; "
        "sensitivity 0.91 -> 0.12. Trust: 15 of 15 checks."
    )


def test_the_verdict_tells_a_transferred_attack_which_its_own_source_does_not_have():
    own = [made.row("fgsm", 0.1, 0.7), made.row("pgd", 0.1, 0.5)]
    assert verdict.attacks_of(own, own[1]) == "worst of 2 attacks"
    assert verdict.attacks_of([*own, made.row("transfer", 0.1, 0.6)], own[1]) == "worst of 3 attacks (one transferred)"
    assert verdict.attacks_of([*own, made.row("transfer", 0.2, 0.6)], own[1]) == "worst of 2 attacks"


def test_operating_points_stand_beside_the_auc():
    rows = [
        made.row("clean", 0.0, 0.9, macro_sensitivity=0.8, macro_specificity=0.7),
        made.row("pgd", 0.03, 0.4, macro_sensitivity=0.1, macro_specificity=0.6),
    ]
    assert verdict.sentence({"evaluations": rows}) == (
        "Clean AUC 0.900; PGD 0.40 (0.35 to 0.45) at 0.03; sensitivity 0.80 -> 0.10; specificity 0.70 -> 0.60. "
        "Trust: not audited yet."
    )


def test_results_of_training_have_no_intervals_and_no_audit():
    assert verdict.sentence(made.results()) == (
        "Clean AUC 0.875; worst of 2 attacks 0.62 at 4/255. Trust: not audited yet."
    )


def test_the_joint_score_counts_as_the_worst_and_the_floor_does_not():
    rows = [made.row("clean", 0.0, 0.9), *(made.row(name, 0.1, auc) for name, auc in (("pgd", 0.5), ("joint", 0.4), ("floor", 0.2)))]  # fmt: skip  # noqa: E501
    assert verdict.worst({"evaluations": rows})["attack"] == "joint"
    assert [row["attack"] for row in verdict.attacks_at(rows, 0.1)] == ["pgd"]


def test_of_equal_scores_the_stronger_attack_is_named():
    rows = [made.row(name, 0.1, 0.0) for name in ("fgsm", "pgd")]
    assert verdict.worst({"evaluations": rows})["attack"] == "pgd"
    # Square follows no gradient, and takes hundreds of queries to come to the same.
    assert verdict.lowest([*rows, made.row("square", 0.1, 0.0)])["attack"] == "pgd"
    assert verdict.lowest([*rows, made.row("square", 0.1, 0.0), made.row("joint", 0.1, 0.0)])["attack"] == "joint"
    assert verdict.lowest([made.row("fgsm", 0.1, 0.0), made.row("pgd", 0.1, 0.25)])["attack"] == "fgsm"
    found = made.evaluation()
    for row in found["evaluations"]:
        row |= {"macro_auc": 0.0} if row["attack"] in ("fgsm", "pgd") else {}
    found["evaluations"] = [row for row in found["evaluations"] if row["attack"] in ("clean", "fgsm", "pgd")]
    assert "Attacked: PGD-10, epsilon 0.00784 (2/255)." in tables.evaluation(found | {"labels": None}, verbose=False)


def test_the_radius_is_that_of_the_audit_else_the_middle_one():
    found = made.evaluation()
    assert verdict.radius(found) == pytest.approx(2 / 255)
    found["steps_curve"]["epsilon"] = 4 / 255
    assert verdict.radius(found) == pytest.approx(4 / 255)
    assert verdict.radius({"evaluations": [made.row("clean", 0.0, 0.9)]}) is None
    # One pixel may change altogether: its epsilon is no radius of a ball.
    assert verdict.radius({"evaluations": [made.row("clean", 0.0, 0.9), made.row("one-pixel", 1.0, 0.5)]}) is None


def test_of_several_radii_the_verdict_says_which_one_it_is_of():
    found = made.evaluation()
    assert " at 2/255, the middle radius; " in verdict.sentence(found)
    found["steps_curve"]["epsilon"] = 4 / 255
    assert " at 4/255; " in verdict.sentence(found)
    found["own_epsilon"] = 4 / 255
    assert " at 4/255, the run's own radius; " in verdict.sentence(found)
    found["evaluations"] = [row for row in found["evaluations"] if row["epsilon"] in (0, 4 / 255)]
    assert " at 4/255; " in verdict.sentence(found)  # There is no other.


def test_undefined_scores_and_single_radii_are_said_so():
    rows = [made.row("clean", 0.0, 0.5), made.row("pgd", 0.1, 0.5)]
    for row in rows:
        row["macro_auc"] = None
    assert verdict.sentence({"evaluations": rows}) == "Clean AUC undefined. Trust: not audited yet."


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([("a", "passed", None), ("b", "passed", "note")], "Trust: 2 of 2 checks; note: b."),
        ([("a", "failed", "invalid"), ("b", "passed", None)], "Trust: 1 of 2 checks; invalid: a."),
        (
            [("a", "failed", "weak model"), ("b", "failed", "invalid"), ("c", "not run", None)],
            "Trust: 0 of 2 checks; invalid: b; weak model: a; 1 not run.",
        ),
        ([("a", "failed", None)], "Trust: 0 of 1 checks."),  # of an earlier version
    ],
)
def test_trust_counts_what_ran_and_names_what_failed(lines, text):
    assert verdict.trust([made.line(*line) for line in lines]) == text


def test_the_terminal_tells_what_the_audit_found_and_all_of_it_if_asked():
    audit = [
        made.line("fine"),
        made.line("bad", "failed", "invalid"),
        made.line("odd", "passed", "note"),
        made.line("missing", "not run", value=None),
    ]
    found = made.evaluation(audit=audit, adapters=[], labels=None)
    told, all_of_it = tables.evaluation(found, verbose=False), tables.evaluation(found, verbose=True)
    assert "text of fine" in all_of_it and "text of fine" not in told
    for name in ("bad", "odd", "missing"):
        assert f"text of {name}" in told
    assert told.splitlines()[-1] == all_of_it.splitlines()[-1] == "Audit: 2 passed, 1 failed, 1 not run"


@pytest.mark.parametrize(
    ("suite", "steps", "command"),
    [
        ("quick", 10, "python evaluate.py 'my run' --suite standard"),
        ("standard", 10, "python evaluate.py 'my run' --suite standard --steps 50 --restarts 5"),
        ("standard", 50, "python explain.py 'my run'"),
    ],
)
def test_an_evaluation_ends_in_the_command_to_try_next(tmp_path, suite, steps, command):
    found = made.evaluation()
    found["config"] |= {"suite": suite, "steps": steps}
    page = tmp_path / "report.html"
    page.touch()
    lines = verdict.after_evaluation("my run", found, page, found["config"]).splitlines()
    assert lines[0].startswith("Verdict: Clean AUC 0.875; worst of 2 attacks")
    assert lines[1:] == [f"Files:   {page}", f"Next:    {command}"]
    found["audit"].append(made.line("bad", "failed", "invalid"))  # Nobody is sent on with a score that can't be used.
    last = verdict.after_evaluation("my run", found, page, found["config"]).splitlines()[-1]
    assert last == f"Next:    what failed, above and in docs/audit.md; then {command}"


def test_training_ends_in_the_robust_model_or_the_evaluation(tmp_path):
    (tmp_path / "report.html").touch()
    ends = [verdict.after_training(tmp_path, made.results(baseline=base)).splitlines() for base in (None, "../base")]
    assert ends[0][1:] == [
        f"Files:   {tmp_path / 'report.html'}",
        f"Next:    python diagnosis_adv.py --params {tmp_path / 'config.json'} --baseline {tmp_path}",
    ]
    assert ends[1][-1] == f"Next:    python evaluate.py {tmp_path} --suite standard"


def test_runs_are_listed_with_what_is_known_of_them(tmp_path, capsys):
    made.folder(tmp_path / "a" / "base", made.results())
    made.folder(tmp_path / "robust", made.results(baseline="../base"), {"standard": made.evaluation()})
    made.folder(tmp_path / "broken", {"data": 1})
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.json").write_text("{}")
    (tmp_path / "no run").mkdir()
    # Of a search, no trial: it never ends as a run does.
    (tmp_path / "search" / "trials" / "0000").mkdir(parents=True)
    (tmp_path / "search" / "trials" / "0000" / "config.json").write_text("{}")
    (tmp_path / "search" / "study.db").touch()
    listing.main(["runs", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    cells = {row[0]: row[1:] for row in ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:])}
    assert cells == {
        "a/base": ["chestmnist", "cnn", "0.875", "0.625 at 4/255", "not audited"],
        "robust": ["chestmnist", "cnn", "0.875", "0.500 at 2/255", "2 of 2"],
        "broken": ["", "", "", "", "can't be read"],
        "new": ["", "", "", "", "unfinished"],
    }
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_folder_without_runs_is_one_line(tmp_path, make):
    make(tmp_path / "runs")
    with pytest.raises(RunError, match=r"runs: expected .*Received none\. Train a model"):
        listing.main(["runs", str(tmp_path / "runs")])


def test_the_next_command_names_the_data_that_were_given_where_they_are(tmp_path):
    file = tmp_path / "mine.keras"
    file.write_bytes(b"")
    chosen = dataclasses.asdict(config.EvaluateConfig("x", data="a.npz", limit=50, input_range=("0", "255")))
    told = verdict.after_evaluation(file, made.evaluation(), None, chosen).splitlines()[-1]
    # Whatever results leave out, such as the default folder of data, isn't taken for another one.
    assert told.endswith("mine.keras --data=a.npz --limit=50 --input-range 0 255 --suite standard")
    chosen |= {"data": "/scans/a.npz", "data_dir": "/scans"}
    told = verdict.after_evaluation(file, made.evaluation(), None, chosen).splitlines()[-1]
    assert "--data=/scans/a.npz --data-dir=/scans --limit=50" in told
    # What is given of a run is kept too, and what its model's file needs; the rest it tells itself.
    chosen = dataclasses.asdict(config.EvaluateConfig("x", data="nih", root="/scans", metadata=False, import_="own.py"))
    told = verdict.after_evaluation(tmp_path, made.evaluation(), None, chosen).splitlines()[-1]
    assert told.endswith(f"{tmp_path} --data=nih --root=/scans --no-metadata --import=own.py --suite standard")
    chosen = dataclasses.asdict(config.EvaluateConfig("x"))
    told = verdict.after_evaluation(tmp_path, made.evaluation(), None, chosen).splitlines()[-1]
    assert told.endswith(f"{tmp_path} --suite standard")
