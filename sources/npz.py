"""Arrays of npz files. Large ones are memory-mapped: `np.load` reads every member whole, whatever its `mmap_mode`."""

import contextlib
import errno
import fcntl
import math
import os
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

import runs

from . import DataError

MAPPED = 1 << 26  # bytes from which on an array is mapped; ChestMNIST's images at 28 px are below it
CHUNK = 1 << 20


class Member:
    """An array of an npz file of which only the header has been read, and found to fit the member's length.

    Attributes:
        dtype, shape: What the header says.
    """

    def __init__(self, path, key):
        """Finds `key` in the file `path`; raises `DataError` if it isn't there or no numeric array."""
        self.path, self.key = Path(path), key
        if not self.path.is_file():
            received = "a folder" if self.path.is_dir() else "nothing there"
            raise DataError(f"{path}: expected an .npz file. Received: {received}.")
        with self._explained():
            if not zipfile.is_zipfile(path):
                with self.path.open("rb") as file:
                    raise zipfile.BadZipFile(f"no complete zip archive; it starts with {file.read(16)!r}")
            with zipfile.ZipFile(path) as archive:
                names = {name.removesuffix(".npy"): name for name in archive.namelist()}
                if key not in names:
                    raise DataError(
                        f"{path}: {key}: expected this array. Received the keys: {', '.join(names) or 'none'}."
                    )
                self._info = archive.getinfo(names[key])
                with archive.open(self._info) as stream:
                    self.shape, self._fortran, self.dtype = _header(stream)
                    self._offset = stream.tell()
            if self.dtype.hasobject:
                raise ValueError("it holds pickled objects, which are never opened")
            length = self._offset + math.prod(self.shape) * self.dtype.itemsize
            if min(self.shape, default=0) < 0 or length != self._info.file_size:
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
        with self._explained():
            if self._info.file_size < MAPPED:
                with zipfile.ZipFile(self.path) as archive, archive.open(self._info) as stream:
                    return np.lib.format.read_array(stream, allow_pickle=False)
            source, start = (self.path, self._start()) if self._stored else (self._unpacked(spare), 0)
            order = "F" if self._fortran else "C"
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
            if self._is_whole(place):
                return place
        failures = []
        for place in places:
            try:
                self._unpack(place)
                return place
            except OSError as error:
                failures.append(f"{place.parent}: {error.strerror}")
        raise DataError(
            f"{self.path}: {self.key}: expected a folder with {self._info.file_size / 1e6:.0f} MB free, to unpack this "
            f"compressed array once. Received {', '.join(dict.fromkeys(failures))}. Choose another --data-dir."
        )

    def _is_whole(self, place):
        return os.path.isfile(place) and os.path.getsize(place) == self._info.file_size

    def _unpack(self, place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with (place.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._is_whole(place):
                return  # The process that had the lock has done it.
            for stale in place.parent.glob(f"*{self.key}-*.npy"):  # Of another content, or left by a killed process.
                stale.unlink()
            if shutil.disk_usage(place.parent).free < self._info.file_size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            with (
                runs.replacing(place) as temporary,
                temporary.open("wb") as file,
                self._chunks("Unpacking") as chunks,
            ):
                file.writelines(chunks)

    @contextlib.contextmanager
    def _chunks(self, verb):
        """The content in pieces, with a bar if that takes long; its checksum is checked at the end."""
        with (
            zipfile.ZipFile(self.path) as archive,
            archive.open(self._info) as stream,
            tqdm(
                total=self._info.file_size,
                desc=f"{verb} {self.path.name}, {self.key}",
                unit="B",
                unit_scale=True,
                leave=False,
                delay=1,
                disable=None,
            ) as bar,
        ):

            def chunks():
                while chunk := stream.read(CHUNK):
                    bar.update(len(chunk))
                    yield chunk

            yield chunks()

    @contextlib.contextmanager
    def _explained(self):
        """Turns what goes wrong with a damaged file into a `DataError`."""
        try:
            yield
        except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
            raise DataError(
                f"{self.path}: {self.key}: expected a numeric array in an .npz file as numpy.savez writes it. "
                f"Received {self.path.stat().st_size} bytes: {reason}. Download the file again."
            ) from None


def _header(stream):
    """Shape, Fortran order and dtype of an array in npy format."""
    match np.lib.format.read_magic(stream):
        case (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        case (2, 0):
            return np.lib.format.read_array_header_2_0(stream)
        case version:
            raise ValueError(f"npy format {version}")
