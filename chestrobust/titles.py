"""What attacks, lengths, scores and data are called in tables and figures."""

from pathlib import PurePath

from chestrobust import catalogue


def data_title(data):
    """How results name their data, with a warning where one is due."""
    title = data["name"] + (" (made-up data)" if data["synthetic"] else "")
    return f"{title}, {data['note']}" if data["note"] else title


def model(path):
    """What figures call a saved model, by its path as results have it: its run's folder, or the file's stem."""
    path = PurePath(path)
    return path.parent.name if path.name == "model.keras" and path.parent.name else path.stem


def shortened(name, length):
    """A name of at most this many characters; long ones mostly differ at their ends."""
    return name if len(name) <= length else f"{name[: (length - 1) // 2]}\u2026{name[-(length // 2) :]}"


# Of several attacks, and of none.
SUMS = {"joint": "joint: worst image", "floor": "floor: per-label worst found", "certified": "certified"}
BELOW = "\u2020"  # beside radii that no image file of 8 bits holds


def name(attack):
    """Name of an attack without its parameters, as legends have it."""
    row, (_, *finding) = catalogue.attack(attack), attack.split("=")
    if finding and row and "kind" in row.parameters:
        return finding[0]  # E.g. `jpeg_compression`: that it is a corruption goes without saying.
    return "=".join([row.title, *finding]) if row else SUMS.get(attack, attack)


def title(entry):
    """Name of an evaluation's attack with all that makes it another one, e.g. `PGD-10, epsilon 0.05`.

    What isn't said: PGD's steps are together 2.5 times as long as the radius, and its first start is at the image.
    """
    if entry["attack"] == "clean":
        return "clean"
    named = name(entry["attack"]) if entry["attack"] in SUMS else short(entry)
    row = catalogue.attack(entry["attack"])
    lengths = [f"epsilon {length(entry['epsilon'])}"] if row is None or row.radius else []
    severity = [f"severity {entry['severity']}"] if "severity" in entry else []
    return ", ".join([named, *lengths, *severity, *settings(entry)])


def short(entry):
    """Name of an evaluation's attack with its steps, e.g. `PGD-10`."""
    steps, attack = entry.get("steps"), entry["attack"]
    return f"{attack if attack in SUMS else name(attack)}{f'-{steps}' if steps else ''}"


def settings(entry):
    """What else makes an evaluation's attack another one, a list of words."""
    row, steps, step_size, words = catalogue.attack(entry["attack"]), entry.get("steps"), entry.get("step_size"), []
    if step_size is not None and steps and abs(step_size - usual_step(entry["epsilon"], steps)) > 1e-9:
        words.append(f"step size {length(step_size)}")
    # Others choose their starts themselves, always in the same way.
    if entry.get("random_start") and row and row.parameters.get("random_start"):
        words.append("random start")
    if (entry.get("restarts") or 1) > 1:
        words.append(f"{entry['restarts']} restarts")
    return words


def usual_step(epsilon, steps):
    """Length of PGD's steps if they are together 2.5 times as long as the radius (Madry et al., 2018)."""
    return min(1.0, 2.5 * epsilon / steps)


def validation_score(kind, attack="clean"):
    """The column of `history.csv` with the `"loss"` or `"auc"` of the validation images, clean or under an attack."""
    return f"val_{kind}" if attack == "clean" else f"val_{attack}_{kind}"


def selection(attack):
    """The score on validation images that a checkpoint is chosen by, from the title of its attack or `"clean"`."""
    return f"{attack} macro AUC" if attack == "clean" else f"macro AUC under {attack}"


def length(value):
    """A length in pixel units of [0, 1], with its k/255 where it is one, e.g. `0.0157 (4/255)`."""
    levels = _levels(value)
    return f"{value:.3g} ({levels})" if levels else f"{value:.3g}"


def radius(value):
    """A length as narrow tables have it, `4/255` or `0.05`; one below a grey level, which no file holds, is marked."""
    return (_levels(value) or f"{value:.3g}") + (BELOW if is_below_a_level(value) else "")


def is_below_a_level(value):
    """Whether a length above 0 is less than a step between grey levels of 8 bits."""
    return 0 < value < (1 - 1e-6) / 255


def _levels(value):
    """`k/255` of a length that is a multiple of half a grey level, or an empty text."""
    levels = 255 * value
    return f"{levels:.3g}/255" if levels and abs(2 * levels - round(2 * levels)) < 1e-6 else ""
