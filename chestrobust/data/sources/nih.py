"""NIH ChestX-ray14 as NIH ships it: a table, folders of PNG files, and lists of who belongs to which split.

    ROOT/Data_Entry_2017.csv, or Data_Entry_2017_v2020.csv
    ROOT/images_001/images/00000001_000.png ..., or ROOT/images/..., or ROOT/00000001_000.png ...
    ROOT/train_val_list.txt, ROOT/test_list.txt                      NIH's official split, if they are there
    ROOT/train_list.txt, ROOT/val_list.txt, ROOT/test_list.txt       any split, if they are there
    ROOT/test_list.txt                                               alone: all other images are train_val

Wang et al., CVPR 2017, https://arxiv.org/abs/1705.02315. Images by the NIH Clinical Center.
"""

import re

import numpy as np

from chestrobust.data.sources import csvfile, decoded, people, splitting
from chestrobust.data.splits import CHEST_LABELS, Splits, selection
from chestrobust.errors import DataError
from chestrobust.files import open_regular, refusal

TABLE = "Data_Entry_2017*.csv"
PLACES = ("*.png", "images*/*.png", "images*/images/*.png")
SEX = ("Patient Gender", "Patient Sex")
ABOUT = ("Patient ID", "Patient Age", "View Position", *SEX)
LISTS = ("train_list.txt", "val_list.txt", "test_list.txt")
OFFICIAL = ("train_val_list.txt", "test_list.txt")
VAL_SHARE = 1 / 8  # of the official train_val images: ChestMNIST's
MAX_LIST = 1 << 25  # bytes; the official lists have 2 MB
MAX_DIGITS = 18  # of a patient's number


def load(root, *, size, data_dir, limits):
    """Load the images of a folder that its table lists.

    Args:
        root: The folder, or None.
        size: Height and width that images are resized to.
        data_dir: Folder for decoded images where `root` can't be written.
        limits: Largest number of images per split, by name, or None; only those chosen are decoded.

    Returns:
        `Splits` with ChestMNIST's labels in its order, patients, and view, age and sex as attributes. Without lists,
        80/10/10 by patient.

    Raises:
        DataError: If the folder, its table or its lists aren't as expected.
    """
    root = decoded.folder("nih", root)
    table = max(root.glob(TABLE), default=None)  # the one of 2020 if both are there
    if table is None:
        raise DataError(f"{root}: expected Data_Entry_2017.csv or Data_Entry_2017_v2020.csv. Received neither.")
    rows = _rows(table, root)
    names = [row["file"] for row in rows]
    part, lists, note = _split(root, rows)
    chosen = _chosen(part, limits)
    part, rows, files = part[chosen], [rows[row] for row in chosen], [names[row] for row in chosen]
    labels, patients = np.stack([row["labels"] for row in rows]), np.array([row["patient"] for row in rows])
    attributes = {
        "age": people.ages([row["Patient Age"] for row in rows], lambda text: decoded.say("nih", text)),
        "sex": np.array([next(filter(None, (people.sex(row[name]) for name in SEX)), "") for row in rows]),
        "view": np.array([row["View Position"].upper() for row in rows]),
    }
    state = decoded.identity(root, [*names, table.name, *lists])
    pictures = decoded.decode("nih", root, files, size=size, data_dir=data_dir, state=state)
    return Splits(
        name="nih",
        task="multi-label",
        label_names=CHEST_LABELS,
        sha256=state,
        note=note,
        **splitting.dealt("nih", part, pictures, labels, patients, attributes),
    )


def _rows(table, root):
    """The table's rows whose image is there, each with `file`, `labels` and `patient` besides."""
    listed = csvfile.read(table, ("Image Index", "Finding Labels"), ABOUT)
    files = {name: str(path.relative_to(root)) for name, path in found(root).items()}
    rows, seen = [], set()
    for number, row in enumerate(listed, start=2):
        name = row["Image Index"]
        if name in seen:
            raise DataError(f"{table}: expected each image once. Received {name} again in row {number}.")
        seen.add(name)
        if name in files and (root / files[name]).is_file():  # A partial copy may have links to nothing.
            labels = _labels(row["Finding Labels"], f"{table}: row {number}")
            rows.append({**row, "file": files[name], "labels": labels, "patient": _patient(row, table)})
    if not rows:
        raise DataError(
            f"{root}: expected images of {table.name} in images_001/images, images or the folder itself. "
            f"Received none of {len(listed)}."
        )
    there = {row["Image Index"] for row in rows}
    if missing := [row["Image Index"] for row in listed if row["Image Index"] not in there]:
        text = f"{len(missing)} of the {len(listed)} images in {table.name} are missing. The first: {missing[0]}."
        decoded.say("nih", f"{text} The others are used.")
    return rows


def found(root):
    """Path of each image in a folder of NIH's, by its name; folders of images may be links."""
    return {path.name: path for place in PLACES for path in sorted(root.glob(place))}


def _labels(text, where):
    """A row of ChestMNIST's 14 columns from NIH's text, such as `Mass|Pleural_Thickening` or `No Finding`."""
    labels = np.zeros(len(CHEST_LABELS), np.uint8)
    findings = [finding.strip().lower() for finding in text.split("|")]
    for finding in findings if findings != ["no finding"] else ():
        name = "pleural" if finding in ("pleural_thickening", "pleural thickening") else finding
        if name not in CHEST_LABELS:
            raise DataError(f"{where}: expected findings of ChestX-ray14, joined by |. Received: {text!r}.")
        labels[CHEST_LABELS.index(name)] = 1
    return labels


def _patient(row, table):
    text = (
        row["Patient ID"] or row["Image Index"].partition("_")[0]
    )  # NIH's file names start with the patient's number.
    if not text.isdecimal() or len(text) > MAX_DIGITS:
        raise DataError(f"{table}: expected a number in Patient ID. Received: {text!r:.60} for {row['Image Index']}.")
    return int(text)


def _split(root, rows):
    """Number of each row's part (-1 where lists leave an image out), the lists used, and a note for the results."""
    patients, images = np.array([row["patient"] for row in rows]), [row["Image Index"] for row in rows]
    present = [name for name in dict.fromkeys((*LISTS, *OFFICIAL)) if (root / name).is_file()]
    if not present:
        return splitting.by_group(patients), (), "split by patient"
    if present == [LISTS[2]]:
        part = np.where(_listed(root, present, images) == 0, 2, 0)
        note = _leaks("test list of its folder", patients, part)
    else:
        names = LISTS if set(present) & set(LISTS[:2]) else OFFICIAL
        if absent := [name for name in names if name not in present]:
            raise DataError(f"{root}: expected {', '.join(absent)} beside {', '.join(present)}. Received none.")
        part = _listed(root, names, images)
        if left_out := int((part < 0).sum()):
            decoded.say("nih", f"{left_out} of {len(part)} images are in none of {', '.join(names)}, and left out.")
        if names == LISTS:
            return part, names, _leaks("lists of its folder", patients, part)
        part[part == 1] = 2
        present, note = names, "official test list"
    rest = np.flatnonzero(part == 0)
    part[rest] = splitting.by_group(patients[rest], shares=(1 - VAL_SHARE, VAL_SHARE))
    return part, present, note


def _leaks(note, patients, part):
    """The note with the number of patients that lists put in several splits."""
    shared = [set(patients[part == a]) & set(patients[part == b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    leaks = len(set().union(*shared))
    return f"{note}, {leaks} patients in several splits" if leaks else note


def _listed(root, names, images):
    """Which list each image is in, -1 for none."""
    place = {}
    for number, name in enumerate(names):
        with open_regular(root / name, "a list of images", max_bytes=MAX_LIST) as file:
            text = file.read(MAX_LIST).decode("utf-8-sig", "replace")
        for line, content in enumerate(text.splitlines(), start=1):
            # Some lists have folders before an image's name, and some its labels after it.
            match = re.search(r"[^\s/\\,;\"]+\.png", content, re.IGNORECASE)
            if content.strip() and not match:
                raise refusal(root / name, "the name of a PNG image in each line", f"{content!r:.60} in line {line}")
            if match and place.setdefault(match[0], number) != number:
                raise DataError(f"{root / name}: expected each image in one list. Received {match[0]} in two.")
    return np.array([place.get(image, -1) for image in images])


def _chosen(part, limits):
    """Rows that are in a split, and within its limit."""
    chosen = []
    for number, name in enumerate(splitting.PARTS):
        rows = np.flatnonzero(part == number)
        chosen.append(rows[selection(len(rows), limits[name])])
    return np.sort(np.concatenate(chosen))
