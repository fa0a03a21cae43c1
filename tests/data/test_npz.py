"""Large arrays of npz files: mapped in place or unpacked once, never loaded, and checked before they are trusted."""

import io
import os
import shutil
import threading
import zipfile

import numpy as np
import pytest

from chestrobust import data
from chestrobust.data.sources import npz
from chestrobust.data.sources.npz import Member
from chestrobust.data.splits import Rows, selection
from chestrobust.errors import DataError
from chestrobust.evaluation import audit

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(npz, "MAPPED", 1)


def write(path, save=np.savez, **arrays):
    save(path, **(arrays or {"images": IMAGES, "other": IMAGES[:3]}))
    return path


def dataset(path, save=np.savez):
    labels = np.random.default_rng(1).integers(0, 2, (40, 14), dtype=np.uint8)
    parts = ("train", "val", "test")
    return write(
        path, save, **{f"{part}_images": IMAGES for part in parts}, **{f"{part}_labels": labels for part in parts}
    )


def npy(array=IMAGES, **changes):
    """Bytes of an npy file, whose header may lie."""
    file = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, header | changes)
    return file.getvalue() + array.tobytes()


def unpacked(folder):
    return sorted(folder.rglob("*.npy"))


def is_mapped(array):
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "array", [IMAGES, np.asfortranarray(IMAGES), IMAGES[..., None], IMAGES.astype(">i4"), np.arange(7), np.float64(3)]
)
def test_a_mapped_array_is_what_numpy_loads(tmp_path, save, array):
    path = write(tmp_path / "file.npz", save, before=IMAGES, array=array, after=IMAGES)
    member, mapped = Member(path, "array"), Member(path, "array").read(tmp_path)
    expected = np.load(path)["array"]
    np.testing.assert_array_equal(mapped, expected)
    assert (member.dtype, member.shape) == (mapped.dtype, mapped.shape) == (expected.dtype, expected.shape)
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable


def test_small_arrays_are_read_into_memory_and_leave_nothing_behind(tmp_path, monkeypatch):
    path = write(tmp_path / "file.npz", np.savez_compressed)
    length = len(npy(IMAGES))
    monkeypatch.setattr(npz, "MAPPED", length + 1)
    images = Member(path, "images").read(tmp_path)
    np.testing.assert_array_equal(images, IMAGES)
    assert not is_mapped(images)
    assert os.listdir(tmp_path) == ["file.npz"]
    monkeypatch.setattr(npz, "MAPPED", length)
    assert is_mapped(Member(path, "images").read(tmp_path))
    assert not is_mapped(Member(path, "other").read(tmp_path))


def test_stored_images_are_mapped_in_place(tmp_path):
    path = dataset(tmp_path / "mine.npz")
    splits = data.load(str(path), data_dir=tmp_path / "data")
    assert all(is_mapped(split.images) for split in splits.parts.values())
    np.testing.assert_array_equal(splits.test.images[..., 0], IMAGES)
    assert not unpacked(tmp_path)


def test_compressed_images_are_unpacked_once_and_again_when_the_file_changes(tmp_path):
    path = dataset(tmp_path / "mine.npz", np.savez_compressed)
    identities = []
    for _ in range(2):
        splits = data.load(str(path), data_dir=tmp_path / "data")
        assert all(is_mapped(split.images) for split in splits.parts.values())
        np.testing.assert_array_equal(splits.train.images[..., 0], IMAGES)
        files = unpacked(tmp_path)
        identities.append([(file, file.stat().st_ino, file.stat().st_mtime_ns) for file in files])
    assert identities[0] == identities[1]
    assert {file.parent for file in files} == {tmp_path / "mine.npz.unpacked"}
    for _ in range(2):
        write(path, np.savez_compressed, train_images=IMAGES[::-1])
        np.testing.assert_array_equal(Member(path, "train_images").read(tmp_path / "data"), IMAGES[::-1])
    assert len(unpacked(tmp_path)) == len(files), "what was unpacked of the older file is gone"


def test_what_was_cut_short_is_unpacked_again(tmp_path):
    path = write(tmp_path / "file.npz", np.savez_compressed)
    Member(path, "images").read(tmp_path)
    (file,) = unpacked(tmp_path)
    os.truncate(file, 1000)
    np.testing.assert_array_equal(Member(path, "images").read(tmp_path), IMAGES)


def test_two_at_once_unpack_once(tmp_path, monkeypatch):
    path = write(tmp_path / "file.npz", np.savez_compressed)
    begun, go_on, times = threading.Event(), threading.Event(), []
    chunks = Member._chunks

    def slow(self, verb):
        times.append(verb)
        begun.set()
        assert go_on.wait(30)
        return chunks(self, verb)

    monkeypatch.setattr(Member, "_chunks", slow)
    results = []
    threads = [threading.Thread(target=lambda: results.append(Member(path, "images").read(tmp_path))) for _ in "12"]
    threads[0].start()
    assert begun.wait(30)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert times == ["Unpacking"]
    assert [np.array_equal(images, IMAGES) for images in results] == [True, True]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_unpacking_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, error):
    path = write(tmp_path / "file.npz", np.savez_compressed)
    read, reads = zipfile.ZipExtFile.read, []

    def breaks(stream, count=-1):
        if count == npz.CHUNK:
            reads.append(count)
            if len(reads) > 1:
                raise error
            return read(stream, 1000)
        return read(stream, count)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", breaks)
    with pytest.raises((KeyboardInterrupt, DataError)):
        Member(path, "images").read(tmp_path / "data")
    assert reads
    assert not unpacked(tmp_path)
    monkeypatch.undo()
    np.testing.assert_array_equal(Member(path, "images").read(tmp_path / "data"), IMAGES)


def test_where_nothing_can_be_written_beside_the_file_the_data_folder_takes_it(tmp_path, monkeypatch):
    """No room stands for every reason: a read-only folder is none for root, who may run these tests."""
    path = write(tmp_path / "file.npz", np.savez_compressed)
    monkeypatch.setattr(npz, "MAPPED", 10_000)
    real, full = shutil.disk_usage, [tmp_path / "file.npz.unpacked"]
    monkeypatch.setattr(
        shutil, "disk_usage", lambda folder: real(folder)._replace(free=0) if folder in full else real(folder)
    )
    np.testing.assert_array_equal(Member(path, "images").read(tmp_path / "data"), IMAGES)
    (file,) = unpacked(tmp_path)
    assert file.parent == tmp_path / "data" / "file.npz.unpacked"
    file.unlink()
    full.append(file.parent)
    with pytest.raises(DataError) as error:
        Member(path, "images").read(tmp_path / "data")
    for part in (str(path), "images", "expected", "Received", *map(str, full), "No space left", "--data-dir"):
        assert part in str(error.value)
    assert not unpacked(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_read_only_folder_is_no_obstacle(tmp_path):
    (tmp_path / "shared").mkdir()
    path = write(tmp_path / "shared" / "file.npz", np.savez_compressed)
    path.parent.chmod(0o500)
    np.testing.assert_array_equal(Member(path, "images").read(tmp_path / "data"), IMAGES)
    assert os.listdir(path.parent) == ["file.npz"]
    with pytest.raises(DataError, match="Permission denied"):
        Member(path, "images").read(path.parent)
    path.parent.chmod(0o700)


def test_a_file_in_the_way_of_the_folder_is_no_obstacle(tmp_path):
    path = write(tmp_path / "file.npz", np.savez_compressed)
    (tmp_path / "file.npz.unpacked").write_text("")
    np.testing.assert_array_equal(Member(path, "images").read(tmp_path / "data"), IMAGES)
    assert len(unpacked(tmp_path / "data")) == 1


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("mapped", [1, 1 << 40])
@pytest.mark.parametrize(
    ("content", "received"),
    [
        (npy(shape=(10**12, 28, 28)), r"\(1000000000000, 28, 28\)"),
        (npy(shape=(39, 28, 28)), r"\(39, 28, 28\).*31\d\d\d bytes"),
        (npy(shape=(-40, -28, 28)), r"\(-40, -28, 28\)"),
        (npy(descr="<f8"), "float64"),
        (npy(descr="|O"), "pickled objects"),
        (npy()[:-1], "bytes long"),
        (npy()[:40], "EOF"),
        (b"", "EOF"),
        (b"\x93NUMPY\x03\x00" + npy()[8:], r"\(3, 0\)"),
        (b"GIF89a" + npy(), "magic"),
    ],
)
def test_headers_that_lie_are_refused_before_anything_is_allocated(
    tmp_path, monkeypatch, content, received, mapped, compression
):
    monkeypatch.setattr(npz, "MAPPED", mapped)
    with zipfile.ZipFile(tmp_path / "file.npz", "w", compression) as archive:
        archive.writestr("images.npy", content)
    with pytest.raises(DataError, match=f"images: expected a numeric array.*Received.*{received}") as error:
        Member(tmp_path / "file.npz", "images")
    assert "\n" not in str(error.value)
    assert not unpacked(tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_images_are_refused_and_never_remembered_as_good(tmp_path, save):
    path = dataset(tmp_path / "mine.npz", save)
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("val_images.npy")
    content = bytearray(path.read_bytes())
    content[member.header_offset + member.compress_size // 2] ^= 255
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(DataError, match="val_images"):
            data.load(str(path), data_dir=tmp_path / "data")


def test_an_encrypted_array_is_refused(tmp_path):
    path = write(tmp_path / "file.npz")
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        start = archive.start_dir
    path.write_bytes(content[: start + 8] + b"\x01" + content[start + 9 :])
    with pytest.raises(DataError, match="encrypted"):
        Member(path, "images")


def test_limit_copies_nothing_of_mapped_images_and_selects_the_same(tmp_path):
    splits = data.load(str(dataset(tmp_path / "mine.npz")), data_dir=tmp_path / "data", limit=30)
    images, rows = splits.train.images, selection(40, 30)
    assert isinstance(images, Rows)
    assert is_mapped(images.array)
    assert images.shape == (30, 28, 28, 1)
    assert (len(images), images.dtype, images.ndim) == (30, np.uint8, 4)
    np.testing.assert_array_equal(images, IMAGES[rows][..., None])
    np.testing.assert_array_equal(images[5:9], IMAGES[rows][5:9, ..., None])
    order = data.shuffled(30, seed=0, epoch=0)
    batches = list(data.batches(splits.train, 8, order=order))
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in batches])[..., 0], IMAGES[rows][order])
    sample = splits.train[audit.chosen(splits.train)]
    assert isinstance(sample.images, np.ndarray)
    np.testing.assert_array_equal(sample.labels, splits.train.labels)
