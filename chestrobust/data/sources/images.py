"""PNG and JPEG files from strangers, decoded in bounded memory and time.

    images.read(path)                                             uint8, (height, width, 1)
    images.read(path, size=28, gray=False)                        uint8, (28, 28, 3)

Which of the two formats a file has is told by its first bytes, not by its name, and no other decoder is ever tried.
"""

import io
import os

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from chestrobust.errors import DataError
from chestrobust.files import open_regular, refusal

MAX_PIXELS = 50_000_000  # the largest radiographs have about 25 million
MAX_SIDE = 30_000  # pixels; Pillow keeps a pointer and more for each row, however narrow
MAX_SCANS = 100  # of a progressive JPEG, each of which costs a pass over all pixels; encoders write about 10
EXPECTED = "a PNG or JPEG image"
# The classes themselves: `Image.open` would warn of bombs, and hand JPEGs that claim more pictures to other code.
PNG = b"\x89PNG\r\n\x1a\n"
GRAY_16 = b"\x10\x00"  # bit depth and colour type in a PNG's header
DECODERS = {PNG: PngImageFile, b"\xff\xd8\xff": JpegImageFile}


def read(path, size=None, gray=True, max_pixels=MAX_PIXELS, bits=16):
    """The pixels of an image file.

    Args:
        path: The file.
        size: Height and width to resize to (bicubic, the aspect ratio is given up), or None to keep both.
        gray: Whether to turn colours into their luma (ITU-R 601).
        max_pixels: Height times width that is still decoded.
        bits: How many of its 16 bits a gray image of 16 bits uses, 8 to 16: its values are below 2 to that power.

    Returns:
        uint8, `(height, width, 1)`, or `(height, width, 3)` if not `gray`. Of 16 bits the upper 8 of those used are
        kept; alpha is ignored, as radiographs with an alpha channel are opaque.

    Raises:
        DataError: If the file is missing, larger than `max_pixels`, too long or damaged, found before pixels are
            decoded where the header tells.
    """
    return _decoded(path, max_pixels, lambda image: _pixels(image, size, "L" if gray else "RGB", bits))


def largest(path, max_pixels=MAX_PIXELS):
    """The largest value in a gray PNG of 16 bits; 0 for any other image, and one that `read` would refuse.

    Other images are told by their first bytes, and nothing of them is decoded.
    """
    try:
        with open_regular(path, EXPECTED) as file:
            start = file.read(26)
        if start[:8] != PNG or start[24:26] != GRAY_16:
            return 0
        return _decoded(path, max_pixels, lambda image: int(np.asarray(image).max()))
    except DataError:
        return 0


def _decoded(path, max_pixels, take):
    """What `take` makes of the image in a file."""
    with open_regular(path, EXPECTED, max_bytes=8 * max_pixels) as file:
        content = file.read(os.fstat(file.fileno()).st_size)
    decoder = next((decoder for start, decoder in DECODERS.items() if content.startswith(start)), None)
    if decoder is None:
        raise refusal(path, EXPECTED, f"{len(content)} bytes that start with {content[:8]!r}")
    if decoder is JpegImageFile and content.count(b"\xff\xda") > MAX_SCANS:
        raise refusal(path, f"a JPEG image of at most {MAX_SCANS} scans", content.count(b"\xff\xda"))
    # Pillow reports damage by many kinds of error; whichever it is, the file is at fault.
    try:
        image = decoder(io.BytesIO(content))
    except Exception as error:
        raise _damaged(path, error) from None
    width, height = image.size
    if width * height > max_pixels:
        raise refusal(path, f"an image of at most {max_pixels} pixels", f"{width} x {height}")
    if max(width, height) > MAX_SIDE:
        raise refusal(path, f"an image of at most {MAX_SIDE} pixels along a side", f"{width} x {height}")
    try:
        return take(image)
    except MemoryError:
        raise  # The image is within its bounds, the machine's memory isn't.
    except Exception as error:
        raise _damaged(path, error) from None


def _pixels(image, size, mode, bits):
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray(np.minimum(np.asarray(image).astype(np.uint16) >> (bits - 8), 255).astype(np.uint8))
    if image.mode not in ("1", "L", "LA", "RGB"):
        image = image.convert("RGB")  # A palette's or CMYK's own luma would differ from that of its colours.
    image = image.convert(mode)
    if size:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.array(image).reshape(image.height, image.width, -1)


def _damaged(path, error):
    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return refusal(path, EXPECTED, f"a damaged one: {reason}")
