"""CSV files from strangers, read as text and nothing else.

    rows = csvfile.read(path, ["Image Index", "Finding Labels"])
    rows[0]["Image Index"]                                        "00000001_000.png"

A cell is never interpreted: `=cmd()` is these six characters. Files that are not what they seem are refused rather than
guessed at: other encodings than UTF-8 (a BOM is fine), NUL bytes, quotes that are never closed or swallow rows,
columns that are missing or there twice, rows that end before a wanted column or go on after the last.
"""

import csv
import io
import os
from collections.abc import Sequence

from chestrobust.files import open_regular, refusal

MAX_BYTES = 1 << 27  # ChestX-ray14's table of 112,120 images has 8 MB
MAX_CELL = 1 << 17  # characters
MAX_COLUMNS = 1 << 17


class Table(Sequence):
    """Rows of text, each a dict made when it is asked for: kept as columns they take a few times the file's size.

    Args:
        columns: A list of cells for each column, by name.
        absent: Names of columns that the file lacks.
    """

    def __init__(self, columns, absent=()):
        self.columns, self.absent = columns, dict.fromkeys(absent, "")

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, row):
        return {name: cells[row] for name, cells in self.columns.items()} | self.absent


def read(path, columns, optional=()):
    """The rows of a CSV file whose first line names its columns.

    Args:
        path: The file.
        columns: Names of the columns wanted; others may be there, and are left out.
        optional: Names of columns wanted if they are there; in a table without one, its text is empty.

    Returns:
        A `Table`: a dict from column to text without surrounding white space per row, and at least one row.

    Raises:
        DataError: If the file isn't such a table.
    """
    with open_regular(path, "a CSV file", max_bytes=MAX_BYTES) as file:
        content = file.read(os.fstat(file.fileno()).st_size)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"byte 0x{content[error.start]:02x} in line {line}"
        raise refusal(path, "CSV text in UTF-8", f"{byte}. Save the table as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise refusal(path, "CSV text in UTF-8", f"a NUL character in line {line}")
    del text  # The reader takes the bytes: a `StringIO` would have four for each of them.
    lines = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="")
    if (commas := lines.readline().count(",")) >= MAX_COLUMNS:
        raise refusal(path, f"a CSV file of at most {MAX_COLUMNS} columns", commas + 1)
    lines.seek(0)
    reader = csv.reader(lines, strict=True)
    try:
        return _rows(path, columns, optional, reader)
    except csv.Error as error:
        raise refusal(path, "a CSV file", f"{error}, in the row that ends in line {reader.line_num}") from None


def _rows(path, columns, optional, reader):
    header = [name.strip() for name in next(reader, [])]
    absent = [column for column in optional if column not in header]
    columns = [*columns, *(column for column in optional if column in header)]
    for column in columns:
        if header.count(column) != 1:
            names = ", ".join(filter(None, header)) or "none"
            times = f"{header.count(column)} of them" if column in header else f"the columns {names:.300}"
            raise refusal(path, f"a CSV file with one column {column!r}", times)
    places = {column: header.index(column) for column in columns}
    needed = max(places.values(), default=-1) + 1
    table, short = Table({column: [] for column in columns}, absent), {}
    for cells in reader:
        if not cells:
            continue
        if len(cells) < needed or any(cells[len(header) :]):
            raise refusal(path, f"rows of {len(header)} cells", f"{len(cells)} in the row of line {reader.line_num}")
        for column, place in places.items():
            cell = cells[place].strip()
            # A line break in a name or a label means that a quote has swallowed rows.
            if not cell.isprintable() or len(cell) > MAX_CELL:
                raise refusal(
                    path, f"one line of plain text in column {column!r}", f"{cell!r:.60} in line {reader.line_num}"
                )
            # Short cells are kept once: each alone would take ten times its bytes in the file.
            table.columns[column].append(short.setdefault(cell, cell) if len(cell) < 4 else cell)
    if not len(table):
        raise refusal(path, "a CSV file with at least one row", "none")
    return table
