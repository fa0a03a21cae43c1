"""Measure options of adversarial training without a recipe: one run per setting, judged on attacked validation images.

    python benchmarks/adversarial_defaults.py --data phantom --limit 2000 --epochs 8

All options go to diagnosis.py and diagnosis_adv.py as they are. Prints a Markdown table; runs lie in runs/defaults.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = ROOT / "runs" / "defaults"
SETTINGS = (
    {},
    {"adv-weight": 0.8},
    {"adv-weight": 1.0},
    {"train-epsilon": 0.03, "train-step-size": 0.0075},
    {"train-steps": 3, "train-step-size": 0.025},
    {"train-steps": 1, "train-step-size": 0.05},
)


def main():
    """Run every setting and print the table."""
    options = sys.argv[1:]
    run("diagnosis.py", "--run", RUNS / "baseline", *options)
    print(
        "| Setting | Validation AUC under PGD | Epoch | Images/s |",
        "| --- | ---: | ---: | ---: |",
        sep="\n",
        flush=True,
    )
    for number, setting in enumerate(SETTINGS):
        changes = [f"--{name}={value}" for name, value in setting.items()]
        folder = RUNS / str(number)
        own = ("--method", "online", "--baseline", RUNS / "baseline", "--run", folder)
        run("diagnosis_adv.py", *own, *options, *changes)
        training = json.loads((folder / "results.json").read_text())["training"]
        print(
            f"| {' '.join(changes) or 'defaults'} | {training['best_val_auc']:.4f} | {training['best_epoch']} "
            f"| {training['images_per_second']:.0f} |",
            flush=True,
        )


def run(script, *arguments):
    """Run one of the scripts quietly; its errors stop everything."""
    command = [sys.executable, ROOT / script, "--overwrite", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
