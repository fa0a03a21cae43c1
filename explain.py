"""Show where a trained model looks and how it errs, on clean and on attacked images.

    python explain.py RUN                             Grad-CAM and integrated gradients of a test image
    python explain.py RUN RUN2                        the same in two models, each attacked for itself
    python explain.py RUN RUN2 --show patient         a patient's clean and attacked images, and what each model reports
    python explain.py RUN --show similarity metrics   how far attacks move explanations; a table of every label
    python explain.py RUN --show boxes --boxes BBox_List_2017.csv

Attacks are PGD with the run's own evaluation options. Writes into RUN/explanations.
"""

import sys

from chestrobust import commandline, config, data, devices, runs, startup
from chestrobust.config import trained
from chestrobust.data import ranges
from chestrobust.errors import ExpectedError
from chestrobust.reporting import page
from chestrobust.runs import saved


def main(arguments=None):
    """Load, explain, print."""
    options = config.parse(config.ExplainConfig, arguments, description=__doc__)
    if ("boxes" in options.show) != bool(options.boxes):
        raise ExpectedError("--boxes: expected together with --show boxes. Received one of them.")
    alone = [view for view in options.show if view not in trained.OF_TWO]
    if options.other and alone:
        raise ExpectedError(
            f"--show {' '.join(alone)}: expected one model. Received {options.other} too. Leave it out, or run each "
            f"by itself; two are shown by {', '.join(trained.OF_TWO)}."
        )
    pixel_range = ranges.chosen(options.input_range)
    subjects = [saved.find(text) for text in (options.subject, options.other) if text]
    chosen = saved.settings(subjects[0], vars(options))
    splits = data.load_for(**config.picked(chosen, config.DATA))
    data.check_trainable(splits)
    saved.check_unseen(subjects, splits)
    if options.label is not None and options.label not in splits.label_names:
        raise ExpectedError(f"--label: expected one of {', '.join(splits.label_names)}. Received: {options.label}.")
    if options.image is not None and options.image >= len(splits.test):
        count = len(splits.test)
        raise ExpectedError(
            f"--image: expected a number below {count}, that of test images. Received: {options.image}."
        )
    devices.join("none")
    devices.start()
    from chestrobust.explaining import attribution_views, error_views

    startup.run_file(options.import_)
    study = attribution_views.Study(subjects, splits, config.picked(chosen, config.ATTACK), options, pixel_range)
    runs.lock(study.folder, inside=subjects[0].run.path)
    for view in dict.fromkeys(options.show):
        commandline.under_way(f"Computing {view}")
        print((attribution_views.VIEWS | error_views.VIEWS)[view](study))
    if subjects[0].own_run and (report := page.write(subjects[0].run.path)):
        print(f"Report: {report}")


if __name__ == "__main__":
    sys.exit(startup.run_script(main, after_interrupt="What was finished is kept."))
