"""Labels of a model and labels of other data, matched by name: what an evaluation on external data can be of."""

from dataclasses import replace

from chestrobust.errors import DataError

ALIASES = {"pleural thickening": "pleural"}


def columns(names, wanted):
    """Index in `names` of each wanted label, or None where it isn't there; case, `_` and `-` don't matter."""
    places = {_plain(name): place for place, name in enumerate(names)}
    return [places.get(_plain(name)) for name in wanted]


def shared(names, splits):
    """The data with the labels alone that a model knows too, called as the model calls them.

    Args:
        names: Label names of the model.
        splits: The `Splits`.

    Returns:
        `Splits`; the same if all labels are shared, in whatever order.

    Raises:
        DataError: If no label is shared, or not every class of a multi-class task.
    """
    found = columns(names, splits.label_names)
    here = [column for column, place in enumerate(found) if place is not None]
    described = f"the model has {', '.join(names)}, the data have {', '.join(splits.label_names)}"
    if not here:
        raise DataError(f"{splits.name}: expected a label that the model has too. Received none: {described}.")
    if splits.task.exclusive and not len(here) == len(found) == len(names):
        raise DataError(f"{splits.name}: expected the model's classes, no more and no fewer. Received: {described}.")
    parts = {part: replace(split, labels=split.labels[:, here]) for part, split in splits.parts.items()}
    return replace(
        splits, task=splits.task.of(len(here)), label_names=tuple(names[found[column]] for column in here), **parts
    )


def _plain(name):
    name = name.lower().replace("_", " ").replace("-", " ").strip()
    return ALIASES.get(name, name)
