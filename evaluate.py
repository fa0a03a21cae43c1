"""Attack a saved model and say how far its robust score can be trusted.

    python evaluate.py runs/robust                           FGSM and PGD over a range of radii
    python evaluate.py runs/robust --suite standard          APGD, each label alone, and the gradient-free Square attack
    python evaluate.py model.keras --data chestmnist         any Keras model with sigmoid, softmax or logit outputs
    python evaluate.py runs/robust --verify                  do the numbers in the run's results.json hold?

Writes RUN/evaluations/NAME.json and NAME.png, prints tables and an audit. Interrupted, the same command continues.
"""

import dataclasses
import sys
from pathlib import Path

import config
import data
import devices
import report
import runs
import startup
import verification


def main(arguments=None):
    """Load, attack, doubt, report; returns 1 if `--strict` and the audit failed, or `--verify` found other numbers."""
    options = config.parse(config.EvaluateConfig, arguments, description=__doc__)
    devices.join(options.strategy)
    run, path, options = open_subject(options)
    source = (
        open_subject(dataclasses.replace(options, subject=options.transfer_from))[1] if options.transfer_from else None
    )
    splits = data.load(options.data, size=options.size, data_dir=options.data_dir, limit=options.limit)
    data.check_trainable(splits)
    for extra in options.extra:
        finding = extra.partition("=")[2]
        if finding and finding not in splits.label_names:
            raise config.ExpectedError(
                f"--extra {extra}: expected one of {', '.join(splits.label_names)}. Received: {finding}."
            )
    if options.verify:
        recorded = verification.recorded(run, path, splits)
        devices.start()
        import models

        return 0 if verification.verify(models.load(path), splits, recorded) else 1
    own = run.finished and path.name == "model.keras"
    known = run.read("results.json", "data", "evaluations") if own else {}
    if devices.chief():
        runs.lock(run.path / "evaluations")
    devices.start()
    import sweep

    results = sweep.sweep(path, splits, options, run, source=source, known=known)
    print(report.evaluation(results))
    return 1 if options.strict and any(line["status"] == "failed" for line in results["audit"]) else 0


def open_subject(options):
    """The run, the model file, and the options with what they leave open taken from the run's own.

    Raises:
        RunError: If there is no such model, or no data to evaluate it on.
    """
    path = Path(options.subject).expanduser()
    if path.suffix == ".keras":
        run = runs.Run(path.parent)
    else:
        run = runs.finished(path)
        path = run.path / "model.keras"
    if not path.is_file():
        raise runs.RunError(f"{path}: expected a run folder or a .keras file. Received nothing there.")
    if options.data is None:
        if not run.finished:
            raise runs.RunError(f"{path}: expected --data, as no run is beside this file that would tell its data.")
        own = run.read("config.json", "data", "size", "limit", "data_dir")
        options = dataclasses.replace(
            options,
            data=own["data"],
            size=options.size or own["size"],
            limit=options.limit or own["limit"],
            data_dir=options.data_dir if options.data_dir != config.EvaluateConfig.data_dir else own["data_dir"],
        )
    return run, path, options


if __name__ == "__main__":
    sys.exit(startup.run_script(main, after_interrupt="The same command continues."))
