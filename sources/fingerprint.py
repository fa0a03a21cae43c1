"""Checksums of files, remembered by size and time of change, since hashing gigabytes takes a while."""

import hashlib
import json
import os
from pathlib import Path

from tqdm import tqdm

CHUNK = 1 << 20


def fingerprint(path, data_dir, *, check=None):
    """The MD5 and SHA-256 of a file, as `{"md5": ..., "sha256": ...}` in hex.

    Args:
        path: The file.
        data_dir: Folder whose `checksums.json` remembers the answer; it need not exist or be writable.
        check: Called without arguments before the file is read for the first time; if it raises, nothing is remembered.
    """
    path = Path(path).resolve()
    stat = path.stat()
    identity = [stat.st_size, stat.st_mtime_ns]
    memory = Path(data_dir) / "checksums.json"
    try:
        known = dict(json.loads(memory.read_text()))
    except (OSError, ValueError, TypeError):
        known = {}
    remembered = known.get(str(path), {})
    if remembered.get("identity") == identity:
        return {key: remembered[key] for key in ("md5", "sha256")}
    if check:
        check()
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    bar = tqdm(
        total=stat.st_size,
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
    hashes = {"md5": md5.hexdigest(), "sha256": sha256.hexdigest()}
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary = memory.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({**known, str(path): {"identity": identity, **hashes}}, indent=1))
        os.replace(temporary, memory)
    except OSError:
        pass  # Only a cache: an unwritable folder costs time, nothing else.
    return hashes
