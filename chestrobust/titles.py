"""What attacks, lengths and data are called in tables and figures."""


def data_title(data):
    """How results name their data, with a warning where one is due."""
    title = data["name"] + (" (made-up data)" if data["synthetic"] else "")
    return f"{title}, {data['note']}" if data["note"] else title


NAMES = {
    "fgsm": "FGSM",
    "pgd": "PGD",
    "apgd-bce": "APGD-BCE",
    "apgd-ce": "APGD-CE",
    "apgd-margin": "APGD-margin",
    "label-margin": "each label alone",
    "square": "Square",
    "joint": "joint: worst image",
    "floor": "floor: worst per label",
}


def title(entry):
    """Name of an evaluation's attack, e.g. `PGD-10, epsilon 0.05`."""
    if entry["attack"] == "clean":
        return "clean"
    steps = f"-{entry['steps']}" if entry.get("steps") else ""
    restarts = f", {entry['restarts']} restarts" if (entry.get("restarts") or 1) > 1 else ""
    name = NAMES.get(entry["attack"], entry["attack"])
    return f"{name}{steps}, epsilon {length(entry['epsilon'])}{restarts}"


def length(value):
    """A length in pixel units of [0, 1], with its k/255 where it is one, e.g. `0.0157 (4/255)`."""
    levels = 255 * value
    return (
        f"{value:.3g} ({levels:.3g}/255)" if levels and abs(2 * levels - round(2 * levels)) < 1e-6 else f"{value:.3g}"
    )
