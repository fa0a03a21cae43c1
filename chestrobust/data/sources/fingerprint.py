"""Checksums of files, remembered by size and time of change, since hashing gigabytes takes a while."""

import hashlib
import json
from pathlib import Path

from tqdm import tqdm

from chestrobust import files

CHUNK = 1 << 20


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
    stat = path.stat()
    identity = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    memory = Path(data_dir) / "checksums.json"
    try:
        known = dict(json.loads(memory.read_text()))
    except (OSError, ValueError, TypeError, RecursionError):
        known = {}
    entry = known.get(str(path))
    if isinstance(entry, dict) and entry.get("identity") == identity and entry.keys() >= set(keys):
        return {key: entry[key] for key in keys}
    answer = compute()
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(memory) as temporary:
            temporary.write_text(json.dumps({**known, str(path): {"identity": identity, **answer}}, indent=1))
    except OSError:
        pass  # Only a cache: an unwritable folder costs time, nothing else.
    return answer


def _hashes(path, check):
    if check:
        check()
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    bar = tqdm(
        total=path.stat().st_size,
        desc=f"Fingerprint of {path.name}",
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
