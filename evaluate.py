"""Attack a saved model and say how far its robust score can be trusted.

    python evaluate.py runs/robust                           FGSM and PGD over a range of radii
    python evaluate.py runs/robust --suite standard          APGD, each label alone, and the gradient-free Square attack
    python evaluate.py model.keras --data chestmnist         any Keras model with sigmoid, softmax or logit outputs
    python evaluate.py runs/robust --verify                  do the numbers in the run's results.json hold?
    python evaluate.py RUN --data nih --nih-root DIR         other data than the model's own, on the labels they share
    python evaluate.py RUN --by sex age view                 broken down by what is known of the patients

Writes RUN/evaluations/NAME.json and NAME.png, prints tables and an audit. Interrupted, the same command continues.
"""

import dataclasses
import sys
from pathlib import Path

import config
import data
import devices
import modelfiles
import report
import runs
import startup
import subgroups
import verification
from errors import ExpectedError
from sources import matching


def main(arguments=None):
    """Load, attack, doubt, report; returns 1 if `--strict` and the audit failed, or `--verify` found other numbers."""
    options = config.parse(config.EvaluateConfig, arguments, description=__doc__)
    devices.join(options.strategy)
    run, path, options = open_subject(options)
    source = (
        open_subject(dataclasses.replace(options, subject=options.transfer_from))[1] if options.transfer_from else None
    )
    splits, labels = data.load_for(options), None
    if names := runs.label_names(path):
        labels = {"model": names, "data": splits.label_names}
        splits = matching.shared(names, splits)
    data.check_trainable(splits)
    groups = subgroups.rows(splits.test, options.by)
    for extra in options.extra:
        finding = extra.partition("=")[2]
        if finding and finding not in splits.label_names:
            raise ExpectedError(
                f"--extra {extra}: expected one of {', '.join(splits.label_names)}. Received: {finding}."
            )
    if options.verify:
        results = verification.recorded(run, path, splits)
        devices.start()
        return 0 if verification.verify(run, results, splits) else 1
    own = run.finished and path.name == "model.keras"
    known = run.read("results.json", "data", "evaluations") if own else {}
    if devices.chief():
        runs.lock(run.path / "evaluations")
    devices.start()
    import sweep

    results = sweep.sweep(path, splits, options, run, source=source, known=known, groups=groups, labels=labels)
    print(report.evaluation(results))
    return 1 if options.strict and any(line["status"] == "failed" for line in results["audit"]) else 0


def open_subject(options):
    """The run, the model file, and the options with what they leave open taken from the run's own.

    Raises:
        RunError: If there is no such model, or no data to evaluate it on.
        ModelError: If the model file can't be trusted.
    """
    path = Path(options.subject).expanduser()
    if path.suffix == ".keras":
        run = runs.Run(path.parent)
    else:
        run = runs.finished(path)
        path = run.path / "model.keras"
    if not path.is_file():
        raise runs.RunError(f"{path}: expected a run folder or a .keras file. Received nothing there.")
    modelfiles.check(path)
    if run.started and options.metadata is None:
        options = dataclasses.replace(options, metadata=run.read("config.json").get("metadata"))
    if options.data is None:
        if not run.finished:
            raise runs.RunError(f"{path}: expected --data, as no run is beside this file that would tell its data.")
        own = run.read("config.json", "data", "size", "limit", "data_dir")
        names = (*data.OPTIONS, *data.ROOTS)
        left_open = [name for name in names if getattr(options, name) == getattr(config.EvaluateConfig, name)]
        # Runs of earlier versions have no options of folders.
        options = dataclasses.replace(options, data=own["data"], **{name: own.get(name) for name in left_open})
    elif options.size is None and run.finished and not data.is_path(options.data):
        # Data that come in any size are taken in the model's own.
        shape = run.read("results.json", "data")["data"].get("image_shape")
        options = dataclasses.replace(options, size=shape and shape[0])
    return run, path, options


if __name__ == "__main__":
    sys.exit(startup.run_script(main, after_interrupt="The same command continues."))
