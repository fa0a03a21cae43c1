"""Download one file safely: resumed, retried, checked, and only then given its name."""

import contextlib
import hashlib
import os
import shutil
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

from chestrobust import files, locks
from chestrobust.errors import DataError, printable

CHUNK = 1 << 16  # bytes; the most that a broken connection can cost
MAX_BYTES = 1 << 35  # more than twice the largest file of MedMNIST; a server that never ends must not fill the disk


class _Failed(Exception):
    """Why a request failed, and `wait`: seconds the server asks for, None if a retry is futile."""

    def __init__(self, reason, wait=None):
        super().__init__(reason)
        self.wait = wait


def download(url, path, *, md5, attempts=5, timeout=30, backoff=0.5):
    """Fetches `url` to `path`, going on from `path` + ".part" where an earlier run broke off.

    Another process that is at it is waited for, and what it got is taken.

    Args:
        url: Address, http or https. Proxies are taken from `http_proxy` and `https_proxy`.
        path: `pathlib.Path` of the file; its folder is created, an older file is replaced.
        md5: Expected MD5 of the whole file, lower-case hexadecimal.
        attempts: Number of requests before giving up on a server that fails.
        timeout: Longest silence of the server, in seconds.
        backoff: Seconds before the second request, doubled before each further one.

    Raises:
        DataError: If the file cannot be had. `path` is then as it was before, and what has
            arrived is kept for the next run, unless its MD5 is wrong.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        with _open_locked(part) as file:
            if _is_whole(path, md5):
                return
            resumed = _fetch(url, file, attempts, timeout, backoff)
            if resumed and _md5(file) != md5:
                file.truncate(0)  # The old bytes may be the bad ones.
                _fetch(url, file, attempts, timeout, backoff)
            received = _md5(file)
            if received != md5:
                file.truncate(0)
                raise _Failed(f"MD5 is {received}, expected {md5}")
            os.fsync(file.fileno())
            if os.name == "nt":
                file.close()  # Windows renames no open file.
            os.replace(part, path)
    except (_Failed, OSError, ValueError) as error:  # Those of requests are OSErrors; ValueError: a broken address.
        reason = " ".join(str(error).split())
        raise DataError(f"Cannot download {url} to {path}: {reason:.300}") from None


@contextlib.contextmanager
def _open_locked(part):
    """Opens `part` to read and append, for this process alone, once no other has it; removes it if it stays empty."""
    while True:
        with files.open_own(part) as file:
            try:
                locks.exclusive(file, wait=False)
            except BlockingIOError:
                print(f"{printable(str(part))}: waiting for another process that downloads it.", flush=True)
                locks.exclusive(file, wait=True)
            # Whoever had the lock until now may have renamed the file: it is then the final one.
            if not _leads_to(part, file):
                continue
            try:
                yield file
            finally:
                if not file.closed and _leads_to(part, file) and not file.seek(0, os.SEEK_END):
                    part.unlink()
            return


def _leads_to(path, file):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


def _is_whole(path, md5):
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _md5(file) == md5


def _fetch(url, file, attempts, timeout, backoff):
    """Requests until `file` is complete; returns whether the last request kept older bytes."""
    for attempt in range(1, attempts + 1):
        try:
            return _request(url, file, timeout)
        except _Failed as error:
            if error.wait is None or attempt == attempts:
                raise
            time.sleep(max(error.wait, backoff * 2 ** (attempt - 1)))


def _request(url, file, timeout):
    """Appends to `file` what it lacks, or starts it over; returns whether older bytes were kept."""
    import requests  # Slow to import, and most runs find their data on disk.
    from tqdm import tqdm

    offset = file.seek(0, os.SEEK_END)
    # Identity: offsets and MD5 count the bytes of the file, not those of its compressed form.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
    failure = f"No answer from {urlsplit(url).hostname}"
    try:
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            status = response.status_code
            if status == 416 and offset:
                return True  # Nothing is left to send; the MD5 tells whether that is so.
            if status == 429 or status >= 500:
                raise _Failed(f"HTTP {status}", _seconds(response.headers.get("Retry-After", "")))
            if status not in (200, 206):
                raise _Failed(f"HTTP {status}")
            if status == 200:
                offset = 0
                file.truncate(0)
                total = response.headers.get("Content-Length", "")
            else:
                content_range = response.headers.get("Content-Range", "")
                total = content_range.rpartition("/")[2]
                if not content_range.startswith(f"bytes {offset}-"):
                    file.truncate(0)
                    raise _Failed(f"HTTP 206 with Content-Range {content_range!r:.100}", wait=0)
            # None: the server does not know.
            total = int(total) if total.isdecimal() else None
            _check_room(file, offset, total or 0)
            failure = f"Connection to {urlsplit(url).hostname} broke off"
            name = Path(file.name).stem
            with tqdm(desc=name, total=total, initial=offset, unit="B", unit_scale=True) as bar:
                for chunk in response.iter_content(CHUNK):
                    if bar.n + len(chunk) > MAX_BYTES:
                        file.truncate(0)
                        raise _Failed(f"it is larger than {MAX_BYTES / 1e9:.0f} GB")
                    file.write(chunk)
                    bar.update(len(chunk))
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _Failed(f"{failure}: {_cause(error)}", wait=0) from None
    size = file.seek(0, os.SEEK_END)
    if total is not None and size != total:
        raise _Failed(f"{failure}: {size} of {total} bytes received", wait=0)
    return offset > 0


def _check_room(file, offset, total):
    """Refuse before the first byte what can't end well."""
    if total > MAX_BYTES:
        raise _Failed(f"it is larger than {MAX_BYTES / 1e9:.0f} GB")
    free = shutil.disk_usage(Path(file.name).parent).free
    if total - offset > free:
        raise _Failed(f"it needs {(total - offset) / 1e6:.0f} MB of space, and {free / 1e6:.0f} MB are free")


def _cause(error):
    """The plain reason in an error of requests, which wraps urllib3's, which wraps the socket's."""
    cause = error.args[0] if error.args else error
    cause = getattr(cause, "reason", cause)
    return cause.__cause__ or cause


def _seconds(retry_after):
    """Seconds that a Retry-After header (a number or a date) asks for, at most a minute."""
    try:
        if retry_after.isdecimal():
            return min(int(retry_after), 60)
        return min(max(parsedate_to_datetime(retry_after).timestamp() - time.time(), 0), 60)
    except (ValueError, TypeError, OverflowError):
        return 0


def _md5(file):
    file.seek(0)
    return hashlib.file_digest(file, "md5").hexdigest()
