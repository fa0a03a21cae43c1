"""CSV files from strangers, read as text and nothing else.

    rows = tables.read(path, ["Image Index", "Finding Labels"])
    rows[0]["Image Index"]                                        "00000001_000.png"

A cell is never interpreted: `=cmd()` is these six characters. Files that are not what they seem are refused rather than
guessed at: other encodings than UTF-8 (a BOM is fine), NUL bytes, quotes that are never closed or swallow rows,
columns that are missing or there twice, rows that end before a wanted column or go on after the last.
"""

import csv
import io

from chestrobust.files import open_regular, refusal

MAX_BYTES = 1 << 27  # ChestX-ray14's table of 112,120 images has 8 MB
MAX_CELL = 1 << 17  # characters


def read(path, columns, optional=()):
    """The rows of a CSV file whose first line names its columns.

    Args:
        path: The file.
        columns: Names of the columns wanted; others may be there, and are left out.
        optional: Names of columns wanted if they are there; in a table without one, its text is empty.

    Returns:
        A list of dicts from column to text without surrounding white space, one per row and at least one.

    Raises:
        DataError: If the file isn't such a table.
    """
    with open_regular(path, "a CSV file", max_bytes=MAX_BYTES) as file:
        content = file.read(MAX_BYTES + 1)[:MAX_BYTES]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{content[error.start]:02x} in line {line}"
        raise refusal(path, "CSV text in UTF-8", f"{byte}. Save the table as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise refusal(path, "CSV text in UTF-8", f"a NUL character in line {line}")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return _rows(path, columns, optional, reader)
    except csv.Error as error:
        raise refusal(path, "a CSV file", f"{error}, in the row that ends in line {reader.line_num}") from None


def _rows(path, columns, optional, reader):
    header = [name.strip() for name in next(reader, [])]
    absent = {column: "" for column in optional if column not in header}
    columns = [*columns, *(column for column in optional if column in header)]
    for column in columns:
        if header.count(column) != 1:
            names = ", ".join(filter(None, header)) or "none"
            times = f"{header.count(column)} of them" if column in header else f"the columns {names:.300}"
            raise refusal(path, f"a CSV file with one column {column!r}", times)
    places = {column: header.index(column) for column in columns}
    needed = max(places.values(), default=-1) + 1
    rows = []
    for cells in reader:
        if not cells:
            continue
        if len(cells) < needed or any(cells[len(header) :]):
            raise refusal(path, f"rows of {len(header)} cells", f"{len(cells)} in the row of line {reader.line_num}")
        row = {column: cells[place].strip() for column, place in places.items()}
        for column, cell in row.items():
            # A line break in a name or a label means that a quote has swallowed rows.
            if not cell.isprintable() or len(cell) > MAX_CELL:
                raise refusal(
                    path, f"one line of plain text in column {column!r}", f"{cell!r:.60} in line {reader.line_num}"
                )
        rows.append(row | absent)
    if not rows:
        raise refusal(path, "a CSV file with at least one row", "none")
    return rows
