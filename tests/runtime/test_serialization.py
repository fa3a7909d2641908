from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel
from safetensors.numpy import save
from torch import Tensor

from blemish.runtime.serialization import (
    UnreadableEntry,
    are_arrays,
    are_places,
    canonicalized,
    from_bytes,
    to_bytes,
)


@pytest.mark.parametrize(
    "value",
    [
        [1, 2.5, None, "text", True, float("inf")],
        {"a": (np.arange(3), torch.ones(2, 2, dtype=torch.float64)), "b": []},
        np.zeros((0, 4), np.float32),
        [np.array([True, False]), np.array([[1.5]], np.float32), np.arange(12).reshape(3, 4)[:, ::2]],
    ],
)
def test_values_come_back_as_they_were(value: Any) -> None:
    def plain(one: Any) -> Any:
        if isinstance(one, np.ndarray | torch.Tensor):
            return (type(one), one.dtype, one.shape, one.tolist())
        if isinstance(one, dict):
            return {key: plain(item) for key, item in one.items()}
        return (type(one), [plain(item) for item in one]) if isinstance(one, list | tuple) else one

    assert plain(from_bytes(to_bytes(value))) == plain(value)


def signed(tree: str, name: str = "") -> bytes:
    """A file without arrays whose checksum is right."""
    return save(
        {}, metadata={"name": name, "tree": tree, "sha256": hashlib.sha256(f"{name}\n{tree}".encode()).hexdigest()}
    )


@pytest.mark.parametrize("name", ["Any", "np", "fit_maps", "exec", "torch", "Tensor"])
def test_entries_name_no_code(name: str) -> None:
    tree = json.dumps({"class": name, "fields": {"dict": []}})
    with pytest.raises(UnreadableEntry):
        from_bytes(signed(tree))


def test_what_an_entry_cannot_hold_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="Path"):
        to_bytes([Path("x")])


@dataclass(frozen=True)
class Fit:
    weights: Tensor
    maps: list[np.ndarray]


class Section(BaseModel):
    size: int = 3


def test_listed_classes_come_back_and_others_are_refused() -> None:
    content = to_bytes({"fit": Fit(torch.arange(3.0), [np.ones((2, 2))]), "section": Section(size=5)})
    found = from_bytes(content, [Fit, Section])
    assert found["fit"].weights.tolist() == [0, 1, 2]
    assert found["section"] == Section(size=5)
    for classes in ((), (Fit,), (Section,)):
        with pytest.raises(UnreadableEntry):
            from_bytes(content, classes)


@pytest.mark.parametrize(
    "tree",
    [
        '{"array": "0"}',
        '{"list": 5}',
        '{"dict": [[1, 2, 3]]}',
        '{"dict": [[[1], 2]]}',
        '{"class": ["Fit"], "fields": {}}',
        '{"class": "Fit", "fields": {"dict": [["weights", 1]]}}',
        '{"settings": "Section", "values": "{"}',
        '{"network": "Fit", "state": {"dict": []}}',
        "[" * 100_000,
        "9" * 5000,
        "{}",
        "x",
    ],
)
def test_malformed_content_with_a_right_checksum_is_refused(tree: str) -> None:
    with pytest.raises(UnreadableEntry):
        from_bytes(signed(tree), [Fit, Section])


def test_every_truncation_and_every_flipped_bit_is_noticed() -> None:
    content = to_bytes([np.arange(5.0), "text"], "name")
    for length in range(len(content)):
        with pytest.raises(UnreadableEntry):
            from_bytes(content[:length], name="name")
    expected = from_bytes(content, name="name")
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        try:
            found = from_bytes(changed, name="name")
        except UnreadableEntry:
            continue
        assert found[0].tolist() == expected[0].tolist()  # a flipped bit in white space or in an unused word
        assert found[1] == expected[1]


def test_a_value_stored_under_another_name_is_refused() -> None:
    content = to_bytes([1], "maps-a")
    assert from_bytes(content, name="maps-a") == [1]
    for name in ("", "maps-b"):
        with pytest.raises(UnreadableEntry, match="another name"):
            from_bytes(content, name=name)


def test_canonical_values_equal_those_that_are_read_and_have_their_layout() -> None:
    value = Fit(torch.arange(12.0).reshape(3, 4).T, [np.arange(6.0).reshape(2, 3).T])
    direct, read = canonicalized(value, [Fit]), from_bytes(to_bytes(value), [Fit])
    assert torch.equal(direct.weights, value.weights)
    assert direct.weights.stride() == read.weights.stride() == (3, 1)
    assert direct.maps[0].strides == read.maps[0].strides
    assert (direct.maps[0] == value.maps[0]).all()


def test_arrays_are_checked_for_number_type_shape_and_range() -> None:
    good = [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)]
    assert are_arrays(good, 2, ndim=2, lowest=0)
    assert are_arrays([], 0, ndim=2)
    assert not are_arrays(good, 3, ndim=2)
    assert not are_arrays(good, 2, ndim=1)
    assert not are_arrays(good, 2, ndim=2, dtype=np.float64)
    assert not are_arrays(good, 2, ndim=2, lowest=0.5)
    assert not are_arrays([good[0], good[1][:1]], 2, ndim=2)
    assert not are_arrays([good[0], np.full((2, 3), np.nan, np.float32)], 2, ndim=2)
    assert not are_arrays([good[0], np.full((2, 3), np.inf, np.float32)], 2, ndim=2)
    assert not are_arrays([good[0], None], 2, ndim=2)
    assert not are_arrays(tuple(good), 2, ndim=2)


def test_places_are_checked() -> None:
    assert are_places([], 0)
    assert are_places([2, 0], 3)
    for wrong in ([3], [-1], [0, 0], [True], [0.0], [[0]], (0,), None):
        assert not are_places(wrong, 3)
