from __future__ import annotations

from pathlib import Path

import pytest

from blemish.clustering import Knowledge
from blemish.errors import InputError
from blemish.review import read_normal, read_types


def written(tmp_path: Path, text: str, name: str = "told.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_types_are_numbered_as_they_come_and_good_means_normal(tmp_path: Path) -> None:
    told = read_types(written(tmp_path, "path,type\na.png,scratch\nb.png,good\nsub/c.png,hole\nd.png,scratch\n"))
    assert told.names == {1: "scratch", 2: "hole"}
    assert told.groups == {"a.png": 1, "b.png": 0, "sub/c.png": 2, "d.png": 1}
    assert told.placed == {"a.png", "b.png", "sub/c.png", "d.png"}
    assert told.normal == {"b.png"}


def test_a_list_of_normal_images_is_added_to_what_is_known(tmp_path: Path) -> None:
    types = Knowledge({"a.png": 1}, frozenset({"a.png"}), names={1: "scratch"})
    for name, text in (("list.txt", "b.png\n\n sub/c.png \n"), ("list.csv", "path;score\nb.png;1\nsub/c.png;2\n")):
        told = read_normal(written(tmp_path, text, name), types)
        assert told is not None
        assert told.normal == {"b.png", "sub/c.png"}
        assert told.groups["a.png"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.png,scratch\n", "columns path and type"),
        ("path,type\n", "columns path and type"),
        ("path,type\na.png,\n", "row 2"),
        ("path,type\na.png,hole\na.png,scratch\n", "two types"),
        ("path,type\na.png,hole,extra\n", "row 2"),
        ('path,type\n"a.png,hole\n', "double quote"),
    ],
)
def test_a_table_that_cannot_be_used_is_named_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_types(written(tmp_path, text))
    assert "told.csv" in str(error.value)


def test_an_empty_list_and_one_that_is_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no image"):
        read_normal(written(tmp_path, "\n \n", "list.txt"))
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        read_normal(tmp_path / "photo.png")
    with pytest.raises(InputError, match="no column path"):
        read_normal(written(tmp_path, "name\na.png\n"))
