"""Opening files from strangers: only regular files, so that a pipe can't hang a run nor a device fill its memory."""

import os
import stat

from . import DataError

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


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
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
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


def refusal(path, expected, received):
    """The `DataError` to raise for a file that isn't what was expected; names that aren't UTF-8 are escaped."""
    where = os.fsencode(path).decode("utf-8", "backslashreplace")
    return DataError(f"{where}: expected {expected}. Received: {received}.")


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
