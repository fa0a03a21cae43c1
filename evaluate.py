"""Attack a saved model and say how far its robust score can be trusted.

    python evaluate.py runs/robust                           FGSM and PGD over a range of radii
    python evaluate.py runs/robust --suite standard          APGD, each label alone, and the gradient-free Square attack
    python evaluate.py runs/robust --suite clinical          noise, blur and exposure, as they happen to X-rays
    python evaluate.py model.keras --data chestmnist         any Keras model with sigmoid, softmax or logit outputs
    python evaluate.py runs/robust --verify                  do the numbers in the run's results.json hold?
    python evaluate.py RUN --data nih --root DIR             other data than the model's own, on the labels they share
    python evaluate.py RUN --by sex age view                 broken down by what is known of the patients

Writes RUN/evaluations/NAME.json, NAME.png, NAME.svg and the page RUN/report.html, prints tables and what the audit
found. Interrupted, the same command continues.
"""

import dataclasses
import sys

from chestrobust import catalogue, config, data, devices, runs, startup
from chestrobust.data import matching, ranges, subgroups
from chestrobust.errors import ExpectedError
from chestrobust.reporting import page, tables, verdict
from chestrobust.runs import saved


def main(arguments=None):
    """Load, attack, doubt, report; returns 1 if `--strict` and the audit failed, or `--verify` found other numbers."""
    options = config.parse(config.EvaluateConfig, arguments, description=__doc__)
    devices.join(options.strategy)
    ranges.chosen(options.input_range)
    subject = saved.checked(options.subject)
    run, path = subject.run, subject.path
    options = dataclasses.replace(options, **saved.completed(subject, config.picked(options, config.DATA)))
    source = saved.checked(options.transfer_from).path if options.transfer_from else None
    splits, labels = data.load_for(**config.picked(options, config.DATA)), None
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
        if catalogue.attack(extra).wanted is not None and splits.task.exclusive:
            raise ExpectedError(f"--extra {extra}: expected findings. Received {splits.task} data. Leave it out.")
    if options.verify:
        recorded = saved.recorded(run, path, splits)
    elif devices.chief():
        runs.lock(run.path / "evaluations", inside=run.path)
    devices.start(**runs.task(options, splits))
    from chestrobust.evaluation import sweep, verification

    startup.run_file(options.import_)
    if options.verify:
        return 0 if verification.verify(run, recorded, splits) else 1
    own = run.finished and path.name == "model.keras"
    known = run.read("results.json", "data", "evaluations") if own else {}
    results = sweep.sweep(path, splits, options, run, source=source, known=known, groups=groups, labels=labels)
    report = page.write(run.path)
    closing = verdict.after_evaluation(options.subject, results, report)
    print(tables.evaluation(results, options.verbose), closing, sep="\n\n")
    return 1 if options.strict and any(line["status"] == "failed" for line in results["audit"]) else 0


if __name__ == "__main__":
    sys.exit(startup.run_script(main, after_interrupt="The same command continues."))
