"""Attack a saved model and say how far its robust score can be trusted; or several, and how far they are apart.

    python evaluate.py runs/robust                           FGSM and PGD over a range of radii
    python evaluate.py runs/robust --suite standard          APGD, each label alone, and the gradient-free Square attack
    python evaluate.py runs/robust --suite clinical          noise, blur and exposure, as they happen to X-rays
    python evaluate.py runs/baseline runs/robust             the same attacks on the same images, and paired differences
    python evaluate.py model.keras --data chestmnist         any Keras model with sigmoid, softmax or logit outputs
    python evaluate.py runs/robust --verify                  do the numbers in the run's results.json hold?
    python evaluate.py RUN --data nih --root DIR             other data than the model's own, on the labels they share
    python evaluate.py RUN --by sex age view                 broken down by what is known of the patients

Writes RUN/evaluations/NAME.json, NAME.png, NAME.svg and the page RUN/report.html, prints tables and what the audit
found. Of several, each gets these, and the comparison goes beside the first: runs/comparison-NAME.json, .png, .svg and
the page runs/report.html. Interrupted, the same command continues.
"""

import dataclasses
import sys

from chestrobust import catalogue, config, data, devices, runs, startup
from chestrobust.data import ranges, subgroups
from chestrobust.errors import ExpectedError
from chestrobust.reporting import comparison as told
from chestrobust.reporting import page, tables, verdict
from chestrobust.runs import saved


def main(arguments=None):
    """Load, attack, doubt, report; returns 1 if `--strict` and an audit failed, or `--verify` found other numbers."""
    options = config.parse(config.EvaluateConfig, arguments, description=__doc__)
    devices.join(options.strategy)
    pixel_range = ranges.chosen(options.input_range)
    named = (options.subject, *options.others)
    subjects = saved.several(named)
    folders = list(dict.fromkeys(one.run.path for one in subjects))
    _check_several(options, subjects, folders)
    own_data, given = options.data is None, vars(options)
    completed = saved.completed(subjects[0], config.picked(options, config.DATA))
    options = dataclasses.replace(options, **completed, epsilons=saved.radii(subjects[0], options.epsilons))
    if own_data:
        saved.check_same_data(subjects)
    source = saved.checked(options.transfer_from).path if options.transfer_from else None
    splits, labels = saved.on_shared_labels(subjects, data.load_for(**config.picked(options, config.DATA)))
    saved.check_unseen(subjects, splits)
    data.check_trainable(splits)
    groups = subgroups.rows(splits.test, options.by)
    _check_extras(options.extra, splits)
    if options.verify:
        recorded = saved.recorded(subjects[0].run, subjects[0].path, splits)
    elif devices.chief():
        for one in subjects:
            runs.lock(one.run.path / "evaluations", inside=one.run.path)
    devices.start(**runs.task(options, splits))
    from chestrobust.evaluation import comparison, sweep, verification

    startup.run_file(options.import_)
    if options.verify:
        return 0 if verification.verify(subjects[0].run, recorded, splits) else 1

    def evaluate(one, pairing=None):
        number = subjects.index(one)
        own = dataclasses.replace(options, subject=named[number], others=())
        return sweep.sweep(one, splits, own, source=source, groups=groups, labels=labels[number], pairing=pairing)

    if options.others:
        comparison.check(subjects, splits, pixel_range)
        path = told.place(subjects[0], sweep.name_of(subjects[0], splits, options))
        compared, found = comparison.compare(subjects, evaluate, path)
        pages = [page.write(folder) for folder in folders]
        report = page.write(*folders) if len(folders) > 1 else pages[0]
        shown = [tables.evaluation(results) for results in found] if options.verbose else []
        closing = verdict.after_comparison(named, compared, path, report, given)
        print(*shown, told.tables(compared), closing, sep="\n\n")
    else:
        found = [evaluate(subjects[0])]
        closing = verdict.after_evaluation(options.subject, found[0], page.write(folders[0]), given)
        print(tables.evaluation(found[0], options.verbose), closing, sep="\n\n")
    failed = any(line["status"] == "failed" for results in found for line in results["audit"])
    return 1 if options.strict and failed else 0


def _check_several(options, subjects, folders):
    """Refuse models that can't be compared with these options, as far as that is known without data and models."""
    if options.verify and options.others:
        raise ExpectedError(f"--verify: expected one run. Received {len(subjects)}. Verify them one by one.")
    if options.name and len(folders) < len(subjects):
        raise ExpectedError(
            f"--name {options.name}: expected models in folders of their own, where each gets results of this name. "
            "Received several in one folder. Leave it out."
        )


def _check_extras(extras, splits):
    """Refuse attacks on findings that the data don't have."""
    for extra in extras:
        finding = extra.partition("=")[2]
        if finding and finding not in splits.label_names:
            raise ExpectedError(
                f"--extra {extra}: expected one of {', '.join(splits.label_names)}. Received: {finding}."
            )
        if catalogue.attack(extra).wanted is not None and splits.task.exclusive:
            raise ExpectedError(f"--extra {extra}: expected findings. Received {splits.task} data. Leave it out.")


if __name__ == "__main__":
    sys.exit(startup.run_script(main, after_interrupt="The same command continues."))
