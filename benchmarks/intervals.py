"""How often 95 % intervals of a rare label hold the truth, by method and number of positives: Markdown tables.

    python benchmarks/intervals.py                      2 minutes on a core

Scores of 393 images are drawn from two normal distributions that are as far apart as the true AUC says. A method that
is any good holds it 95 times in 100, and its intervals are narrow. The last column is what tables print. With fewer
than 4 positives some methods have an interval too, but it says what was assumed of the scores, not what they show.
A second table is of the difference of two models whose scores of an image go together, as attacked and clean ones do.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from chestrobust.evaluation import intervals, metrics

POSITIVES = (1, 2, 4, 8, 17, 36)
TRUTHS = (0.7, 0.9)
TOGETHER = 0.8  # correlation of two models' scores


def percentile(labels, scores, seed, resamples):
    """Percentiles of resampled images."""
    resampled = metrics.bootstrap(labels[:, None], scores[:, None], seed=seed, resamples=resamples)["auc"]
    return metrics.interval(resampled[:, 0])


def delong(labels, scores, *_):
    """DeLong's variance on the scale of log-odds."""
    if labels.sum() < 2:
        return np.nan, np.nan
    value, variance = intervals.auc_and_variance(labels, scores, np.arange(len(labels)))
    return expit(logit(value) + np.array([-1, 1]) * intervals.Z * np.sqrt(variance) / (value * (1 - value)))


def newcombe(labels, scores, *_):
    """Method 5 as it was published: what is printed if the assumed variance counts as any number of patients."""
    return intervals.score_interval(metrics.auc(labels[:, None], scores[:, None])[0], labels.sum(), (~labels).sum())


def printed(labels, scores, *_):
    """What tables print."""
    return intervals.auc(labels, scores) or (np.nan, np.nan)


METHODS = {
    "percentile bootstrap": percentile,
    "DeLong, log-odds": delong,
    "Newcombe 5": newcombe,
    "printed": printed,
}


def coverage(positives, truth, options):
    """Of each method, how many intervals in 100 hold the truth, and their mean width."""
    labels = np.arange(options.images) < positives
    rng, found = np.random.default_rng(positives), {name: [] for name in METHODS}
    for number in range(options.repeats):
        scores = rng.normal(np.sqrt(2) * norm.ppf(truth) * labels)
        for name, method in METHODS.items():
            found[name].append(method(labels, scores, number, options.resamples))
    return {name: _held(ends, truth) for name, ends in found.items()}


def of_differences(positives, options):
    """As `coverage`, for the difference of two models of AUC 0.7 and 0.8: percentiles, and what is printed."""
    labels, found = np.arange(options.images) < positives, {"percentile bootstrap": [], "printed": []}
    rng = np.random.default_rng(positives)
    for number in range(options.repeats):
        common, *own = rng.normal(size=(3, options.images))
        scores = [
            np.sqrt(TOGETHER) * common + np.sqrt(1 - TOGETHER) * noise + np.sqrt(2) * norm.ppf(truth) * labels
            for truth, noise in zip((0.7, 0.8), own, strict=True)
        ]
        drawing = {"seed": number, "resamples": options.resamples}
        first, second = (metrics.bootstrap(labels[:, None], one[:, None], **drawing)["auc"][:, 0] for one in scores)
        before, after = (metrics.auc(labels[:, None], one[:, None])[0] for one in scores)
        found["percentile bootstrap"].append(metrics.interval(second - first))
        ends = intervals.difference(after - before, second - first, positives)
        found["printed"].append(ends[:2] if ends else (np.nan, np.nan))
    return {name: _held(ends, 0.1) for name, ends in found.items()}


def _held(ends, truth):
    low, high = np.array(ends, float).T
    if np.isnan(low).all():
        return "-"
    return f"{100 * np.mean((low <= truth) & (truth <= high)):.0f} ({np.nanmean(high - low):.2f})"


def main(arguments=None):
    """Simulate, and print a row for each number of positives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=393, help="images of a test split (default: 393)")
    parser.add_argument("--repeats", type=int, default=300, help="simulated test splits (default: 300)")
    parser.add_argument("--resamples", type=int, default=200, help="resamples of a bootstrap (default: 200)")
    options = parser.parse_args(arguments)
    print(f"{options.images} images, {options.repeats} repeats: intervals of 100 that hold the truth (mean width)\n")
    print("| True AUC | Positives |", " | ".join(METHODS), "|\n| ---: | ---: |", " ---: |" * len(METHODS))
    for truth in TRUTHS:
        for positives in POSITIVES:
            row = coverage(positives, truth, options).values()
            print(f"| {truth} | {positives} |", " | ".join(row), "|", flush=True)
    print("\n| Difference of AUCs | Positives | percentile bootstrap | printed |\n| ---: | ---: | ---: | ---: |")
    for positives in POSITIVES:
        print(f"| 0.1 | {positives} |", " | ".join(of_differences(positives, options).values()), "|", flush=True)


if __name__ == "__main__":
    main()
