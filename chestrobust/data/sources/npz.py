"""Arrays of npz files. Large ones are memory-mapped: `np.load` reads every member whole, whatever its `mmap_mode`."""

import contextlib
import errno
import io
import math
import os
import shutil
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from chestrobust import files, locks
from chestrobust.data.sources.fingerprint import crc, remembered
from chestrobust.errors import DataError, printable
from chestrobust.files import open_zip

MAPPED = 1 << 26  # bytes from which on an array is mapped; ChestMNIST's images at 28 px are below it
CHUNK = 1 << 20
MAX_AXES = 32
EXPECTED = "an .npz file"
MAX_HEADER = 10_000  # bytes; as much as numpy takes for safe


def holds(path, key):
    """Whether an npz file has an array of this name; False if it can't be read as one."""
    try:
        with open_zip(path, EXPECTED) as archive:
            return f"{key}.npy" in archive.namelist()
    except (DataError, ValueError, OSError, RuntimeError, zipfile.BadZipFile):
        return False


class Member:
    """An array of an npz file of which only the header has been read, and found to fit the member's length.

    Attributes:
        dtype, shape: What the header says.
    """

    def __init__(self, path, key, kinds="buifc"):
        """Finds `key` in the file `path`; raises `DataError` if it isn't there or no array of NumPy's `kinds`."""
        self.path, self.key = Path(path), key
        with self._explained(), open_zip(path, EXPECTED) as archive:
            names = [name for name in archive.namelist() if name in (key, f"{key}.npy")]
            if not names:
                keys = ", ".join(name.removesuffix(".npy") for name in archive.namelist()) or "none"
                raise DataError(f"{path}: {key}: expected this array. Received the keys: {keys:.300}.")
            if len(names) > 1:
                raise ValueError(f"it holds both {' and '.join(names)}")
            self._info = archive.getinfo(names[0])
            with archive.open(self._info) as stream:
                self.shape, self._fortran, self.dtype, self._offset = _header(stream)
            if self.dtype.hasobject:
                raise ValueError("it holds pickled objects, which are never opened")
            length = self._offset + math.prod(self.shape) * self.dtype.itemsize
            numeric = self.dtype.kind in kinds and len(self.shape) <= MAX_AXES and min(self.shape, default=0) >= 0
            if not numeric or length != self._info.file_size:
                raise ValueError(
                    f"its header says {self.dtype} {self.shape}, {length} bytes in all, "
                    f"but it is {self._info.file_size} bytes long"
                )

    @property
    def _stored(self):
        return self._info.compress_type == zipfile.ZIP_STORED

    def read(self, spare):
        """The array: in memory if small, else mapped from the npz file or from what was unpacked of it.

        Args:
            spare: Folder for unpacked arrays where none can be made beside the npz file.

        Returns:
            An array, or a read-only `np.memmap`.

        Raises:
            DataError: If the member is damaged, or there is no room to unpack it. A mapped member's own damage is found
                by `check`, as that takes reading all of it.
        """
        order = "F" if self._fortran else "C"
        if self._info.file_size < MAPPED:
            with self._explained(), self._chunks("Reading") as chunks:
                content = bytearray().join(chunks)
            return np.ndarray(self.shape, self.dtype, content, self._offset, order=order)
        with self._explained():
            source, start = (self.path, self._start()) if self._stored else (self._unpacked(spare), 0)
            return np.memmap(source, self.dtype, "r", offset=start + self._offset, shape=self.shape, order=order)

    def check(self):
        """Read a member that `read` would map in place, and raise `DataError` if it isn't what its checksum says."""
        if self._stored and self._info.file_size >= MAPPED:
            with self._explained(), self._chunks("Checking") as chunks:
                for _ in chunks:
                    pass

    def _start(self):
        """Where the content of a stored member begins in the file."""
        with self.path.open("rb") as file:
            file.seek(self._info.header_offset)
            name_length, extra_length = struct.unpack("<26xHH", file.read(30))
        return self._info.header_offset + 30 + name_length + extra_length

    def _unpacked(self, spare):
        """A file with the content of a compressed member, left by an earlier run or made now."""
        # The member's checksum in the name: what was unpacked from other content has another name.
        name = f"{self.key}-{self._info.CRC:08x}.npy"
        places = [folder / f"{self.path.name}.unpacked" / name for folder in (self.path.parent, Path(spare))]
        for place in places:
            if self._is_whole(place, spare):
                return place
        failures = []
        for place in places:
            try:
                self._unpack(place, spare)
                return place
            except OSError as error:
                failures.append(f"{place.parent}: {error.strerror}")
        raise DataError(
            f"{self.path}: {self.key}: expected a folder with {self._info.file_size / 1e6:.0f} MB free, to unpack this "
            f"compressed array once. Received {', '.join(dict.fromkeys(failures))}. Choose another --data-dir."
        )

    def _is_whole(self, place, spare):
        """Whether an unpacked file has the content of the member; only if it is new or was touched is it read."""
        try:
            if not files.is_own(place) or place.stat().st_size != self._info.file_size:
                return False
            return remembered(place, spare, ("crc",), lambda: {"crc": crc(place)})["crc"] == self._info.CRC
        except OSError:
            return False

    def _unpack(self, place, spare):
        files.make_folder(place.parent)
        with files.open_own(place.parent / "lock") as lock:
            locks.exclusive(lock, wait=True)
            if self._is_whole(place, spare):
                return  # The process that had the lock has done it.
            for stale in place.parent.glob(f"*{self.key}-*.npy"):  # Of another content, or left by a killed process.
                stale.unlink()
            if shutil.disk_usage(place.parent).free < self._info.file_size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with (
                files.replacing(place) as temporary,
                temporary.open("wb") as file,
                self._chunks("Unpacking") as chunks,
            ):
                file.writelines(chunks)
            # Its checksum was checked on the way.
            remembered(place, spare, ("crc",), lambda: {"crc": self._info.CRC})

    @contextlib.contextmanager
    def _chunks(self, verb):
        """The content in pieces, with a bar if that takes long; length and checksum are checked at the end."""
        with (
            open_zip(self.path, EXPECTED) as archive,
            archive.open(self._info) as stream,
            tqdm(
                total=self._info.file_size,
                desc=f"{verb} {printable(self.path.name)}, {self.key}",
                unit="B",
                unit_scale=True,
                leave=False,
                delay=1,
                disable=None,
            ) as bar,
        ):

            def chunks():
                left = self._info.file_size
                while chunk := stream.read(CHUNK):
                    bar.update(len(chunk))
                    left -= len(chunk)
                    yield chunk
                if left:
                    raise ValueError(f"{left} of its {self._info.file_size} bytes are missing")

            yield chunks()

    @contextlib.contextmanager
    def _explained(self):
        """Turns what goes wrong with a damaged file into a `DataError`."""
        try:
            yield
        except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, struct.error) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise DataError(
                f"{self.path}: {self.key}: expected a numeric array in an .npz file as numpy.savez writes it. "
                f"Received {self.path.stat().st_size} bytes: {reason:.300}. Download the file again."
            ) from None


def _header(stream):
    """Shape, Fortran order and dtype of an array in npy format, and where its values begin."""
    start = io.BytesIO(stream.read(MAX_HEADER))
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(start)
    if version not in readers:
        raise ValueError(f"npy format {version}")
    try:
        with warnings.catch_warnings(action="error"):
            return *readers[version](start), start.tell()
    except Exception as error:
        # A header is a Python literal, and what is none can make Python's parser fail in many ways.
        raise ValueError(f"a broken header: {error}") from None
