"""Folders of image files, decoded and resized once, then memory-mapped: the second start takes seconds."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from chestrobust import devices, files, locks
from chestrobust.data.sources import fingerprint, images
from chestrobust.errors import DataError, printable

VERSION = 2  # of what is kept; another one is made anew
TOLERATED = 0.1  # share of images that may be damaged: more are no accident
SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Decoded:
    """Image files of one folder.

    Attributes:
        images: uint8, `(count, size, size, 1)`, memory-mapped; zeros where a file couldn't be read.
        digests: SHA-256 of each file's bytes, or None where it couldn't be read.
        damage: What was wrong with the first file that couldn't be read, or an empty string.
        largest: The largest value in the gray images of 16 bits; 0 if there are none. The bits that it needs are taken
            for those in use, and the upper 8 of them are kept, in every image of 16 bits alike.
    """

    images: np.ndarray
    digests: list
    damage: str
    largest: int

    @property
    def readable(self):
        return np.array([digest is not None for digest in self.digests])


def folder(source, root):
    """The folder that `--root` names.

    Raises:
        DataError: If none is named, or none is there.
    """
    if root is None:
        raise DataError(f"--data {source}: expected the folder of the data. Received no --root.")
    root = Path(root).expanduser()
    if not root.is_dir():
        received = "a file" if root.exists() else "nothing there"
        raise DataError(f"{root}: expected the folder of the data (--root). Received {received}.")
    return root


def is_known_root(root, data_dir):
    """Whether loading a folder makes nothing new in it: its images were decoded before, or it can't be written."""
    root = os.path.expanduser(root)  # Pathlib's raises an error for what can't be a folder's name.
    if not os.path.isdir(root) or not os.access(root, os.W_OK):
        return True
    data_dir = os.path.expanduser(data_dir)
    return any(fingerprint.as_made(path, data_dir) for path in Path(root, ".decoded").glob("*.json"))


def say(source, text):
    """Tell the user, once, what was found in a folder."""
    if devices.chief():
        print(f"{source}: {printable(text)}")


def identity(root, names):
    """SHA-256 of the sorted (path, size, time of change) list of files in a folder; opens none of them."""
    listing = []
    for name in sorted(set(names)):
        stat = os.stat(root / name)
        listing.append((name, stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()


def decode(source, root, names, *, size, data_dir, state):
    """The images of a folder, from an earlier start if nothing has changed since.

    Args:
        source: Name of the source, for what is said.
        root: The folder.
        names: Paths of the files, relative to it.
        size: Height and width to resize to.
        data_dir: Folder for what is kept where `root` can't be written.
        state: The folder's `identity`; what was kept in another state is removed.

    Returns:
        A `Decoded`; how many files can't be read, and which is the first, has been said.

    Raises:
        DataError: If more than a tenth of the files can't be read, or there is no room for the decoded images.
    """
    known = hashlib.sha256(json.dumps([VERSION, state, names]).encode()).hexdigest()
    stem = f"{size}-{state[:8]}-{known[:8]}"
    elsewhere = f"{root.name}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}"
    failures, found = [], None
    for place in (root / ".decoded", Path(data_dir) / "decoded" / elsewhere):
        try:
            found = _kept(place, stem, (len(names), size, size, 1), data_dir)
            found = found or _made(source, root, names, size, place, stem, data_dir)
            break
        except OSError as error:
            failures.append(f"{place}: {error.strerror or error}")
    if found is None:
        raise DataError(
            f"{root}: expected a folder with {len(names) * size**2 / 1e6:.0f} MB free, to keep its decoded images. "
            f"Received {', '.join(failures)}. Choose another --data-dir."
        )
    damaged = found.digests.count(None)
    if damaged:
        text = f"{damaged} of {len(names)} image files can't be read. The first: {found.damage}"
        if damaged > TOLERATED * len(names):
            raise DataError(f"{text} Expected {TOLERATED:.0%} at most. Download the files again.")
        say(source, f"{text} They are left out.")
    if 0 < found.largest < 1 << 15:
        bits = _bits(found.largest)
        say(source, f"images of 16 bits hold values up to {found.largest}: of {bits} bits, the upper 8 are taken.")
    return found


def _bits(largest):
    return max(8, largest.bit_length())


def _kept(place, stem, shape, data_dir):
    """The `Decoded` that lies in a folder, or None: what wasn't made here, or has changed since, isn't believed."""
    known = all(fingerprint.as_made(place / f"{stem}{ending}", data_dir) for ending in (".json", ".npy"))
    return _opened(place, stem, shape) if known and not place.is_symlink() else None


def _opened(place, stem, shape):
    """The `Decoded` in two files, or None if they are of another kind."""
    try:
        kept = json.loads((place / f"{stem}.json").read_text())
        array = np.load(place / f"{stem}.npy", mmap_mode="r", allow_pickle=False)
        digests, damage, largest = kept["digests"], kept["damage"], kept["largest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = array.dtype == np.uint8 and array.shape == shape and len(digests) == len(array)
    return Decoded(array, digests, damage, largest) if fits else None


def _made(source, root, names, size, place, stem, data_dir):
    """The `Decoded`, made now and kept in the folder `place`; raises OSError if it can't be written."""
    if place.parent.exists() and not place.parent.stat().st_mode & 0o222:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))  # Nobody may write there, so root won't either.
    files.make_folder(place)
    shape = (len(names), size, size, 1)
    with files.open_own(place / "lock") as lock:
        locks.exclusive(lock, wait=True)
        if found := _kept(place, stem, shape, data_dir):
            return found  # The process that had the lock has done it.
        for path in place.glob(f"{size}-*"):  # Of files that have changed since.
            if path.name.split("-")[1] != stem.split("-")[1]:
                path.unlink()
        for path in place.glob(f".{size}-*"):  # Left by a killed process.
            path.unlink()
        if shutil.disk_usage(place).free < np.prod(shape):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with files.replacing(place / f"{stem}.npy") as temporary:
            digests, errors, largest = _fill(source, root, names, temporary, shape)
            kept = {"digests": digests, "damage": next(filter(None, errors), ""), "largest": largest}
            # Before the images, which are only taken for whole if this is there.
            with files.replacing(place / f"{stem}.json") as notes:
                notes.write_text(json.dumps(kept))
        for ending in (".json", ".npy"):
            fingerprint.note_made(place / f"{stem}{ending}", data_dir)
    return _opened(place, stem, shape)


def _fill(source, root, names, file, shape):
    """Decode every file into its row of an npy file; returns digests, errors and `Decoded.largest`."""
    array = np.lib.format.open_memmap(file, "w+", np.uint8, shape)

    def one(row):
        path = root / names[row]
        try:
            array[row] = images.read(path, size=array.shape[1], bits=bits)
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest(), ""
        except (DataError, OSError) as error:
            return None, str(error)

    # All before any is decoded: one rule for the whole folder.
    largest = max(_each(lambda name: images.largest(root / name), names, f"Looking through {source}, once"))
    bits = _bits(largest)
    digests, errors = zip(*_each(one, range(len(names)), f"Decoding {source}, once"), strict=True)
    array.flush()
    return list(digests), list(errors), largest


def _each(function, values, description):
    """What a function says of each value; Pillow's decoders run side by side."""
    with contextlib.ExitStack() as stack:
        threads = ThreadPoolExecutor(os.cpu_count())
        stack.callback(threads.shutdown, cancel_futures=True)  # so that Ctrl-C doesn't wait for thousands of images
        found = threads.map(function, values)
        return list(tqdm(found, description, len(values), unit=" images", leave=False, disable=None))
