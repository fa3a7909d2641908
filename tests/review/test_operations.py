from __future__ import annotations

import json
from typing import Any

import pytest

from blemish.errors import InputError
from blemish.review.operations import MAX_LABEL, Start, parse_line, parse_operation, to_line
from helpers.results import HOSTILE_NAMES
from helpers.reviews import as_json

GOOD: list[tuple[str, dict[str, Any]]] = [
    ("rename", {"type": 1, "name": "裂纹 <b>&🔧"}),
    ("merge", {"types": [1, 2], "into": 2}),
    ("split", {"type": 1, "parts": [["a"], ["b", "c"]]}),
    ("move", {"images": ["a"], "to": 3}),
    ("move", {"regions": [{"image": "a", "region": 0}], "to": 3}),
    ("new_type", {"name": "hole", "label": 5}),
    ("normal", {"images": HOSTILE_NAMES}),
    ("wrong_outline", {"images": ["a"]}),
    ("undo", {"target": "00000000-0000-0000-0000-000000000001"}),
    ("redo", {"target": "00000000-0000-0000-0000-000000000001"}),
]


@pytest.mark.parametrize(("op", "fields"), GOOD, ids=[op for op, _ in GOOD])
def test_an_operation_is_read_back_from_its_line(op: str, fields: dict[str, Any]) -> None:
    found = parse_operation(as_json(op, **fields))
    line = to_line(found)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert parse_line(line) == found
    assert {key: json.loads(line)[key] for key in fields} == fields


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("rename", {"type": 1, "name": ""}, "rename.name"),
    ("rename", {"type": 1, "name": "a\nb"}, "on one line"),
    ("rename", {"type": 1, "name": "\udcff"}, "unicode"),
    ("rename", {"type": 1, "name": "  "}, "visible characters"),
    ("rename", {"type": 1, "name": "x" * 201}, "200 characters"),
    ("rename", {"type": "1", "name": "x"}, "rename.type"),
    ("rename", {"type": True, "name": "x"}, "rename.type"),
    ("rename", {"type": MAX_LABEL + 1, "name": "x"}, "rename.type"),
    ("rename", {"type": 1, "name": "x", "more": 1}, "rename.more"),
    ("merge", {"types": [1], "into": 1}, "merge.types"),
    ("merge", {"types": [1, 1], "into": 1}, "different"),
    ("merge", {"types": [1, 2], "into": 3}, "into is not one"),
    ("split", {"type": 1, "parts": [["a"]]}, "split.parts"),
    ("split", {"type": 1, "parts": [["a"], []]}, "split.parts"),
    ("split", {"type": 1, "parts": [["a"], ["a"]]}, "in two parts"),
    ("split", {"type": 1, "parts": [[str(i)] for i in range(21)]}, "split.parts"),
    ("move", {"to": 1}, "neither images nor regions"),
    ("move", {"images": [""], "to": 1}, "move.images"),
    ("move", {"images": ["x" * 5000], "to": 1}, "move.images"),
    ("move", {"regions": [{"image": "a", "region": -1}], "to": 1}, "region"),
    ("normal", {"images": []}, "normal.images"),
    ("undo", {"target": "the last one"}, "UUID"),
    ("explode", {}, "not an operation"),
    ("start", {"paths": [], "labels": [], "normal": None}, "not an operation"),
]


@pytest.mark.parametrize(("op", "fields", "message"), BAD)
def test_what_is_no_operation_is_named_in_one_line(op: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_operation(as_json(op, **fields))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"x"', b"[" * 100_000, b"\xff", b"\0\0\0", b"1" * 5000, b'{"op": 3}']
)
def test_bytes_that_are_no_operation_are_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="not an operation"):
        parse_operation(content)


@pytest.mark.parametrize("time", ["yesterday", "2031-05-06", "2031-05-06T07:08:09", "2031-05-06T07:08:09+02:00"])
def test_times_are_in_utc(time: str) -> None:
    content = json.loads(as_json("normal", images=["a"])) | {"time": time}
    with pytest.raises(InputError, match="UTC"):
        parse_operation(json.dumps(content))


def test_the_groups_at_the_start_have_one_label_per_path() -> None:
    start = {"paths": ["a", "b"], "labels": [0, 1], "normal": None}
    assert isinstance(parse_line(as_json("start", **start)), Start)
    with pytest.raises(InputError, match="not as many labels"):
        parse_line(as_json("start", **{**start, "labels": [0]}))
