"""The COVID-19 image data collection: frontal X-rays, COVID-19 or not.

    ROOT/metadata.csv
    ROOT/images/...

Cohen et al., 2020, https://arxiv.org/abs/2006.11988. Many of its images may not be used commercially: see the table.
"""

import numpy as np

from chestrobust import files
from chestrobust.data.sources import csvfile, decoded, people, splitting
from chestrobust.data.splits import Splits
from chestrobust.errors import DataError

LABEL = "covid-19"
UNDIAGNOSED = ("", "todo", "unknown")  # findings of images that are neither healthy nor ill yet


def load(root, *, size, data_dir, limits):
    """Load the posterior-anterior X-rays.

    Args:
        root: The folder, or None.
        size: Height and width that images are resized to.
        data_dir: Folder for decoded images where `root` can't be written.
        limits: Largest number of images per split, by name, or None.

    Returns:
        Binary `Splits`, 80/10/10 by patient and finding. Patients that share an image, by its bytes, count as one.

    Raises:
        DataError: If the folder or its table isn't as expected.
    """
    root = decoded.folder("covid", root)
    table = root / "metadata.csv"
    rows = _rows(table, root)
    names = [row["file"] for row in rows]
    state = decoded.identity(root, [*names, table.name])
    pictures = decoded.decode("covid", root, names, size=size, data_dir=data_dir, state=state)
    labels = np.array([["COVID-19" in row["finding"].upper()] for row in rows], np.uint8)
    patients = splitting.connected([row["patientid"] for row in rows], pictures.digests)
    attributes = {
        "age": people.ages([row["age"] for row in rows], lambda text: decoded.say("covid", text)),
        "sex": np.array([people.sex(row["sex"]) for row in rows]),
        "view": np.array([row["view"] for row in rows]),
    }
    part = splitting.by_group(patients, strata=labels[:, 0])
    return Splits(
        name="covid",
        task="binary",
        label_names=(LABEL,),
        sha256=state,
        note="split by patient",
        **splitting.dealt("covid", part, pictures, labels, patients, attributes),
    ).limited(limits)


def _rows(table, root):
    """The table's rows of diagnosed posterior-anterior X-rays whose image is there, with its path as `file`."""
    listed = csvfile.read(table, ("patientid", "finding", "view", "filename"), ("folder", "modality", "age", "sex"))
    count, undiagnosed, there, missing = 0, 0, [], []
    for row in listed:
        if row["view"] != "PA" or row["modality"] not in ("X-ray", ""):
            continue
        count += 1
        path = files.inside(root, f"{row['folder'] or 'images'}/{row['filename']}", table)
        if row["finding"].lower() in UNDIAGNOSED:
            undiagnosed += 1
        elif path.is_file():
            there.append({**row, "file": str(path.relative_to(root))})
        else:
            missing.append(str(path.relative_to(root)))
    if not count:
        raise DataError(f"{table}: expected X-rays with view PA. Received none in {len(listed)} rows.")
    if undiagnosed:
        text = f"{undiagnosed} of the {count} PA X-rays in {table.name} have no finding yet (todo, unknown or blank)."
        decoded.say("covid", f"{text} They are left out.")
    if not there:
        raise DataError(f"{root}: expected the images of {table.name}. Received none of {count - undiagnosed}.")
    if missing:
        text = f"{len(missing)} of the {count} PA X-rays in {table.name} are missing. The first: {missing[0]}."
        decoded.say("covid", f"{text} The others are used.")
    return there
