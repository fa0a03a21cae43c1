"""PNG and JPEG files: what pixels come out, and what is refused before it costs memory or time."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from chestrobust.data.sources import images
from chestrobust.errors import DataError

GRAY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
COLOURS = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width=8, height=6, bits=8, colour=0, rows=None, extra=b""):
    """A PNG file whose header may promise more pixels than there are."""
    rows = b"".join(b"\0" + row.tobytes() for row in GRAY) if rows is None else rows
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    content = [chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(content)


def encoded(array, mode=None, file_format="PNG", **settings):
    image = Image.fromarray(array)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, file_format, **settings)
    return file.getvalue()


def resized_header(jpeg, width, height):
    """A JPEG file with another size in its frame header."""
    start = max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2"))
    return jpeg[: start + 5] + struct.pack(">HH", height, width) + jpeg[start + 9 :]


@pytest.fixture
def read(tmp_path):
    """Reads content as a file of an uninformative name."""

    def reading(content, **settings):
        path = tmp_path / "image.dat"
        path.write_bytes(content)
        return images.read(path, **settings)

    return reading


def test_a_gray_image_is_read_as_it_is(read):
    pixels = read(png())
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, GRAY[..., None])
    np.testing.assert_array_equal(read(png(), gray=False), np.repeat(GRAY[..., None], 3, axis=-1))


def test_colours_become_their_luma_or_stay(read):
    np.testing.assert_array_equal(read(encoded(COLOURS), gray=False), COLOURS)
    luma = COLOURS @ [0.299, 0.587, 0.114]
    assert np.abs(read(encoded(COLOURS))[..., 0] - luma).max() <= 1


@pytest.mark.parametrize("opaque", [0, 128, 255])
def test_alpha_is_ignored(read, opaque):
    alpha = np.full((6, 8, 1), opaque, np.uint8)
    with_alpha = encoded(np.concatenate([COLOURS, alpha], axis=-1))
    np.testing.assert_array_equal(read(with_alpha, gray=False), COLOURS)
    rows = np.stack([GRAY, alpha[..., 0]], axis=-1)
    gray_alpha = png(colour=4, rows=b"".join(b"\0" + row.tobytes() for row in rows))
    np.testing.assert_array_equal(read(gray_alpha), GRAY[..., None])


def test_of_16_bits_the_upper_8_are_kept(read):
    wide = GRAY.astype(np.uint16) * 256 + 77
    np.testing.assert_array_equal(read(encoded(wide)), GRAY[..., None])
    np.testing.assert_array_equal(read(encoded(wide), gray=False)[..., 1], GRAY)


def test_of_fewer_bits_in_16_the_upper_8_of_those_used_are_kept(read):
    array = np.array([[0, 15, 16], [2048, 4080, 4095]], np.uint16)
    np.testing.assert_array_equal(read(encoded(array), bits=12)[..., 0], [[0, 0, 1], [128, 255, 255]])


def test_the_largest_value_of_16_bits_is_found_and_no_other_image_is_decoded(tmp_path, monkeypatch):
    def largest(content):
        (tmp_path / "image").write_bytes(content)
        return images.largest(tmp_path / "image")

    assert largest(encoded(np.array([[7, 4095]], np.uint16))) == 4095
    noise = np.random.default_rng(0).integers(0, 4096, (64, 64), dtype=np.uint16)
    assert largest(encoded(noise)[:1000]) == 0
    monkeypatch.setattr(images, "_decoded", None)
    assert largest(encoded(np.array([[7, 255]], np.uint8))) == largest(b"") == largest(b"GIF89a") == 0
    assert images.largest(tmp_path / "none") == 0


@pytest.mark.parametrize(("width", "height"), [(1, 30_001), (30_001, 1)])
def test_images_of_a_pixel_by_very_many_are_refused_by_their_header(read, width, height):
    with pytest.raises(DataError, match=rf"at most 30000 pixels along a side\. Received: {width} x {height}"):
        read(png(width, height))


def test_palettes_and_single_bits_are_resolved(read):
    palette = Image.fromarray(COLOURS).quantize(256)
    file = io.BytesIO()
    palette.save(file, "PNG")
    np.testing.assert_array_equal(read(file.getvalue(), gray=False), np.array(palette.convert("RGB")))
    assert np.unique(read(encoded(GRAY, "1"))).tolist() == [0, 255]


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_of_all_modes_are_close_to_their_pixels(read, mode, progressive):
    flat = np.full((16, 16, 3), (200, 100, 40), np.uint8)
    file = encoded(flat, mode, "JPEG", quality=95, progressive=progressive)
    assert np.abs(read(file)[..., 0] - flat @ [0.299, 0.587, 0.114]).max() < 4


def test_images_are_resized_to_squares(read):
    assert read(png(), size=5).shape == (5, 5, 1)
    expected = np.array(Image.fromarray(COLOURS).resize((4, 4), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(read(encoded(COLOURS), size=4, gray=False), expected)


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (png(60000, 60000), "60000 x 60000"),
        (png(2**31 - 1, 2**31 - 1), "2147483647 x 2147483647"),
        (resized_header(encoded(GRAY, file_format="JPEG"), 65000, 65000), "65000 x 65000"),
        (resized_header(encoded(GRAY, file_format="JPEG", progressive=True), 65000, 65000), "65000 x 65000"),
    ],
    ids=["png", "largest png", "jpeg", "progressive jpeg"],
)
def test_bombs_are_refused_by_their_header(read, monkeypatch, content, received):
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(DataError, match=f"image of at most 50000000 pixels. Received: {received}"):
        read(content)


def test_the_limit_of_pixels_is_exact(read):
    assert read(png(), max_pixels=48).shape == (6, 8, 1)
    with pytest.raises(DataError, match=r"at most 47 pixels. Received: 8 x 6"):
        read(png(), max_pixels=47)


def test_files_longer_than_their_largest_pixels_are_never_read(tmp_path):
    with (tmp_path / "large.png").open("wb") as file:
        file.write(png())
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"at most 400 MB. Received: 1099512 MB"):
        images.read(tmp_path / "large.png")


def test_a_jpeg_of_thousands_of_scans_is_refused(read):
    jpeg = encoded(GRAY, file_format="JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    with pytest.raises(DataError, match="at most 100 scans"):
        read(jpeg[:-2] + jpeg[last:-2] * 2000 + b"\xff\xd9")


@pytest.mark.parametrize("extra", [b"tEXt", b"zTXt", b"iTXt", b"iCCP"])
def test_bombs_beside_the_pixels_are_refused(read, extra):
    packed = zlib.compress(bytes(1 << 27), 9)
    content = {
        b"tEXt": b"key\0" + bytes(1000),
        b"zTXt": b"key\0\0" + packed,
        b"iTXt": b"key\0\1\0\0\0" + packed,
        b"iCCP": b"key\0\0" + packed,
    }[extra]
    if extra == b"tEXt":
        content = chunk(extra, content) * 70_000
    with pytest.raises(DataError, match="damaged"):
        read(png(extra=content if extra == b"tEXt" else chunk(extra, content)))


@pytest.mark.parametrize(
    ("content", "received"),
    [
        (b"", "0 bytes"),
        (b"<!DOCTYPE html>", "15 bytes that start with b'<!DOCTYP'"),
        (b"GIF89a" + bytes(100), "GIF89a"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "%!PS-Ado"),
        (png()[:-30], "damaged"),
        (png()[:30], "damaged"),
        (png()[:8], "damaged"),
        (png(0, 6), "damaged"),
        (png(bits=3), "damaged"),
        (encoded(COLOURS, file_format="JPEG")[:-60], "damaged"),
        (encoded(COLOURS, file_format="JPEG")[:40], "damaged"),
        (b"\xff\xd8\xff", "damaged"),
        (resized_header(encoded(GRAY, file_format="JPEG"), 0, 6), "damaged"),
    ],
)
def test_damaged_files_and_other_formats_are_refused_in_one_line(read, content, received):
    with pytest.raises(DataError) as error:
        read(content)
    message = str(error.value)
    assert "\n" not in message
    for part in ("image.dat", "expected a PNG or JPEG image", "Received", received):
        assert part in message


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "good").symlink_to("image.png")
    (tmp_path / "image.png").write_bytes(png())
    received = {
        **{".": "a folder", "pipe": "a pipe", "dangling": "nothing there", "loop": "Too many levels"},
        **{"endless": "a device", "missing": "nothing there", "a\0b": "null"},
    }
    for name, answer in received.items():
        with pytest.raises(DataError, match=f"expected a PNG or JPEG image. Received: .*{answer}"):
            images.read(tmp_path / name)
    assert images.read(tmp_path / "good").shape == (6, 8, 1)


def test_a_name_that_is_not_utf8_can_be_read_and_printed(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    with pytest.raises(DataError) as error:
        images.read(os.fsdecode(path))
    assert r"\udcff\udcfe.png" in str(error.value).encode().decode()
    with open(path, "wb") as file:
        file.write(png())
    assert images.read(os.fsdecode(path)).shape == (6, 8, 1)


@pytest.mark.parametrize("name", ["empty.png", "not_an_image.png", "truncated.png"])
def test_bad_samples_are_refused(samples, name):
    with pytest.raises(DataError, match=f"{name}: expected a PNG or JPEG image. Received"):
        images.read(samples / "bad" / name)


def test_real_images_are_read(samples):
    for pattern in ("nih_folder/images_001/*.png", "covid_chestxray/images/*"):
        for path in sorted(samples.glob(pattern))[:20]:
            pixels = images.read(path, size=28)
            assert pixels.shape == (28, 28, 1)
            assert pixels.std() > 10
