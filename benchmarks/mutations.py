"""Small valid files, and ways to break them: what `fuzz.py` feeds to the readers.

Every mutation is a function of the content and a `random.Random`. Those of raw bytes alone would mostly end at a wrong
checksum, so others take a file apart and put it together again with checksums that are right.
"""

import io
import struct
import warnings
import zipfile
import zlib

import numpy as np
from PIL import Image

NUMBERS = (
    0,
    1,
    2,
    6,
    7,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**64 - 1,
)
TEXTS = (
    *(
        b"",
        b"\0",
        b"\n",
        b"\r",
        b"\r\n",
        b",",
        b'"',
        b'""',
        b'",\n"',
        b"'",
        b"=cmd()",
        b"=1+1|x",
        b"@x",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
    ),
    *(
        b"\xe2\x80\xae",
        b"\x1b[2J",
        b"../../x",
        b"/etc/passwd",
        b"\\",
        b"-1",
        b"1e999",
        b"nan",
        b"PK\x01\x02",
        b"PK\x05\x06",
    ),
    *(
        b"(",
        b")",
        b"[" * 300,
        b"-" * 5000,
        b"0x" + b"f" * 5000,
        b"9" * 5000,
        b"True",
        b"None",
        b"6L",
        b"a" * 200_000,
        b"," * 10_000,
    ),
)
NAMES = (
    "train_images",
    "train_labels.npy",
    "../x.npy",
    "/x.npy",
    "x/",
    "a\nb",
    "\x1b[2J",
    "é.npy",
    "x" * 1000,
    "val_images.npy",
)
SHAPES = (
    *(
        (3, 4, 4),
        (3, 14),
        (3, 4, 4, 1),
        (3, 4, 4, 3),
        (0, 4, 4),
        (3, 0, 0),
        (-3, -4, 4),
        (48,),
        (),
        (3, 4, 5),
        (3, 1),
        (1, 14),
    ),
    *(
        (2**63, 4, 4),
        (10**18, 10**18),
        (2**62, 4, 1, 4),
        (10**9, 4, 4),
        (True, 4, 4),
        (1,) * 40,
        (3.0, 4, 4),
        "3",
        None,
        [3, 4, 4],
    ),
)
TYPES = (
    *(
        "|u1",
        "<u1",
        ">u1",
        "|b1",
        "|i1",
        "<i2",
        ">i8",
        "<u8",
        "<f4",
        ">f8",
        "<c16",
        "|O",
        "|S0",
        "|S16",
        "<U4",
        "|V0",
        "<M8[s]",
        "<m8",
    ),
    *(
        "",
        "u1,u1",
        "4u1",
        "<f16",
        "x" * 3000,
        7,
        None,
        [("a", "|u1")],
        [("a", "|O")],
        [("a", "|u1", (2**40,))],
        ("|u1", (4,)),
        "|V99999999",
    ),
)


# Raw bytes


def flip(content, rng):
    """One to eight of the bytes, each with one bit turned over."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def insert(content, rng):
    """Random bytes, or a text that has meant trouble before, somewhere in the content."""
    at = rng.randrange(len(content) + 1)
    return content[:at] + rng.choice((rng.randbytes(rng.choice((1, 4, 100))), *TEXTS)) + content[at:]


def delete(content, rng):
    """The content without up to 500 bytes somewhere in it."""
    at = rng.randrange(len(content) + 1)
    return content[:at] + content[at + rng.choice((1, 2, 4, 30, 500)) :]


def truncate(content, rng):
    """The beginning of the content."""
    return content[: rng.randrange(len(content) + 1)]


def splice(content, rng):
    """A piece of the content once more, elsewhere."""
    start, at = rng.randrange(len(content) + 1), rng.randrange(len(content) + 1)
    piece = content[start : start + rng.choice((4, 46, 500))]
    return content[:at] + piece + content[at + rng.choice((0, len(piece))) :]


def number(content, rng):
    """A number of 1 to 8 bytes, in either order, over what was there."""
    form = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    value = rng.choice(NUMBERS) % (1 << 8 * struct.calcsize(form))
    at = rng.randrange(len(content) + 1)
    return content[:at] + struct.pack(form, value) + content[at + struct.calcsize(form) :]


RAW = (flip, insert, delete, truncate, splice, number)


# npz: a list of names and contents


def npy(header, body, version=1):
    """An array file: its magic bytes, the length of a header, the header and the body."""
    header = header + b"\n"
    length = struct.pack("<H", min(len(header), 2**16 - 1)) if version == 1 else struct.pack("<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + body


def array(values, **entries):
    """An array file of values, with entries of its header replaced."""
    header = {
        "descr": values.dtype.str,
        "fortran_order": not values.flags.c_contiguous,
        "shape": values.shape,
    } | entries
    return npy(repr(header).encode(), values.tobytes("A"))


def npz_members(rng):
    """Names and contents of the members of a small data set that is in order."""
    order = np.asfortranarray if rng.random() < 0.2 else np.ascontiguousarray
    kind = rng.choice(("u1", "u1", "<i8", ">i2", "?"))
    random = np.random.default_rng(rng.randrange(4))
    members = []
    for part in ("train", "val", "test"):
        members.append((f"{part}_images.npy", array(order(random.integers(0, 256, (3, 4, 4), np.uint8)))))
        members.append((f"{part}_labels.npy", array(random.integers(0, 2, (3, 14)).astype(kind))))
    return members


def another_header(members, rng):
    """A header that keeps to the format but says something else."""
    at = rng.randrange(len(members))
    name, content = members[at]
    entries = {"descr": "|u1", "fortran_order": rng.random() < 0.5, "shape": (3, 4, 4)}
    for key in rng.sample(("descr", "shape", "fortran_order"), rng.choice((1, 1, 2))):
        entries[key] = {"descr": TYPES, "shape": SHAPES, "fortran_order": (True, False, 1, None)}[key]
        entries[key] = rng.choice(entries[key])
    body = content.split(b"\n", 1)[-1]
    if rng.random() < 0.3:
        body = body * rng.choice((2, 3, 50)) if rng.random() < 0.5 else body[: rng.randrange(len(body) + 1)]
    changed = npy(repr(entries).encode("latin1", "replace"), body, rng.choice((1, 1, 1, 2, 3, 9)))
    return [*members[:at], (name, changed), *members[at + 1 :]]


def broken_member(members, rng):
    """One member with its bytes broken."""
    at = rng.randrange(len(members))
    name, content = members[at]
    start = content[: content.find(b"\n") + 1] if rng.random() < 0.7 else content
    changed = rng.choice(RAW)(start, rng) + content[len(start) :]
    return [*members[:at], (name, changed), *members[at + 1 :]]


def other_members(members, rng):
    """Members left out, doubled, renamed, exchanged, or others besides."""
    members, at = list(members), rng.randrange(len(members))
    match rng.randrange(5):
        case 0:
            del members[at]
        case 1:
            members.append(rng.choice(members))
        case 2:
            members[at] = (rng.choice(NAMES), members[at][1])
        case 3:
            members[at] = (members[at][0], rng.choice(members)[1])
        case 4:
            members += [(f"{rng.choice(NAMES)}{extra}", b"") for extra in range(rng.choice((1, 300)))]
    return members


def zipped(members, rng):
    """An archive of the members, each compressed in some way."""
    methods = (zipfile.ZIP_STORED,) * 4 + (zipfile.ZIP_DEFLATED,) * 4 + (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    file, method = io.BytesIO(), rng.choice(methods)
    with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings(action="ignore"):
        for name, content in members:
            # Without an entry of its own, the time of day would go into the file.
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def directory_field(content, rng):
    """A number in one of the records that describe a member or the whole archive."""
    sizes = {b"PK\x01\x02": 46, b"PK\x03\x04": 30, b"PK\x05\x06": 22}
    places = [
        (at, size) for sign, size in sizes.items() for at in range(len(content)) if content.startswith(sign, at)
    ] or [(0, 4)]
    at, size = rng.choice(places)
    at += rng.randrange(4, size, 2) if size > 4 else 0
    value = rng.choice((*NUMBERS, len(content), len(content) * 1000, 8, 99))
    return content[:at] + struct.pack("<I", value % 2**32)[: rng.choice((2, 4))] + content[at + 4 :]


def npz(rng):
    """An npz file with something wrong, or with nothing."""
    members = npz_members(rng)
    for _ in range(rng.choice((0, 1, 1, 2))):
        members = rng.choice((another_header, another_header, broken_member, other_members))(members, rng) or members
    content = zipped(members, rng)
    for _ in range(rng.choice((0, 0, 0, 1, 2))):
        content = rng.choice((*RAW, directory_field, directory_field))(content, rng)
    return content


# CSV


def csv(rng):
    """A table with something wrong, or with nothing."""
    quote = rng.choice(("", '"'))
    rows = [["name", "note", "label"]] + [
        [f"{i}.png", rng.choice(("", 'a ""b""\n', "ü")), f"{i % 2}"] for i in range(5)
    ]
    lines = [
        ",".join(f"{quote or chr(34) * (chr(34) in cell)}{cell}{quote or chr(34) * (chr(34) in cell)}" for cell in row)
        for row in rows
    ]
    content = (
        rng.choice(("\n", "\r\n")).join(lines).encode(rng.choice(("utf-8", "utf-8", "utf-8-sig", "latin1", "utf-16")))
    )
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        content = rng.choice((*RAW, insert, insert))(content, rng)
    return content


# PNG and JPEG


def picture(rng):
    """A small image in one of the formats."""
    pixels = np.random.default_rng(rng.randrange(4)).integers(0, 256, (9, 12, 3), np.uint8)
    file = io.BytesIO()
    if rng.random() < 0.5:
        image = Image.fromarray(pixels).convert(rng.choice(("L", "RGB", "CMYK")))
        image.save(file, "JPEG", progressive=rng.random() < 0.5, quality=rng.choice((20, 95)))
        return file.getvalue()
    mode = rng.choice(("1", "L", "LA", "P", "RGB", "RGBA", "I;16"))
    wide = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    image = wide if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    image.save(file, "PNG", **({"transparency": 3} if mode in ("L", "P") and rng.random() < 0.5 else {}))
    return file.getvalue()


def chunks(content, rng):
    """A PNG file's chunks broken, doubled, moved or left out, with checksums that are right."""
    pieces, at = [], 8
    while at + 8 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        pieces.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    place = rng.randrange(len(pieces))
    kind, body = pieces[place]
    match rng.randrange(6):
        case 0 | 1:
            pieces[place] = (kind, rng.choice(RAW)(body, rng))
        case 2 if kind == b"IDAT":
            pieces[place] = (
                kind,
                zlib.compress(rng.choice(RAW)(zlib.decompress(body), rng) * rng.choice((1, 1, 1000))),
            )
        case 2 | 3:
            new = rng.choice((b"tRNS", b"PLTE", b"zTXt", b"iCCP", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"pHYs", b"IHDR"))
            pieces.insert(place, (new, rng.choice((b"k\0\0" + zlib.compress(bytes(10**6)), rng.randbytes(26), body))))
        case 4:
            del pieces[place]
        case 5:
            rng.shuffle(pieces)
    return content[:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in pieces
    )


def segments(content, rng):
    """A JPEG file with a marker's segment changed in length or content, doubled or left out."""
    marks = [at for at in range(len(content) - 1) if content[at] == 255 and content[at + 1] not in (0, 255)]
    at, end = sorted((rng.choice(marks), rng.choice(marks)))
    match rng.randrange(4):
        case 0:
            return content[: at + 2] + struct.pack(">H", rng.choice(NUMBERS) % 2**16) + content[at + 4 :]
        case 1:
            return content[:at] + content[end:]
        case 2:
            return content[:end] + content[at:end] * rng.choice((1, 2, 300)) + content[end:]
        case _:
            return content[: at + 1] + rng.randbytes(1) + content[at + 2 :]


def image(rng):
    """An image with something wrong, or with nothing."""
    content = picture(rng)
    ours = chunks if content.startswith(b"\x89PNG") else segments
    if rng.random() < 0.6:
        content = ours(content, rng)
    for _ in range(rng.choice((0, 1, 1, 2))):
        content = rng.choice(RAW)(content, rng)
    return content
