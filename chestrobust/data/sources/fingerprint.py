"""Checksums of files, remembered by size and time of change, since hashing gigabytes takes a while."""

import contextlib
import hashlib
import json
import os
import zlib
from pathlib import Path

from tqdm import tqdm

from chestrobust import files, locks
from chestrobust.errors import printable

CHUNK = 1 << 20
MEMORY, LOCK = "checksums.json", ".checksums.lock"


def fingerprint(path, data_dir, *, check=None):
    """The MD5 and SHA-256 of a file, as `{"md5": ..., "sha256": ...}` in hex.

    Args:
        path: The file.
        data_dir: Folder whose `checksums.json` remembers the answer; it need not exist or be writable.
        check: Called without arguments before the file is read for the first time; if it raises, nothing is remembered.
    """
    return remembered(path, data_dir, ("md5", "sha256"), lambda: _hashes(Path(path), check))


def remembered(path, data_dir, keys, compute):
    """What `compute()` said about a file, or says now if the file's size or times have changed since.

    Args:
        path: The file.
        data_dir: Folder whose `checksums.json` remembers the answer.
        keys: Keys of the answer.
        compute: Function that returns a dict of text or numbers.
    """
    path = Path(path).resolve()
    identity, entry = _identity(path), _known(data_dir).get(str(path))
    if isinstance(entry, dict) and entry.get("identity") == identity and entry.keys() >= set(keys):
        return {key: entry[key] for key in keys}
    answer = compute()
    _remember(path, data_dir, {"identity": identity, **answer})
    return answer


def is_known_folder(folder):
    """Whether checksums were remembered in a folder before, or it is one that can only be read."""
    folder = os.path.expanduser(folder)  # Pathlib's, as its is_dir, raises an error for what can't be a folder's name.
    return files.is_own(os.path.join(folder, MEMORY)) or (os.path.isdir(folder) and not os.access(folder, os.W_OK))


def note_made(path, data_dir):
    """Remember the checksum of a file that was made just now, so that `as_made` will know it."""
    path = Path(path).resolve()
    _remember(path, data_dir, {"identity": _identity(path), "crc": crc(path)})


def as_made(path, data_dir):
    """Whether a file is what was made here; only if its size or times have changed since is it read.

    A file that came from elsewhere, with whatever beside it that vouches for it, is not.
    """
    if not files.is_own(path):
        return False
    path = Path(path).resolve()
    entry, identity = _known(data_dir).get(str(path)), _identity(path)
    if not isinstance(entry, dict) or "crc" not in entry:
        return False
    if entry.get("identity") != identity:
        if entry["crc"] != crc(path):
            return False
        _remember(path, data_dir, {"identity": identity, "crc": entry["crc"]})
    return True


def crc(path):
    """The CRC-32 of a file."""
    value = 0
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def _identity(path):
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _known(data_dir):
    try:
        return dict(json.loads((Path(data_dir) / MEMORY).read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def _remember(path, data_dir, entry):
    """Add to what is known of a file in this state, and remove what killed processes left half-written."""
    memory = Path(data_dir) / MEMORY
    # Only a cache: an unwritable folder costs time, nothing else.
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        with files.open_own(memory.with_name(LOCK)) as lock:
            locks.exclusive(lock, wait=True)
            for left in memory.parent.glob(f".{memory.stem}{files.PARTIAL[1:]}"):
                left.unlink(missing_ok=True)
            known = _known(data_dir)
            old = known.get(str(path))
            if isinstance(old, dict) and old.get("identity") == entry["identity"]:
                entry = {**old, **entry}
            with files.replacing(memory) as temporary:
                temporary.write_text(json.dumps({**known, str(path): entry}, indent=1))


def _hashes(path, check):
    if check:
        check()
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    bar = tqdm(
        total=path.stat().st_size,
        desc=f"Fingerprint of {printable(path.name)}",
        unit="B",
        unit_scale=True,
        leave=False,
        delay=1,
        disable=None,
    )
    with path.open("rb") as file, bar:
        while chunk := file.read(CHUNK):
            md5.update(chunk)
            sha256.update(chunk)
            bar.update(len(chunk))
    return {"md5": md5.hexdigest(), "sha256": sha256.hexdigest()}
