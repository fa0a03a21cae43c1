"""Tables, from the results alone. They are Markdown, so that what a run prints can be pasted into a paper's draft."""

SCORES = {"macro_auc": "Macro AUC", "macro_ap": "Macro AP", "accuracy": "Accuracy"}


def data_title(data):
    """How results name their data, with a warning where one is due."""
    title = data["name"] + (" (made-up data)" if data["synthetic"] else "")
    return f"{title}, {data['note']}" if data["note"] else title


def table(results):
    """One run's scores, clean and attacked, as text; `results` is what `results.json` holds."""
    rows = [[title(entry), *(_format(entry[key]) for key in SCORES)] for entry in results["evaluations"]]
    return _report(results, ["Attack", *SCORES.values()], rows)


def comparison(results):
    """The baseline and the robust model side by side on the same images, with the differences."""
    rows = []
    for entry, baseline in zip(results["evaluations"], results["baseline"]["evaluations"], strict=True):
        row = [title(entry)]
        for key in SCORES:
            before, after = baseline[key], entry[key]
            gain = None if before is None or after is None else after - before
            row += [_format(before), _format(after), _format(gain, sign="+")]
        rows.append(row)
    header = ["Attack"]
    for name in SCORES.values():
        header += [f"{name}: baseline", "robust", "difference"]
    return _report(results, header, rows)


def title(entry):
    """Name of an evaluation's attack, e.g. `PGD-10, epsilon 0.05`."""
    if entry["attack"] == "clean":
        return "clean"
    steps = f"-{entry['steps']}" if entry["attack"] == "pgd" else ""
    restarts = f", {entry['restarts']} restarts" if (entry["restarts"] or 1) > 1 else ""
    return f"{entry['attack'].upper()}{steps}, epsilon {length(entry['epsilon'])}{restarts}"


def length(value):
    """A length in pixel units of [0, 1], with its k/255 where it is one, e.g. `0.0157 (4/255)`."""
    levels = 255 * value
    return (
        f"{value:.3g} ({levels:.3g}/255)" if levels and abs(2 * levels - round(2 * levels)) < 1e-6 else f"{value:.3g}"
    )


def _report(results, header, rows):
    data, training = results["data"], results["training"]
    undefined = results["evaluations"][0]["undefined_labels"]
    lines = [
        f"{data_title(data)}: {data['counts']['test']} test images, "
        f"{training['epochs']} epochs in {training['seconds']:.0f} s",
        "",
        *_markdown(header, rows),
    ]
    if undefined:
        lines += [
            "",
            f"No AUC, as all or none of the test images are positive, so left out of the mean: {', '.join(undefined)}.",
        ]
    if data["task"] == "multi-label":
        lines += ["", "Accuracy says little here: answering no to every label scores high. Compare AUC and AP."]
    return "\n".join(lines)


def _markdown(header, rows):
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    ruler = ["-" * (width - bool(column)) + ":" * bool(column) for column, width in enumerate(widths)]
    return [
        "| "
        + " | ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in [header, ruler, *rows]
    ]


def _format(value, sign=""):
    return "undefined" if value is None else f"{value:{sign}.4f}"
