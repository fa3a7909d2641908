from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from blemish.config.sections import Image as ImageConfig
from blemish.errors import InputError
from blemish.images import ImageSource, folder_of
from blemish.images.finding.manifest import is_manifest
from blemish.images.finding.sets import list_set


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one of them with two pages."""
    rng = np.random.default_rng(0)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("b.png", "sub/a.png"):
        Image.fromarray(rng.integers(0, 256, (32, 40, 3), np.uint8)).save(tmp_path / "in" / name)
    pages = [Image.fromarray(rng.integers(0, 256, (32, 32), np.uint8)) for _ in range(2)]
    pages[0].save(tmp_path / "in" / "roll.tif", save_all=True, append_images=pages[1:])
    return tmp_path / "in"


def write(file: Path, text: str | bytes) -> Path:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def write_parquet(target: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), target)
    return target


@pytest.mark.parametrize("kind", ["csv", "bom", "parquet", "categories"])
def test_a_manifest_of_all_files_is_the_folder(folder: Path, kind: str) -> None:
    names = ["sub/a.png", "roll.tif", "b.png"]
    if kind in ("csv", "bom"):
        text = "camera;Path\n" + "".join(f'1;"{name}"\n' for name in names)
        manifest = write(folder / "list.csv", text.encode("utf-8-sig" if kind == "bom" else "utf-8"))
    else:
        values = pa.array(names)
        column = values if kind == "parquet" else values.dictionary_encode()
        manifest = write_parquet(folder / "list.parquet", path=column, camera=[1, 2, 3])
    whole, listed = ImageSource(folder, ImageConfig()), ImageSource(manifest, ImageConfig())
    assert listed.names == whole.names == ["b.png", "roll.tif", "roll.tif#2", "sub/a.png"]
    assert listed.root == manifest
    assert listed.target_sizes == whole.target_sizes
    for index in range(len(whole)):
        assert np.array_equal(listed.full(index), whole.full(index))
        assert listed.fingerprint(index) == whole.fingerprint(index)


def test_paths_are_kept_as_written(folder: Path, tmp_path: Path) -> None:
    lines = ["path", str(folder / "b.png"), "../in/sub/a.png"]
    (tmp_path / "lists").mkdir()
    source = ImageSource(write(tmp_path / "lists" / "list.csv", "\n".join(lines)), ImageConfig())
    assert source.names == ["../in/sub/a.png", str(folder / "b.png")]


def test_files_that_are_missing_are_named_and_skipped(folder: Path) -> None:
    long = "x" * 400 + ".png"
    source = ImageSource(write(folder / "list.csv", f"path\ngone.png\nb.png\n{long}\n"), ImageConfig())
    assert source.names == ["b.png"]
    assert [one.path for one in source.skipped] == ["gone.png", long]
    assert all("\n" not in one.reason for one in source.skipped)


def test_shards_of_a_manifest_are_every_nth_row_of_the_sorted_paths(folder: Path) -> None:
    manifest = write(folder / "list.csv", "path\nsub/a.png\nroll.tif\nb.png\n")
    assert ImageSource(manifest, ImageConfig(), shard=(1, 2)).names == ["b.png", "sub/a.png"]
    assert ImageSource(manifest, ImageConfig(), shard=(2, 2)).names == ["roll.tif", "roll.tif#2"]
    with pytest.raises(InputError, match="shard 4/4 has no image, because the set has 3"):
        ImageSource(manifest, ImageConfig(), shard=(4, 4))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "file\nb.png\n", "has no column path but file"),
        ("a.csv", "", "has no column path but none"),
        ("a.csv", "path\n", "names no image"),
        ("a.csv", "path,camera\nb.png,1\n,2\n", "row 3: has no path"),
        ("a.csv", "path\nb.png\n./b.png\n", "row 3: ./b.png is listed twice, first in row 2"),
        ("a.csv", "path\nb\0.png\n", "row 2: has no path"),
        ("a.csv", b"path\n\xff\xfe\n", "UTF-8"),
        ("a.CSV", 'path\n"b.png\n', "not well-formed"),
        ("a.parquet", b"PAR1 no table", "cannot be read as a Parquet file"),
        ("none.csv", None, "cannot be read"),
        ("none.parquet", None, "cannot be read"),
    ],
)
def test_a_damaged_manifest_is_one_clear_error(
    tmp_path: Path, name: str, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        write(tmp_path / name, content)
    with pytest.raises(InputError, match=message) as caught:
        ImageSource(tmp_path / name, ImageConfig())
    assert name in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"file": ["b.png"]}, "has no column path but file"),
        ({"path": pa.array([], pa.string())}, "names no image"),
        ({"path": ["b.png", None]}, "row 2: has no path"),
        ({"path": [["b.png"]]}, "column path of text"),
        ({"path": ["b.png", "b.png"]}, "listed twice"),
    ],
)
def test_a_parquet_manifest_that_lists_no_files_is_one_clear_error(
    tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        list_set(write_parquet(tmp_path / "list.parquet", **columns))


def test_a_folder_is_a_folder_whatever_its_name(folder: Path) -> None:
    named = folder.with_name("images.csv")
    os.rename(folder, named)
    assert not is_manifest(named)
    assert folder_of(named) == named
    assert folder_of("lists/all.csv") == Path("lists")
    assert ImageSource(named, ImageConfig()).names[0] == "b.png"
