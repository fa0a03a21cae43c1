"""What randomized smoothing proves, from the results alone: a table for each length of a change, and its words.

Results hold it as `smoothed`; see `evaluation.smoothing.record`.
"""

import csv
import io
import math
import textwrap

from chestrobust.reporting.cells import markdown, with_interval

HEADER = ["Change up to (L2)", "Sensitivity, at least", "Specificity, at least", "Reports that can't change"]
WIDTH = 110  # characters of a line of text
SCORES = ("macro_sensitivity", "macro_specificity")


def table(results):
    """Header and rows of text, a row for each length of a change.

    Args:
        results: What `evaluate.py --smooth` writes.
    """
    rows = [
        [
            f"{row['radius']:g}",
            *(with_interval(row[name], row["intervals"][name]) for name in SCORES),
            f"{100 * row['unchanged']:.1f} %",
        ]
        for row in results["smoothed"]["radii"]
    ]
    return HEADER, rows


def lines(results):
    """Table and notes as lines of text; none if nobody asked for them."""
    if not results.get("smoothed"):
        return []
    header, rows = table(results)
    return [
        *(["", *markdown(header, rows)] if rows else []),
        "",
        *textwrap.wrap(" ".join(notes(results)), WIDTH),
        "See docs/threats.md.",
    ]


def notes(results):
    """What the table says and doesn't, a list of sentences."""
    found, shape = results["smoothed"], results["data"]["image_shape"]
    everywhere = 4 / 255 * math.prod(shape) ** 0.5
    return [
        f"The smoothed model reports what most of {found['draws']} draws of Gaussian noise of deviation "
        f"{found['sigma']:g} make the model report, at fixed thresholds; the model itself may answer otherwise.",
        "No change of an image up to the length, made in whatever way, leaves less of it than the table says.",
        f"For each image, over all its labels, that holds with a probability of {1 - found['alpha']:g}, not with "
        "certainty.",
        "A report that the draws leave open, an abstention, counts as wrong; at length 0 the others count as they are.",
        f"So many draws prove nothing above {found['largest_radius']:.3g}.",
        "The length is Euclidean (L2, the root of the sum of squared changes) and not comparable with an epsilon of "
        f"the attacks: 4/255 on every pixel is {everywhere:.2f} long.",
        "Sensitivity and specificity: means over labels; brackets: 95 % intervals over the images.",
    ]


def sentence(results):
    """The same for a paragraph on methods."""
    found = results["smoothed"]
    lengths = ", ".join(f"{row['radius']:g}" for row in found["radii"]) or "none"
    return (
        f"Reports were certified by randomized smoothing, with {found['draws']} draws of Gaussian noise of deviation "
        f"{found['sigma']:g} per image, against changes of Euclidean (L2) length up to {lengths}: each image's holds "
        f"for the smoothed model with a probability of {1 - found['alpha']:g} over all its labels (Clopper-Pearson), "
        "and abstentions count as errors."
    )


def as_csv(named):
    """The tables of several models as one CSV table, with all digits.

    Args:
        named: Pairs of a model's name and its results.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    settings = ("sigma", "draws", "alpha")
    scores = [f"{name}{end}" for name in SCORES for end in ("", "_low", "_high")]
    writer.writerow(["model", *settings, "radius", *scores, "unchanged"])
    for model, results in named:
        found = results["smoothed"]
        for row in found["radii"]:
            numbers = [value for name in SCORES for value in (row[name], *(row["intervals"][name] or ("", "")))]
            writer.writerow([model, *(found[name] for name in settings), row["radius"], *numbers, row["unchanged"]])
    return text.getvalue()
