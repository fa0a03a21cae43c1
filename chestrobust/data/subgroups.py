"""Who the images are of, for scores that are broken down by it: view, age or sex."""

import numpy as np

from chestrobust.errors import ExpectedError

AGES = {"under 18": 18, "18 to 39": 40, "40 to 59": 60, "60 to 79": 80, "80 and over": np.inf}


def rows(split, by):
    """The images of each group.

    Args:
        split: A `Split`.
        by: Names of attributes: `"view"`, `"age"` or `"sex"`.

    Returns:
        A dictionary from attribute to a dictionary from group to the indices of its images; no group is empty.

    Raises:
        ExpectedError: If an attribute isn't known of these images.
    """
    found = {}
    for name in by:
        values = (split.attributes or {}).get(name)
        if values is None:
            known = ", ".join(split.attributes or ()) or "none"
            raise ExpectedError(f"--by {name}: expected data that tell it, such as nih. These tell: {known}.")
        if name == "age":
            groups = np.where(np.isnan(values), "unknown", np.array(list(AGES))[age_bands(values)])
        else:
            groups = np.where(values == "", "unknown", values)
        order = list(AGES) if name == "age" else sorted(set(groups) - {"unknown"})
        members = {str(group): np.flatnonzero(groups == group) for group in (*order, "unknown")}
        found[name] = {group: images for group, images in members.items() if len(images)}
    return found


def age_bands(ages):
    """Number of the band in `AGES` of each age; 0 where it is NaN."""
    return np.searchsorted(list(AGES.values()), np.nan_to_num(ages), side="right")
