"""What the systems do whose work this project takes over, each on a sample of its own kind of data.

    python benchmarks/systems.py --samples DIR                all of them; DIR holds nih_mini, alzheimer_mri, ...
    python benchmarks/systems.py --samples DIR --systems 4 5

Prints each command and what it reported. Every command continues or is skipped if its run is there, so an interrupted
benchmark goes on with the same command. Small images, few epochs and random weights: enough to see that each works, not
to repeat what its authors reached.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ALZHEIMER = (
    "--data folders --root {samples}/alzheimer_mri --size 64 --batch-size 32 --epsilon 0.005 --step-size 0.00125"
)
BACKBONES = {
    "resnet34": "",
    "efficientnet_b0": "",
    "dinov2_s14": "--backbone-size 56 --learning-rate 0.0003",
}
COVID = (
    "--data covid --root {samples}/covid_chestxray --size 64 --model covid_cnn --augment covid_cnn "
    "--batch-size 8 --learning-rate 0.0001 --epsilon 0.025 --step-size 0.005"
)
NIH = "--data nih --root {samples}/nih_folder --size 128"
SYSTEMS = {
    2: [
        "diagnosis.py --data {samples}/nih_mini/chestmnist_28.npz --model vgg --augment vgg --patience 3 "
        "--epsilon 4/255 --step-size 1/255 --run {runs}/vgg",
        "evaluate.py {runs}/vgg --epsilons 0 4/255",
    ],
    3: [
        *(
            f"diagnosis.py {ALZHEIMER} --model {name} {own} --epochs 6 --run {{runs}}/{name}"
            for name, own in BACKBONES.items()
        ),
        *(
            f"diagnosis_adv.py {ALZHEIMER} --model {name} {own} --epochs 2 --init-from {{runs}}/{name} "
            f"--baseline {{runs}}/{name} --train-epsilon 0.01 --train-step-size 0.005 --train-steps 3 "
            f"--run {{runs}}/{name}_robust"
            for name, own in BACKBONES.items()
        ),
        "ensemble.py {runs}/resnet34 {runs}/efficientnet_b0 {runs}/dinov2_s14 --overwrite --run {runs}/ensemble",
        "ensemble.py {runs}/resnet34_robust {runs}/efficientnet_b0_robust {runs}/dinov2_s14_robust --overwrite "
        "--run {runs}/ensemble_robust",
    ],
    4: [
        f"diagnosis.py {COVID} --epochs 10 --run {{runs}}/covid",
        f"diagnosis_adv.py {COVID} --epochs 3 --method static --init-from {{runs}}/covid --baseline {{runs}}/covid "
        "--train-epsilon 0.025 --run {runs}/covid_static",
        "evaluate.py {runs}/covid --epsilons 0 0.025",
        "evaluate.py {runs}/covid_static --epsilons 0 0.025",
        "explain.py {runs}/covid {runs}/covid_static --show explanation similarity",
    ],
    5: [
        f"diagnosis.py {NIH} --model efficientnet_b0 --loss weighted --learning-rate 0.0001 --batch-size 32 --epochs 8 "
        "--epsilon 2/255 --step-size 0.5/255 --run {runs}/nih",
        "evaluate.py {runs}/nih --epsilons 0 2/255 --thresholds grid",
        "explain.py {runs}/nih --show boxes --boxes {samples}/nih_folder/BBox_List_2017.csv",
    ],
}


def main():
    """Run the commands; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", required=True, help="folder of the sample data")
    parser.add_argument("--runs", default="runs/systems", help="folder of the runs")
    parser.add_argument("--systems", type=int, nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    options = parser.parse_args()
    for number in options.systems:
        print(f"\n## System {number}")
        for command in SYSTEMS[number]:
            words = shlex.split(command.format(samples=options.samples, runs=options.runs))
            resume = ["--resume"] if words[0].startswith("diagnosis") else []
            print(f"\n`python {' '.join(words)}`\n", flush=True)
            done = subprocess.run(
                [sys.executable, str(ROOT / words[0]), *words[1:], *resume], stdout=subprocess.PIPE, text=True
            )
            if done.returncode:
                return done.returncode
            print(*reported(done.stdout), sep="\n", flush=True)
    return 0


def reported(output):
    """The lines of a script's report, without the bars before it."""
    lines = output.replace("\r", "\n").split("\n")
    return [line for line in lines if not any(mark in line for mark in ("\b", "Epoch ", "━", "\x1b"))]


if __name__ == "__main__":
    sys.exit(main())
