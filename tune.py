"""Search for good training options with Optuna; the best go into a file that both training scripts read.

    python tune.py --data chestmnist --trials 50                   for diagnosis.py, by clean validation AUC
    python tune.py --adversarial --objective robust --trials 50    for diagnosis_adv.py, by validation AUC under PGD
    python diagnosis.py --params runs/tune/best.json

Options that are given here are fixed, the others of learning rate, optimizer, batch size, schedule, dropout, weight
decay and (adversarial) the weight of the adversarial loss are searched. The same command continues a search that was
stopped, and run several times at once it shares one. Needs the package optuna.
"""

import sys
from pathlib import Path

from chestrobust import config, data, devices, runs, startup
from chestrobust.errors import ExpectedError, RunError


def main(arguments=None):
    """Search, report the best."""
    options = config.parse(config.TuneConfig, arguments, description=__doc__)
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ExpectedError(
            "tune.py: expected the package optuna. Received none. Install it by: pip install optuna"
        ) from None
    fixed = config.given(config.TuneConfig, arguments)
    folder = Path(options.run).expanduser()
    if runs.Run(folder).finished:
        raise RunError(f"{folder}: expected a folder for a search. Received a training run. Choose another --run.")
    splits = data.load_for(**config.picked(options, config.DATA))
    data.check_trainable(splits)
    runs.make_writable(folder)  # Not locked: several processes may share a search.
    devices.join("none")
    devices.start()
    from chestrobust.training import search

    print(search.search(options, fixed, splits, folder))


if __name__ == "__main__":
    sys.exit(startup.run_script(main, after_interrupt="The same command continues."))
