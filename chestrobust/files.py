"""Opening files from strangers, and making, replacing and removing files of ours.

From strangers only regular files are opened, so that a pipe can't hang a run nor a device fill its memory. Where files
of ours should lie, no link is followed: whoever made a folder may have planted one that leads to the user's own files.
"""

import contextlib
import errno
import io
import os
import shutil
import stat
import zipfile
from contextlib import contextmanager

from chestrobust import locks
from chestrobust.errors import DataError, RunError

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

# Windows has neither; there, nothing but a look beforehand keeps from following a link.
NO_WAIT, NO_LINKS = getattr(os, "O_NONBLOCK", 0), getattr(os, "O_NOFOLLOW", 0)
# What Windows keeps for itself, in names and as names.
RESERVED = str.maketrans(dict.fromkeys('<>:"/\\|?*', "-"))
DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}

MAX_DIRECTORY = 1 << 20  # bytes of a zip archive's table of contents, each entry of which costs some 600 in memory
PARTIAL = ".*.partial*"  # names of files that are being written
SLACK = 1 << 26  # bytes that a member may unpack to however small it is
MAX_RATIO = 100  # beyond that; radiographs shrink to a half, an empty file's zeros to a thousandth


def open_regular(path, expected, *, max_bytes=None):
    """Open a file to read its bytes; links are followed.

    Args:
        path: The file.
        expected: What it should be, for the message: `"a CSV file"`.
        max_bytes: Largest size in bytes, or None for any.

    Raises:
        DataError: If there is none, it can't be read, is no regular file, or is larger.
    """
    try:
        # Without O_NONBLOCK, opening a pipe would wait for somebody to write to it.
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | NO_WAIT))  # noqa: SIM115
    except IsADirectoryError:
        raise refusal(path, expected, "a folder") from None
    except FileNotFoundError:
        raise refusal(path, expected, "nothing there") from None
    except (OSError, ValueError) as error:  # ValueError: the name holds a NUL character.
        raise refusal(path, expected, getattr(error, "strerror", None) or error) from None
    about = os.fstat(file.fileno())
    if not stat.S_ISREG(about.st_mode):
        file.close()
        raise refusal(path, expected, KINDS.get(stat.S_IFMT(about.st_mode), "no regular file"))
    if max_bytes is not None and about.st_size > max_bytes:
        file.close()
        raise refusal(path, f"{expected} of at most {max_bytes / 1e6:.0f} MB", f"{about.st_size / 1e6:.0f} MB")
    return file


class _Bounded(io.BufferedReader):
    """A file of which at most `limit` bytes are read at once, so that no length found in it is taken at its word."""

    limit = MAX_DIRECTORY

    def read(self, size=-1, /):
        if size is not None and size > self.limit:
            raise zipfile.BadZipFile(f"it says that its table of contents has {size} bytes")
        return super().read(size)


@contextlib.contextmanager
def open_zip(path, expected):
    """A `zipfile.ZipFile` to read from, once its table of contents has been found plausible.

    Raises:
        DataError: If there is no regular file.
        zipfile.BadZipFile: If it is no zip archive, its table of contents is larger than `MAX_DIRECTORY`, names a file
            twice, or promises what its size can't hold: members larger than the archive or than `MAX_RATIO` times what
            is stored of them.
        ValueError, OSError, RuntimeError: If it is damaged in another way.
    """
    with open_regular(path, expected) as file, _Bounded(file.raw) as bounded:
        start = file.peek(16)[:16]
        size = bounded.seek(0, os.SEEK_END)
        if not zipfile.is_zipfile(bounded):
            raise zipfile.BadZipFile(f"no complete zip archive; it starts with {start!r}")
        with zipfile.ZipFile(bounded) as archive:
            bounded.limit = size
            _check_directory(archive, size)
            yield archive


def _check_directory(archive, size):
    names = set()
    for info in archive.infolist():
        name, stored = info.filename, info.compress_size
        if name in names:
            raise zipfile.BadZipFile(f"{name!r:.100} is in it twice")
        names.add(name)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # Others unpack any amount at once, whatever is asked for.
            raise zipfile.BadZipFile(f"{name!r:.100} is packed in an unusual way")
        if not 0 <= info.header_offset < size:
            raise zipfile.BadZipFile(f"it says that {name!r:.100} begins at byte {info.header_offset} of {size}")
        if stored > size or (info.compress_type == zipfile.ZIP_STORED and stored != info.file_size):
            raise zipfile.BadZipFile(f"it says that {stored} of its {size} bytes belong to {name!r:.100}")
        if info.file_size > SLACK + MAX_RATIO * stored:
            raise zipfile.BadZipFile(f"it says that {stored} bytes unpack to {info.file_size} in {name!r:.100}")


def refusal(path, expected, received):
    """The `DataError` to raise for a file that isn't what was expected."""
    return DataError(f"{path}: expected {expected}. Received: {received}.")


def inside(folder, name, where):
    """The path of the file that a table calls `name`, which must not lead out of `folder`.

    Args:
        folder: `pathlib.Path` of the folder.
        name: Relative path as the table has it.
        where: The table, for the message.

    Raises:
        DataError: If the name is empty, absolute, or has `..`, a backslash or a character that can't be printed.
    """
    parts = name.split("/")
    if not name or not name.isprintable() or "\\" in name or name.startswith("/") or ".." in parts:
        raise refusal(where, "names of files inside the folder of images", f"{name!r:.100}")
    return folder / name


@contextmanager
def writing(path):
    """`replacing` for files of a run folder.

    Raises:
        RunError: If the file can't be written, what it held before is still there then; or if this process had locked
            a folder around it that another has taken the place of.
    """
    if folder := locks.lost(path):
        raise RunError(
            f"{folder}: expected the folder that this run was started in. Received another, or none: it has been "
            "removed since. Nothing is written."
        )
    with explained(path), replacing(path) as temporary:
        yield temporary


@contextmanager
def explained(path):
    """Turns a full disk, a quota, a folder that is gone or read-only, and the like, into a `RunError`."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: expected to be able to write here. Received: {error.strerror or error}. "
            "What was saved before is intact: put this right, then continue."
        ) from error


@contextmanager
def replacing(path):
    """A temporary path beside `path` (same ending) that takes its place when the block ends without an error.

    A link in place of `path` is replaced itself; what it leads to stays as it is.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        temporary.unlink(missing_ok=True)  # It might be a link.
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _keep_names(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path, *, inside=None):
    """Make a folder for files of ours.

    Args:
        path: `pathlib.Path` of the folder.
        inside: Folder above it that the user chose, which may be a link; below it none is followed. None if it is the
            one right above.

    Raises:
        OSError: If it can't be made, or if it or a folder between it and `inside` is a link.
    """
    inside = path.parent if inside is None else inside
    for part in (path, *path.parents):
        if part == inside:
            break
        if part.is_symlink():
            raise OSError(errno.ELOOP, "a link, which might lead anywhere")
    path.mkdir(parents=True, exist_ok=True)


def open_own(path):
    """Open a file of ours to read and append, made if it isn't there; what is in it stays.

    Raises:
        OSError: If that can't be, or if a link or anything but a regular file is in its place.
    """
    if not NO_LINKS and os.path.islink(path):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    opener = lambda name, flags: os.open(name, flags | NO_LINKS | NO_WAIT, 0o666)  # noqa: E731
    file = open(path, "a+b", opener=opener)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "no regular file")
    return file


def is_own(path):
    """Whether a regular file lies there, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):  # ValueError: the name holds a NUL character.
        return False


def remove(path):
    """Remove a file, a folder with all that is in it, or a link but not what it leads to; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_partial(folder):
    """Remove what `replacing` left in a folder when its process was killed. Call it only where nobody else writes."""
    for path in folder.glob(PARTIAL):
        path.unlink(missing_ok=True)


def is_portable(name):
    """Whether every system takes a name for that of a file, with an ending of ours after it."""
    return bool(name) and name.isprintable() and name == portable(name)


def portable(name):
    """A name that every system takes for that of a file, with an ending of ours after it."""
    name = "".join(letter if letter.isprintable() else "-" for letter in name.translate(RESERVED)).rstrip(" .")
    stem, dot, rest = name.partition(".")
    return f"{stem}-{dot}{rest}" if not name or stem.rstrip().lower() in DEVICES else name


def _keep_names(folder):
    """Have the names in a folder survive a power failure, where the system can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
