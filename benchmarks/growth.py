"""How time and memory of an attack grow with images, image size, steps and restarts: Markdown tables and a plot.

    python benchmarks/growth.py                              about 8 minutes on two cores
    python benchmarks/growth.py --figure benchmarks/growth.png

PGD on the default `cnn` through `outcomes.run`, as the scripts attack a split, on made-up data. One quantity grows,
the others stay at their values in `BASE`; each point is the second of two runs in a fresh process, so that compiling
isn't counted. The last column is the exponent between a point and the one before: 1 is linear in the quantity (in the
number of pixels for the image size), below 1 a fixed cost still shows, above 1 something grows faster than it should.
"""

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from memory import anonymous_memory, in_fresh_process
from tqdm import tqdm

from chestrobust import devices
from chestrobust.data.sources import phantom

BASE = {"images": 256, "size": 28, "steps": 10, "restarts": 1}
SERIES = {
    "images": (64, 256, 1024, 4096),
    "size": (28, 64, 128, 224),
    "steps": (1, 5, 20, 80),
    "restarts": (1, 2, 4, 8),
}
FEWER = {"size": {"images": 32}}  # than in `BASE`, where each image is large


def main():
    """Measure every point, print the tables, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", default="growth.png", help="file of the plot")
    options = parser.parse_args()
    points = [
        (quantity, {**BASE, **FEWER.get(quantity, {}), quantity: value})
        for quantity, values in SERIES.items()
        for value in values
    ]
    measured = {quantity: [] for quantity in SERIES}
    for quantity, settings in tqdm(points, "Points", disable=None):
        measured[quantity].append((settings[quantity], *in_fresh_process(measure, settings)))
    for quantity, rows in measured.items():
        print_table(quantity, rows)
    draw(measured, options.figure)


def measure(settings):
    """Seconds of an attack with these settings, and megabytes of anonymous memory at the peak."""
    with anonymous_memory() as seen:
        devices.import_tensorflow()
        import keras

        from chestrobust import models
        from chestrobust.attacks import named
        from chestrobust.evaluation import outcomes

        keras.utils.set_random_seed(0)
        split = phantom.load(size=settings["size"], limit=settings["images"]).train
        if len(split) < settings["images"]:
            raise ValueError(f"The phantom has {len(split)} training images. Received: {settings}")
        shape, labels = split.images.shape[1:], split.labels.shape[1]
        model = models.logits(models.build_cnn(shape, labels))
        attack = named.Attack("pgd", 4 / 255, 1 / 255, settings["steps"], settings["restarts"], True, 0)
        from measure import seconds

        outcomes.run(model, "multi-label", split, attack)
        return seconds(lambda: outcomes.run(model, "multi-label", split, attack)), seen["anonymous"]


def amount(quantity, value):
    """What the work should be proportional to."""
    return value**2 if quantity == "size" else value


def print_table(quantity, rows):
    """One table: a line per point, with the exponent since the point before."""
    others = {**BASE, **FEWER.get(quantity, {})}
    del others[quantity]
    print(f"\n{quantity.capitalize()} ({', '.join(f'{name} {value}' for name, value in others.items())}):\n")
    print(f"| {quantity.capitalize()} | Seconds | Anonymous memory | Exponent of time |")
    print("| ---: | ---: | ---: | ---: |")
    for before, row in zip([None, *rows], rows, strict=False):
        exponent = ""
        if before:
            work = amount(quantity, row[0]) / amount(quantity, before[0])
            exponent = f"{math.log(row[1] / before[1]) / math.log(work):.2f}"
        print(f"| {row[0]} | {row[1]:.2f} | {row[2]:.0f} MB | {exponent} |")


def draw(measured, path):
    """Time and memory over each quantity, both axes logarithmic, with a dashed line of what linear time would be."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.6), layout="constrained")
    for axes, (quantity, rows) in zip(figure.subplots(1, len(measured)), measured.items(), strict=True):
        values, seconds, memory = zip(*rows, strict=True)
        linear = [seconds[-1] * amount(quantity, value) / amount(quantity, values[-1]) for value in values]
        axes.loglog(values, seconds, "o-", color="#0072b2", label="seconds")
        axes.loglog(values, linear, "--", color="#0072b2", alpha=0.5, label="linear in the work")
        axes.set(xlabel="size in pixels (work: its square)" if quantity == "size" else quantity, xticks=values)
        axes.set_xticklabels(values)
        axes.minorticks_off()
        other = axes.twinx()
        other.plot(values, memory, "s:", color="#e69f00", label="memory in MB")
        other.set_ylim(0, 1.2 * max(memory))
    axes.set_ylabel("")
    handles = [line for each in (axes, other) for line in each.get_lines()]
    figure.legend(handles, [line.get_label() for line in handles], loc="outside upper center", ncols=3)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
