from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile

from blemish.errors import InputError
from blemish.output import load_result, to_json_types, write_outputs
from blemish.output.read import MAX_TABLE_BYTES
from blemish.results import Result
from helpers.results import HOSTILE_NAMES, make_result, with_regions

FULL = with_regions(
    make_result(3, (4, 3), paths=[*HOSTILE_NAMES, "a.png", "a.jpg"], source="pictures"),
    other_labels=np.arange(10, dtype=np.int64) % 3,
    group_by="image",
    group_by_reason="Whole surfaces differ more.",
    type_names={1: "scratch", -1: "other"},
    threshold_warning="Few images.",
)


def assert_equal(one: object, other: object) -> None:
    """Equal values, arrays and dataclasses, to any depth."""
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        assert type(one) is type(other)
        for field in dataclasses.fields(one):
            assert_equal(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray)
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    elif isinstance(one, list | tuple):
        assert isinstance(other, list | tuple)
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    else:
        assert one == other


@pytest.mark.parametrize("result", [FULL, make_result(1, (1,)), make_result(2, ()), make_result(0, (2,))])
def test_a_result_is_read_back_as_it_was_written(result: Result, tmp_path: Path) -> None:
    write_outputs(result, tmp_path, overlays=False)
    loaded = load_result(tmp_path)
    expected = dataclasses.replace(result, info=to_json_types(result.info), maps=list(result.maps))
    assert_equal(expected, dataclasses.replace(loaded, maps=list(loaded.maps)))
    write_outputs(loaded, tmp_path / "again", overlays=False)  # type names, info and files do not grow
    assert_equal(expected, dataclasses.replace(load_result(tmp_path / "again"), maps=list(loaded.maps)))


def test_maps_are_read_when_they_are_used(tmp_path: Path) -> None:
    result = make_result(2, (2,))
    write_outputs(result, tmp_path, overlays=False)
    maps = load_result(tmp_path).maps
    assert np.array_equal(maps[-1], result.maps[-1])
    assert [one.shape for one in maps[1:3]] == [one.shape for one in result.maps[1:3]]
    tifffile.imwrite(tmp_path / "maps/kind-0/000.tiff", np.full((3, 3), np.nan, np.float32))
    (tmp_path / "maps/kind-0/001.tiff").write_text("no map")
    (tmp_path / "maps/kind-1/002.tiff").unlink()
    for i, message in enumerate(("holds NaN", "is not an anomaly map", "is missing")):
        with pytest.raises(InputError, match=message):
            maps[i]
    assert len(maps) == 4


def test_maps_at_image_size_are_found_in_their_tree_and_no_maps_is_said(tmp_path: Path) -> None:
    result = make_result(1, (1,), paths=["test/good/0.png", "test/cut/0.png"], source="sets/leather")
    write_outputs(result, tmp_path / "image", maps="image", overlays=False)
    assert load_result(tmp_path / "image").maps[1].shape == tuple(result.sizes[1])
    write_outputs(result, tmp_path / "none", maps="none", overlays=False)
    with pytest.raises(InputError, match="--maps feature"):
        load_result(tmp_path / "none").maps[0]


def edit_run(root: Path, **changes: object) -> None:
    document = json.loads((root / "run.json").read_text())
    (root / "run.json").write_text(json.dumps({**document, **changes}))


def forge(root: Path, name: str, write: Callable[[Path], object]) -> None:
    """Replace a table and remove its checksum, as whoever alters a folder on purpose would."""
    write(root / name)
    edit_run(root, sha256={})


def drop_column(root: Path, name: str, **columns: object) -> None:
    table = pq.read_table(root / name)
    for column, values in columns.items():
        place = table.column_names.index(column)
        table = table.remove_column(place)
        if values is not None:
            table = table.add_column(place, column, values)
    forge(root, name, lambda path: pq.write_table(table, path))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no run": (lambda root: (root / "run.json").unlink(), "holds no results"),
    "unfinished": (
        lambda root: [(root / "run.json").unlink(), (root / ".blemish-files").write_text("x")],
        "has not ended",
    ),
    "foreign run": (lambda root: (root / "run.json").write_text('{"schema": "camera"}'), "damaged or not ours"),
    "schema": (lambda root: edit_run(root, schema_version=99), "another version of blemish .schema 99"),
    "run": (lambda root: edit_run(root, counts={"images": "many", "clusters": 1}), "run.json: is damaged .at counts"),
    "missing": (lambda root: (root / "images.parquet").unlink(), "images.parquet: is missing"),
    "missing regions": (lambda root: (root / "regions.parquet").unlink(), "regions.parquet: is missing"),
    "altered": (lambda root: (root / "groups.csv").write_text("path"), "groups.csv: was changed"),
    "link": (
        lambda root: [(root / "descriptors.npy").unlink(), (root / "descriptors.npy").symlink_to("/dev/zero")],
        "descriptors.npy: is not a file",
    ),
    "huge": (lambda root: os.truncate(root / "images.parquet", MAX_TABLE_BYTES + 1), "too large"),
    "no table": (
        lambda root: forge(root, "images.parquet", lambda path: path.write_text("x")),
        "not a Parquet file",
    ),
    "groups": (lambda root: forge(root, "groups.csv", lambda path: path.write_text("path\n1\n")), "table of groups"),
    "rows": (
        lambda root: forge(root, "descriptors.npy", lambda path: np.save(path, np.ones((3, 2), np.float32))),
        "not 10 rows",
    ),
    "pickle": (
        lambda root: forge(root, "descriptors.npy", lambda path: np.save(path, np.array([{}]), allow_pickle=True)),
        "not an array of numbers",
    ),
    "nan": (
        lambda root: forge(root, "descriptors.npy", lambda path: np.save(path, np.full((10, 4), np.nan, np.float32))),
        "NaN or infinite",
    ),
    "column": (lambda root: drop_column(root, "images.parquet", score=None), "no column score"),
    "type": (lambda root: drop_column(root, "images.parquet", cluster=pa.array(["x"] * 10)), "column cluster"),
    "place": (lambda root: drop_column(root, "regions.parquet", left=pa.array([10**9] * len(FULL.regions))), "outside"),
    "image": (lambda root: drop_column(root, "regions.parquet", image=pa.array([99] * len(FULL.regions))), "not in"),
    "rings": (lambda root: drop_column(root, "regions.parquet", holes=pa.array([[1]] * len(FULL.regions))), "holes"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_not_a_complete_result_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    write_outputs(FULL, tmp_path, maps="none", overlays=False)
    harm, message = DAMAGE[name]
    harm(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        load_result(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        load_result(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no results"):
        load_result(tmp_path)
