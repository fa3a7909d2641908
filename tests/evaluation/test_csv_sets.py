from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import InputError
from blemish.evaluation import load_dataset
from helpers.files import gradient, save

IMAGE = gradient(6, 8)
MASK = np.where(IMAGE[..., 0] > 128, 255, 0).astype(np.uint8)


def put(path: Path, values: np.ndarray = IMAGE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(path, values)


@pytest.mark.parametrize(("separator", "mark"), [(",", ""), (";", "\ufeff"), ("\t", "")])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_files_of_all_spreadsheets_are_read(tmp_path, separator, mark, end):
    put(tmp_path / "images/ä 1.png")
    put(tmp_path / "images/2.png")
    put(tmp_path / "masks/2.png", MASK)
    rows = [("Path", "Label", "Mask"), ("images/ä 1.png", "Good", ""), ("images/2.png", "hole", "masks/2.png")]
    file = tmp_path / "labels.csv"
    file.write_bytes((mark + end.join(separator.join(row) for row in rows)).encode())
    for root in (file, tmp_path):
        found = load_dataset(root)
        assert found.labels == ["Good", "hole"]
        assert found.masks == [None, tmp_path / "masks/2.png"]
        assert found.name == tmp_path.name


def test_a_quoted_path_may_hold_line_breaks_separators_and_quotes(tmp_path):
    names = ["g/\n0.png", "a,b.png", 'inch".png']
    for name in [*names, "g/0.png"]:
        put(tmp_path / name)
    rows = ['"g/\n0.png",good', '"a,b.png",x', '"inch"".png",x']
    (tmp_path / "labels.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    assert load_dataset(tmp_path).paths == [tmp_path / name for name in names]


def test_columns_that_have_nothing_to_do_with_labels_are_skipped(tmp_path):
    put(tmp_path / "1.png")
    (tmp_path / "labels.csv").write_text("split,path,camera,label\ntest,1.png,7,x\n")
    assert load_dataset(tmp_path).labels == ["x"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("path,label\n1.png,x\nmissing.png,y\n", r"row 3: missing.png is no file; paths are relative to the CSV"),
        ("path,label\n1.png,x\n1.png,y\n", r"row 3: 1.png is listed twice, first in row 2; remove one of the rows"),
        ("path,label\n1.png,x\n\n./1.png,y\n", r"row 4: ./1.png is listed twice, first in row 2"),
        ("path,label\n1.png,\n", r"row 2: path or label is empty; fill it in"),
        ("path,label\n1.png\n", r"row 2: path or label is empty; fill it in"),
        ("file,kind\n1.png,x\n", r"needs a header with .*; it has 1 rows and the columns: file, kind"),
        ("path,label\n", r"needs a header .* it has 0 rows"),
        ("", r"needs a header .* columns: none"),
        ("path,label,mask\n1.png,x,no.png\n", r"row 2: no.png is no file"),
        ("path,label\nsub\\3.png,x\n", r"row 2: sub\\3.png is no file; write / in place of \\ in paths"),
        ("path,label\nsub\\4.png,x\n", r"row 2: sub\\4.png is no file; paths are relative to the CSV, with /"),
        ("path,label,mask_path\n1.png,x,m.png\n", r"row 1: the column mask_path is not known; rename it to mask"),
        ("path,label,Label\n1.png,x,y\n", r"row 1: the column label is there twice; keep one of them"),
        ("path,label\n1.png,x,y\n", r"row 2: has 3 fields, the header has 2; put fields .* in double quotes"),
        ('path,label\n1.png,x\n"2.png,x\n', r"row 3: is not well-formed CSV .*; check for a double quote"),
        ('path,label\n1.png,"' + "x" * 200_000 + '"\n', r"row 2: is not well-formed CSV \(field larger than"),
        ("path,label\n1.png," + "x" * 100_000 + "\n", r"row 2: the label x+ \.\.\. x+ \(100000 characters\) is longer"),
        ("path,label\n" + "x" * 100_000 + ",x\n", r"row 2: x+ \.\.\. x+ \(100000 characters\) is no file"),
        ("path,label\na\0b.png,x\n", r"row 2: "),
    ],
)
def test_csv_mistakes_name_file_row_and_remedy(tmp_path, text, problem):
    for name in ("1.png", "2.png", "sub/3.png"):
        put(tmp_path / name)
    put(tmp_path / "m.png", MASK)
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=rf"labels.csv.*{problem}") as caught:
        load_dataset(tmp_path)
    assert len(str(caught.value)) < 1000
    assert len(str(caught.value).splitlines()) == 1


def test_text_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(InputError, match=r"bytes.csv: cannot be read as UTF-8 .* save it as CSV in UTF-8"):
        load_dataset(tmp_path / "bytes.csv")


FIELD = st.one_of(
    st.sampled_from(["1.png", "good", "path", "label", "mask", '"', '""', "..", "/", "a\\b", "\ufeff", "\0", ""]),
    st.text(max_size=8),
)
TEXT = st.one_of(
    st.text(max_size=60).map(str.encode),
    st.binary(max_size=60),
    st.lists(st.lists(FIELD, max_size=4).map(",".join), max_size=5).map(
        lambda rows: "\n".join(["path,label,mask", *rows]).encode("utf-8", "surrogatepass")
    ),
)


@settings(max_examples=150, deadline=None)
@given(TEXT)
def test_any_content_is_a_set_or_one_line_that_names_the_file(tmp_path_factory, content):
    folder: Path = tmp_path_factory.getbasetemp() / "any-csv"
    if not folder.exists():
        put(folder / "1.png")
    (folder / "labels.csv").write_bytes(content)
    message = ""
    try:
        found = load_dataset(folder / "labels.csv")
        assert len(found.paths) == len(found.labels) == len(found.masks) > 0
    except InputError as error:
        message = str(error)
    assert not message or ("labels.csv" in message and message.isprintable())
