"""The ChestMNIST benchmark: which radius its rule chooses, what it runs, and that it goes on where it stopped."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import chestmnist  # noqa: E402

KEPT = {"": 0.80, "1/255": 0.799, "4/255": 0.785, "8/255": 0.779}  # clean on validation images, by radius of training


@pytest.fixture
def calls(monkeypatch):
    """Scripts that write what the real ones would; returns what was called."""
    calls = []

    def call(script, *arguments):
        calls.append((script, *arguments))
        if script == "evaluate.py":
            file = Path(arguments[0]) / "evaluations" / "chestmnist.json"
            rows = [{"attack": "clean", "epsilon": 0.0, "macro_auc": 0.75}]
            rows += [{"attack": "fgsm", "epsilon": 0.01, "macro_auc": 0.4}]
            rows += [{"attack": "pgd", "epsilon": epsilon, "macro_auc": 0.3} for epsilon in (4 / 255, 0.03)]
            found = {"evaluations": rows, "audit": [{"name": "gradients", "status": "failed"}]}
        else:
            given = dict(zip(arguments[::2], arguments[1::2], strict=False))
            file = Path(given["--run"]) / "results.json"
            training = {"best_epoch": 2, "images_per_second": 10_000.0, "seconds": 5.0}
            found = {"training": training, "data": {"sha256": "0"}, "hardware": {}}
            score = KEPT[given.get("--train-epsilon", "")]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.with_name("history.csv").write_text(f"epoch,val_auc\n0,0.1\n1,{score}\n2,0.2\n")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found))

    monkeypatch.setattr(chestmnist, "call", call)
    return calls


def asked(folder, *others):
    return [f"--data-dir={folder}", f"--folder={folder}", "--sizes=28", "--radii", "8/255", "1/255", "4/255", *others]


def test_the_largest_radius_that_keeps_the_clean_score_is_chosen(tmp_path, calls, capsys):
    chestmnist.main(asked(tmp_path, "--recipe=fast", "--options=--epochs 5"))
    rows = json.loads((tmp_path / "chestmnist.json").read_text())
    assert [row["validation"] for row in rows] == [KEPT[row["radius"]] for row in rows]
    assert [row["radius"] for row in rows if row["chosen"]] == ["4/255"]
    text = capsys.readouterr().out
    # Five epochs of four models, 10,000 images a second.
    assert f"28 px: at most {4 * 5 * 78_468 / 10_000 / 3600:.1f} hours" in text
    assert "28 px: robust, 4/255, chosen" in text and "reported: baseline" in text
    robust = [call for call in calls if call[0] == "diagnosis_adv.py" and call[-1].endswith("28-1of255")]
    assert robust[0][robust[0].index("--train-step-size") + 1] == "1/510"


def test_where_none_keeps_it_the_smallest_is_chosen():
    rows = [{"radius": radius, "validation": 0.5 if radius else 0.8} for radius in ("", "4/255", "1/255", "8/255")]
    assert chestmnist.chosen(rows) == "1/255"


def test_what_is_done_is_not_done_again_and_an_estimate_trains_nothing_else(tmp_path, calls):
    chestmnist.main(asked(tmp_path, "--estimate"))
    assert len(calls) == 2
    chestmnist.main(asked(tmp_path))
    calls.clear()
    chestmnist.main(asked(tmp_path))
    assert calls == []
    (tmp_path / "28-4of255" / "results.json").unlink()
    (tmp_path / "28-4of255" / "config.json").touch()
    chestmnist.main(asked(tmp_path))
    assert [(call[0], call[-1]) for call in calls] == [("diagnosis_adv.py", "--resume")]
