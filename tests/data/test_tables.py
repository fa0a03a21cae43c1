"""CSV files: text comes out, and tables that are not what they seem are refused with the line."""

import csv
import os
import tracemalloc

import pytest

from chestrobust import files
from chestrobust.data.sources import csvfile
from chestrobust.errors import DataError


@pytest.fixture
def read(tmp_path):
    def reading(content, *columns):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return csvfile.read(path, columns or ("name", "label"))

    return reading


def test_wanted_columns_come_as_text_in_the_order_of_the_rows(read):
    rows = read('label,"other, one",name\n1,x, a.png \r\n002,"a ""quoted""\nnote","b.png"\n')
    assert list(rows) == [{"name": "a.png", "label": "1"}, {"name": "b.png", "label": "002"}]


def test_an_optional_column_is_empty_where_it_is_not_there(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("name,age\na,1\n")
    assert list(csvfile.read(path, ["name"], ["age", "sex"])) == [{"name": "a", "age": "1", "sex": ""}]


def test_a_byte_order_mark_empty_lines_and_a_missing_last_line_break_do_no_harm(read):
    rows = [{"name": "a", "label": "1"}, {"name": "b", "label": "2"}]
    assert list(read(b"\xef\xbb\xbfname,label\n\na,1\n\nb,2")) == rows
    assert list(read(b"name,label\ra,1\rb,2\r")) == rows


def test_many_short_rows_take_no_more_than_a_few_times_the_files_size(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("name,label\n" + "ab,c\n" * 100_000)
    tracemalloc.start()
    rows = csvfile.read(path, ["name", "label"], ["age", "sex"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(rows), rows[-1]) == (100_000, {"name": "ab", "label": "c", "age": "", "sex": ""})
    assert peak < 10 * path.stat().st_size


def test_a_table_of_commas_is_refused(read):
    with pytest.raises(DataError, match=r"at most 131072 columns\. Received: 200002"):
        read("name,label" + "," * 200_000 + "\na,b\n")


def test_names_in_other_scripts_are_kept(read):
    assert read("name,label\nLungenröntgen_肺.png,1")[0]["name"] == "Lungenröntgen_肺.png"


@pytest.mark.parametrize("cell", ["=cmd()", "=1+1", "+1", "-1", "@SUM(A1)", "=HYPERLINK(x)", "1e3", "0x10", "NaN"])
def test_cells_are_never_interpreted(read, cell):
    assert list(read(f"name,label\n{cell},{cell}")) == [{"name": cell, "label": cell}]


@pytest.mark.parametrize("end", ["", ",", ",,,"])
def test_rows_may_end_in_empty_cells_or_without_them(read, end):
    """The header of NIH's own table of boxes has columns without a name that no row fills."""
    for header in ("name,label,,,", "name,label"):
        assert list(read(f"{header}\na,1{end}")) == [{"name": "a", "label": "1"}]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"", ["one column 'name'", "the columns none"]),
        (b"\xef\xbb\xbf", ["one column 'name'", "the columns none"]),
        ("\n\n", ["one column 'name'"]),
        ("name,label\n", ["at least one row", "none"]),
        ("name,other\na,1", ["one column 'label'", "the columns name, other"]),
        ("name,label,name\na,1,b", ["one column 'name'", "2 of them"]),
        ("Name,Label\na,1", ["one column 'name'", "Name, Label"]),
        ("name,label\na,1\nb", ["rows of 2 cells", "1 in the row of line 3"]),
        ("name,label\na,1,2", ["rows of 2 cells", "3 in the row of line 2"]),
        (b"name,label\na,1\nr\xf6ntgen,1", ["UTF-8", "byte 0xf6 in line 3", "Save the table as UTF-8"]),
        ("name,label\na,1".encode("utf-16"), ["UTF-8", "byte 0xff in line 1"]),
        ("name,label\na\0b,1", ["UTF-8", "a NUL character in line 2"]),
        ('name,label\n"a,1\nb,2\n', ["a CSV file", "unexpected end of data", "line 3"]),
        ('name,label\n"a"b,1\n', ["a CSV file", "expected after", "line 2"]),
        ('name,label\n"a\nb,0\nc",1\n', ["one line of plain text in column 'name'", r"a\nb,0\nc", "line 4"]),
        ("name,label\n\x1b[2Jevil,1", ["one line of plain text in column 'name'", r"\x1b[2Jevil", "line 2"]),
        ("name,label\n\u202egnp.exe,1", ["one line of plain text in column 'name'", r"\u202e", "line 2"]),
        ("name,label\n" + "a" * 10**6 + ",1", ["a CSV file", "larger than field limit", "line 2"]),
        ("a" * 10**6, ["a CSV file", "larger than field limit", "line 1"]),
        ("\x1b[2J,label\na,1", ["one column 'name'", r"\x1b[2J"]),
        (b"PK\x03\x04" + bytes(range(256)), ["UTF-8"]),
    ],
)
def test_what_is_no_such_table_is_refused_in_one_line(read, content, parts):
    with pytest.raises(DataError) as error:
        read(content)
    message = str(error.value)
    assert message.isprintable()
    assert len(message) < 600
    for part in ["table.csv: expected", "Received", *parts]:
        assert part in message


def test_many_columns_and_cells_beyond_the_header_stay_cheap(read):
    with pytest.raises(DataError, match=r"rows of 2 cells. Received: 1000001 in the row of line 2"):
        read("name,label\n" + "x," * 10**6 + "x")
    wide = ",".join(["name", "label", *map(str, range(10**5))])
    assert list(read(wide + "\na,1")) == [{"name": "a", "label": "1"}]


def test_the_limit_of_a_cell_is_this_modules_own_whatever_others_have_set(read):
    before = csv.field_size_limit(10**7)
    try:
        with pytest.raises(DataError, match="one line of plain text in column 'name'"):
            read("name,label\n" + "a" * 10**6 + ",1")
    finally:
        csv.field_size_limit(before)


def test_a_table_that_is_too_large_is_never_read(tmp_path):
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=r"a CSV file of at most 134 MB. Received: 1099512 MB"):
        csvfile.read(tmp_path / "large.csv", ["name"])


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, received in {"pipe": "a pipe", ".": "a folder", "missing": "nothing there"}.items():
        with pytest.raises(DataError, match=f"expected a CSV file. Received: {received}"):
            csvfile.read(tmp_path / name, ["name"])


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../a.png", "a/../../b.png", "..", "..\\a.png", "C:\\a.png", "a\0.png", "a\n.png"]
)
def test_names_that_lead_out_of_their_folder_are_refused(tmp_path, name):
    with pytest.raises(DataError, match=r"table.csv: expected names of files inside the folder.*Received: '") as error:
        files.inside(tmp_path, name, tmp_path / "table.csv")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("name", ["a.png", "images/a.png", "a..png", "..a/b", "=cmd().png"])
def test_other_names_lie_inside_it(tmp_path, name):
    assert files.inside(tmp_path, name, "table.csv") == tmp_path / name


def test_real_tables_are_read(samples):
    boxes = csvfile.read(samples / "nih_folder" / "BBox_List_2017.csv", ["Image Index", "Bbox [x", "h]"])
    assert float(boxes[0]["Bbox [x"]) > 0
    assert len(csvfile.read(samples / "nih_folder" / "Data_Entry_2017.csv", ["Image Index", "Finding Labels"])) == 405
    covid = csvfile.read(samples / "covid_chestxray" / "metadata.csv", ["patientid", "finding", "folder", "filename"])
    assert len(covid) == 288
