"""The COVID-19 image data collection: frontal X-rays, COVID-19 or not.

    ROOT/metadata.csv
    ROOT/images/...

Cohen et al., 2020, https://arxiv.org/abs/2006.11988. Many of its images may not be used commercially: see the table.
"""

import numpy as np

from chestrobust import files
from chestrobust.data.sources import csvfile, decoded, splitting
from chestrobust.data.splits import Splits
from chestrobust.errors import DataError

LABEL = "covid-19"


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
        "age": np.array([_age(row["age"]) for row in rows], np.float32),
        "sex": np.array([row["sex"].upper() for row in rows]),
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
    """The table's rows of posterior-anterior X-rays whose image is there, with its path as `file`."""
    listed = csvfile.read(table, ("patientid", "finding", "view", "filename"), ("folder", "modality", "age", "sex"))
    wanted = [row for row in listed if row["view"] == "PA" and row["modality"] in ("X-ray", "")]
    if not wanted:
        raise DataError(f"{table}: expected X-rays with view PA. Received none in {len(listed)} rows.")
    for row in wanted:
        path = files.inside(root, f"{row['folder'] or 'images'}/{row['filename']}", table)
        row["file"] = str(path.relative_to(root))
    there = [row for row in wanted if (root / row["file"]).is_file()]
    if not there:
        raise DataError(f"{root}: expected the images of {table.name}. Received none of {len(wanted)}.")
    if missing := [row["file"] for row in wanted if not (root / row["file"]).is_file()]:
        text = f"{len(missing)} of the {len(wanted)} PA X-rays in {table.name} are missing. The first: {missing[0]}."
        decoded.say("covid", f"{text} The others are used.")
    return there


def _age(text):
    try:
        return float(text)
    except ValueError:
        return np.nan
