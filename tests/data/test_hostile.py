"""Hostile npz files: each ends a script with one line that says what is wrong, exit code 2, and little memory used."""

import io
import os
import re
import shutil
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_sources import BAD

import diagnosis
import diagnosis_adv
from chestrobust import data, startup
from chestrobust.data.sources import npz
from chestrobust.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 2, (6, 14), dtype=np.uint8)
ARRAYS = {
    f"{part}_{kind}": a for part in ("train", "val", "test") for kind, a in (("images", IMAGES), ("labels", LABELS))
}


def npy(array=IMAGES, header=None, version=1, **changes):
    """Bytes of an npy file, whose header may lie."""
    entries = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | changes
    header = (repr(entries) if header is None else header).encode("latin1") + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + array.tobytes("A")


def members(**changes):
    """Names and contents of a valid file, but for the changes; `None` leaves an array out."""
    content = {f"{key}.npy": npy(array) for key, array in ARRAYS.items()}
    content |= {f"{key}.npy": value for key, value in changes.items()}
    return [(name, value) for name, value in content.items() if value is not None]


def archive(pairs, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as opened, warnings.catch_warnings(action="ignore"):
        for name, value in pairs:
            opened.writestr(name, value)
    return file.getvalue()


def changed(content, field, value, *, name=b"train_images.npy", local=True):
    """An archive in which a field (its offset in the central directory, and its format) of a member says otherwise."""
    offset, form = field
    content = bytearray(content)
    central = content.rindex(b"PK\x01\x02", 0, content.rindex(name))
    struct.pack_into(form, content, central + offset, value)
    if local and offset >= 6:
        struct.pack_into(form, content, content.index(name) - 30 + offset - 2, value)
    return bytes(content)


FLAGS, METHOD, CRC, STORED, SIZE, START = (8, "<H"), (10, "<H"), (16, "<I"), (20, "<I"), (24, "<I"), (42, "<I")


def pickled():
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array([{"a": 1}] * 6, dtype=object), allow_pickle=True)
    return file.getvalue()


def directory_of(count, size=None):
    """An archive of `count` empty members, and how many bytes it says its table of contents has."""
    content = bytearray(archive([(f"{number:09}", b"") for number in range(count)]))
    if size is not None:
        struct.pack_into("<I", content, len(content) - 10, size)
    return bytes(content)


def zip64(file_size):
    """A member whose size is given in 64 bits."""
    content = archive(members())
    central = content.rindex(b"PK\x01\x02", 0, content.rindex(b"train_images.npy"))
    extra = struct.pack("<HHQ", 1, 8, file_size)
    entry = bytearray(content[central : central + 46])
    struct.pack_into("<I", entry, 24, 0xFFFFFFFF)
    struct.pack_into("<H", entry, 30, len(extra))
    end = content.rindex(b"PK\x05\x06")
    tail = bytearray(content[end:])
    struct.pack_into("<I", tail, 12, struct.unpack_from("<I", tail, 12)[0] + len(extra))
    name = b"train_images.npy"
    return content[:central] + entry + name + extra + content[central + 46 + len(name) : end] + tail


def bomb(shape, **settings):
    """Zeros, many of them, packed into little: the header keeps its promise."""
    packer, header = zlib.compressobj(9, zlib.DEFLATED, -15), npy(IMAGES[:0], shape=shape)
    size = int(np.prod(shape))
    crc, block, packed = zlib.crc32(header), bytes(1 << 20), [packer.compress(header)]
    for _ in range(size >> 20):
        packed.append(packer.compress(block))
        crc = zlib.crc32(block, crc)
    content = archive(members(train_images=b"".join([*packed, packer.flush()])))
    for field, value in ((METHOD, 8), (CRC, crc), (SIZE, len(header) + size)):
        content = changed(content, field, value)
    return content


def lies(**changes):
    return lambda: archive(members(train_images=npy(**changes)))


HOSTILE = {
    "pickled objects": (lambda: archive(members(train_images=pickled())), "pickled objects, which are never opened"),
    "pickled labels": (lambda: archive(members(val_labels=pickled())), "val_labels.*pickled objects"),
    "objects in a record": (lies(descr=[("a", "|O")]), "pickled objects"),
    "a bomb that keeps its promise": (lambda: bomb((1 << 17, 32, 32)), r"\d+ bytes unpack to 1342178\d\d"),
    "a bomb that doesn't": (lambda: changed(archive(members(), 8), SIZE, 1 << 31), "unpack to 2147483648"),
    "a bomb nobody asked for": (
        lambda: changed(archive([*members(), ("more", b"x")], 8), SIZE, 1 << 31, name=b"more"),
        "unpack to 2147483648 in 'more'",
    ),
    "more than it says": (lambda: changed(archive(members(), 8), SIZE, 1000), "Bad CRC-32"),
    "less than it says": (lambda: archive(members(train_images=npy(IMAGES[:3], shape=(6, 28, 28)))), "bytes long"),
    "beyond its end": (lambda: changed(archive(members()), STORED, 1 << 30), "1073741824 of its"),
    "bytes of others": (lambda: changed(archive(members()), STORED, 20_000), "20000 of its"),
    "64 bits of size": (lambda: zip64(1 << 62), "belong to 'train_images.npy'"),
    "64 bits of nonsense": (lambda: zip64((1 << 64) - 1), "belong to 'train_images.npy'"),
    "begins elsewhere": (lambda: changed(archive(members()), START, 77, local=False), "Bad magic number"),
    "begins beyond the end": (
        lambda: changed(archive(members()), START, 1 << 30, local=False),
        "begins at byte 1073741824",
    ),
    "many members": (lambda: directory_of(20_000), r"table of contents has 1100000 bytes"),
    "a large table of contents": (lambda: directory_of(3, (1 << 32) - 2), "Bad offset|table of contents"),
    "an archive in an archive": (lambda: archive([("a.npz", archive(members()))]), "Received the keys: a.npz"),
    "bzip2": (lambda: archive(members(), zipfile.ZIP_BZIP2), "packed in an unusual way"),
    "lzma": (lambda: archive(members(), zipfile.ZIP_LZMA), "packed in an unusual way"),
    "an unknown method": (lambda: changed(archive(members()), METHOD, 99), "packed in an unusual way"),
    "encrypted": (lambda: changed(archive(members()), FLAGS, 1), "encrypted"),
    "patched": (lambda: changed(archive(members()), FLAGS, 0x20), "patched"),
    "wrong checksum": (lambda: changed(archive(members()), CRC, 7), "Bad CRC-32"),
    "wrong checksum, packed": (lambda: changed(archive(members(), 8), CRC, 7), "Bad CRC-32"),
    "truncated": (lambda: archive(members())[:-30], "no complete zip archive"),
    "truncated at the start": (lambda: archive(members())[500:], r"'train_images.npy' begins at byte -500 of"),
    "two of a name": (lambda: archive([*members(), ("train_images.npy", npy())]), "'train_images.npy' is in it twice"),
    "a name with and without its ending": (
        lambda: archive([*members(), ("train_images", npy())]),
        "both train_images.npy and train_images",
    ),
    "paths that lead out": (
        lambda: archive([(f"../../{name}", value) for name, value in members()]),
        r"train_images: expected this array. Received the keys: \.\./\.\./train_images",
    ),
    "absolute names": (
        lambda: archive([(f"/etc/{name}", value) for name, value in members()]),
        "Received the keys: /etc/train_images",
    ),
    "names that steer a terminal": (lambda: archive([("\x1b[2J\x07evil", b"")]), r"the keys: \\x1b\[2J\\x07evil"),
    "names that are no text": (
        lambda: changed(
            archive([("\u00e9" * 9, b"")]).replace("\u00e9".encode(), b"\xff\xff"), FLAGS, 0x800, name=b"\xff"
        ),
        "codec can't decode",
    ),
    "long names": (lambda: archive([("a" * 60_000, b"")]), "the keys: a{290,310}\\."),
    "a missing array": (lambda: archive(members(val_labels=None)), "val_labels: expected this array"),
    "no array": (lambda: archive([]), "the keys: none"),
    "negative": (lies(shape=(-6, -28, 28)), r"\(-6, -28, 28\)"),
    "overflowing": (lies(shape=(1 << 62, 4, 28 * 28 * 6)), r"\(4611686018427387904, 4, 4704\)"),
    "a million million million": (lies(shape=(10**18, 28, 28)), r"1000000000000000000, 28, 28"),
    "no pixels": (
        lambda: archive(members(train_images=npy(IMAGES[:0], shape=(6, 0, 0)))),
        r"at least one image. Received: uint8 \(6, 0, 0\)",
    ),
    "no bytes per value": (
        lambda: archive(members(train_images=npy(IMAGES[:0], descr="|S0", shape=(10**18, 28, 28)))),
        r"its header says \|S0",
    ),
    "many axes": (lies(shape=(1,) * 3000 + (6, 28, 28)), r"its header says uint8 \(1, 1, "),
    "a number of thousands of digits": (
        lies(header=f"{{'descr':'|u1','fortran_order':False,'shape':(0x{'f' * 9000},)}}"),
        "images",
    ),
    "truth values for a shape": (lies(shape=(True, 28 * 6, 28)), "train_images"),
    "a long header": (lies(header=" " * 60_000 + "{}"), "broken header"),
    "a header of gigabytes": (
        lambda: archive(
            members(train_images=b"\x93NUMPY\x02\x00" + b"\xff" * 4 + bytes(60_000_000)), zipfile.ZIP_DEFLATED
        ),
        "broken header",
    ),
    "a nested header": (lies(header="[" * 9000), "broken header"),
    "a header of signs": (lies(header="-" * 9000 + "1"), "broken header"),
    "a header of code": (lies(header="__import__('os').abort()"), "broken header"),
    "a header of Python 2": (
        lies(header="{'descr':'|u1','fortran_order':False,'shape':(6L,)}"),
        "broken header",
    ),
    "a header with a warning": (
        lies(header="{'descr':'\\d','fortran_order':False,'shape':(6,)}"),
        "broken header",
    ),
    "no header": (lies(header=""), "broken header"),
    "an empty member": (lambda: archive(members(train_images=b"")), "EOF"),
    "format 3.0": (lies(version=3), r"npy format \(3, 0\)"),
    "format 255": (lies(version=255), r"npy format \(255, 0\)"),
    "floats": (lambda: archive(members(train_images=npy(IMAGES.astype("f4")))), "expected uint8.*Received: float32"),
    "not numbers": (
        lambda: archive(members(train_images=npy(np.full((6, 28, 28), np.nan)))),
        "expected uint8.*Received: float64",
    ),
    "labels that are not numbers": (
        lambda: archive(members(test_labels=npy(np.full((6, 14), np.nan)))),
        "expected integer labels.*float64",
    ),
    "big numbers of the other endianness": (
        lambda: archive(members(train_images=npy(IMAGES.astype(">u2")))),
        "expected uint8.*Received: >u2",
    ),
    "labels of the other endianness": (
        lambda: archive(members(val_labels=npy(LABELS.astype("<i4"), descr=">i4"))),
        "expected values 0 to 1. Received: 0 to 16777216",
    ),
    "huge labels": (
        lambda: archive(members(val_labels=npy(np.full((6, 14), 2**64 - 1, "u8")))),
        "values 0 to 1. Received: 18446744073709551615",
    ),
    "negative labels": (
        lambda: archive(members(val_labels=npy(np.full((6, 14), -(2**63))))),
        "values 0 to 1. Received: -9223372036854775808",
    ),
    "labels of another shape": (lambda: archive(members(val_labels=npy(LABELS.T))), r"\(6, 14\).*\(14, 6\)"),
    "text for labels": (
        lambda: archive(members(val_labels=npy(LABELS.astype("S8")))),
        r"val_labels.*its header says \|S8 \(6, 14\)",
    ),
    "dates for labels": (lambda: archive(members(val_labels=npy(LABELS.astype("M8[s]")))), "val_labels.*datetime64"),
}


@pytest.fixture
def refuse(tmp_path, capsys, monkeypatch):
    """Runs a script in this process on a path and returns its one line of error."""
    monkeypatch.setattr(sys, "argv", ["script.py"])

    def refusing(main, *arguments):
        code = startup.run_script(lambda: main([*map(str, arguments), "--data-dir", str(tmp_path / "data")]))
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert err.endswith("\n")
        assert err[:-1].isprintable()
        assert len(err) < 1000
        return err

    return refusing


@pytest.mark.parametrize("name", HOSTILE)
def test_each_hostile_file_ends_a_script_with_one_line_and_little_memory(tmp_path, refuse, name):
    make, expected = HOSTILE[name]
    path = tmp_path / "mine.npz"
    path.write_bytes(make())
    before = {entry.name for entry in tmp_path.iterdir()}
    main = diagnosis.main if zlib.crc32(name.encode()) % 2 else diagnosis_adv.main
    tracemalloc.start()
    try:
        line = refuse(main, "--data", path, "--run", tmp_path / "run")
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert f"{path}: " in line
    assert "expected" in line and "Received" in line
    assert re.search(expected, line), line
    assert {entry.name for entry in tmp_path.iterdir()} == before, "nothing is written for data that are refused"


@pytest.mark.parametrize("name", BAD)
def test_each_bad_sample_ends_a_script_with_one_line(tmp_path, samples, refuse, name):
    line = refuse(diagnosis.main, "--data", samples / "bad" / name, "--run", tmp_path / "run")
    for part in [f"{samples / 'bad' / name}: ", "expected", "Received", *BAD[name]]:
        assert part.lower() in line.lower()
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_honest_but_unusual_loads(tmp_path):
    contents = {
        "Fortran order": archive(members(train_images=npy(np.asfortranarray(IMAGES), fortran_order=True))),
        "version 2": archive(members(train_images=npy(version=2))),
        "big-endian labels": archive(members(train_labels=npy(LABELS.astype(">i8")))),
        "truth values": archive(members(train_labels=npy(LABELS.astype(bool)))),
        "other members": archive([*members(), ("../../evil.npy", b"?"), ("notes.txt", b"")]),
        "a prefix": b"#!/bin/sh\nexit\n" + archive(members()),
        "no ending": archive([(name.removesuffix(".npy"), value) for name, value in members()]),
    }
    for name, content in contents.items():
        path = tmp_path / "mine.npz"
        path.write_bytes(content)
        splits = data.load(str(path), data_dir=tmp_path / "data")
        np.testing.assert_array_equal(splits.train.images[..., 0], IMAGES, err_msg=name)
        np.testing.assert_array_equal(splits.train.labels, LABELS, err_msg=name)
        assert {entry.name for entry in tmp_path.iterdir()} == {"mine.npz", "data"}


def test_what_is_no_file_is_refused_without_waiting(tmp_path, refuse):
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    (tmp_path / "dangling.npz").symlink_to("nowhere.npz")
    (tmp_path / "endless.npz").symlink_to("/dev/zero")
    received = {
        **{"pipe.npz": "a pipe", "folder.npz": "a folder", "loop.npz": "Too many levels of symbolic links"},
        **{"dangling.npz": "nothing there", "endless.npz": "a device", "missing.npz": "nothing there"},
        **{"a" * 300 + ".npz": "File name too long"},
    }
    for name, answer in received.items():
        line = refuse(diagnosis.main, "--data", tmp_path / name, "--run", tmp_path / "run")
        assert f"{name}: expected an .npz file. Received: {answer}." in line


def test_a_file_whose_name_is_no_text_loads_under_a_name_that_is(tmp_path, refuse):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[2J.npz")
    assert r"\udcff\x1b[2J.npz: expected an .npz file" in refuse(diagnosis.main, "--data", path)
    with open(path, "wb") as file:
        file.write(archive(members()))
    splits = data.load(path, data_dir=tmp_path / "data")
    assert splits.name == r"\udcff\x1b[2J"


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "mine.npz").write_bytes(archive(members()))
    (tmp_path / "link.npz").symlink_to("mine.npz")
    assert len(data.load(str(tmp_path / "link.npz"), data_dir=tmp_path / "data").train) == 6


@pytest.mark.parametrize("script", ["diagnosis.py", "diagnosis_adv.py", "evaluate.py"])
def test_a_script_of_its_own_ends_with_code_2_before_tensorflow_is_loaded(tmp_path, script):
    path = tmp_path / "mine.npz"
    path.write_bytes(archive(members(train_images=pickled())))
    subject = []
    if script == "evaluate.py":
        subject = [tmp_path / "model.keras"]
        h5py.File(tmp_path / "empty.h5", "w").close()
        weights = (tmp_path / "empty.h5").read_bytes()
        model = [("config.json", "{}"), ("metadata.json", "{}"), ("model.weights.h5", weights)]
        subject[0].write_bytes(archive(model))
    process = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / script), *subject, "--data", path, "--data-dir", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in process.stderr.splitlines() if not line.startswith("import time:")]
    assert (process.returncode, process.stdout, len(lines)) == (2, "", 1)
    assert lines[0].startswith(f"{script}: error: {path}: train_images: expected")
    assert "tensorflow.python" not in process.stderr


def compressed(path):
    np.savez_compressed(path, images=IMAGES)
    return path


@pytest.fixture
def unpacked(tmp_path, monkeypatch):
    """Path of a file whose array is unpacked beside it, and of what was unpacked."""
    monkeypatch.setattr(npz, "MAPPED", 1)
    path = compressed(tmp_path / "mine.npz")
    read = lambda: npz.Member(path, "images").read(tmp_path / "data")  # noqa: E731
    np.testing.assert_array_equal(read(), IMAGES)
    (copy,) = tmp_path.rglob("*.npy")
    return read, copy


def test_an_unpacked_array_that_was_tampered_with_is_unpacked_again(unpacked):
    read, copy = unpacked
    content, about = bytearray(copy.read_bytes()), copy.stat()
    content[-1] ^= 1
    copy.write_bytes(content)
    os.utime(copy, ns=(about.st_atime_ns, about.st_mtime_ns))
    np.testing.assert_array_equal(read(), IMAGES)
    assert copy.read_bytes()[-1] == IMAGES.tobytes()[-1]


def test_an_unpacked_array_is_read_for_its_checksum_only_once(unpacked, monkeypatch):
    read, copy = unpacked
    monkeypatch.setattr(npz, "crc", lambda path: pytest.fail("read again"))
    np.testing.assert_array_equal(read(), IMAGES)
    monkeypatch.undo()
    monkeypatch.setattr(npz, "MAPPED", 1)
    os.utime(copy)
    before = copy.stat().st_ino
    np.testing.assert_array_equal(read(), IMAGES)
    assert copy.stat().st_ino == before


def test_links_planted_where_arrays_are_unpacked_lead_nowhere(unpacked, tmp_path):
    read, copy = unpacked
    folder, precious = copy.parent, tmp_path / "precious"
    precious.mkdir()
    victim = precious / "images-old.npy"
    victim.write_text("mine")
    for planted in (copy, folder / f".{copy.stem}.{os.getpid()}.npy", folder / "lock"):
        copy.unlink(missing_ok=True)
        planted.unlink(missing_ok=True)
        planted.symlink_to(victim)
        np.testing.assert_array_equal(read(), IMAGES)
        assert victim.read_text() == "mine"
        planted.unlink(missing_ok=True)
    shutil.rmtree(tmp_path / "data")
    copy.unlink(missing_ok=True)
    (folder / "lock").symlink_to(precious / "new")
    np.testing.assert_array_equal(read(), IMAGES)
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "data")
    folder.symlink_to(precious)
    np.testing.assert_array_equal(read(), IMAGES)
    assert [file.name for file in precious.iterdir()] == [victim.name]
    assert victim.read_text() == "mine"


def test_an_archive_that_ends_early_leaves_no_unpacked_array(tmp_path, monkeypatch):
    """Packed content shorter than it says, with the checksum of the short one: only its length tells."""
    monkeypatch.setattr(npz, "MAPPED", 1)
    content = archive(members(), zipfile.ZIP_DEFLATED)
    short = npy()[:-100]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        info = opened.getinfo("train_images.npy")
    packed = packer.compress(short) + packer.flush()
    start = content.index(b"train_images.npy") + len("train_images.npy")
    content = content[:start] + packed.ljust(info.compress_size, b"\0") + content[start + info.compress_size :]
    (tmp_path / "mine.npz").write_bytes(changed(content, CRC, zlib.crc32(short)))
    with pytest.raises(DataError, match=r"train_images.*100 of its .* bytes are missing"):
        npz.Member(tmp_path / "mine.npz", "train_images").read(tmp_path)
    assert not list(tmp_path.rglob("*.npy"))
