from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from blemish import Config, FittedModel, run
from blemish.cli.app import app
from blemish.distributed import Shard, merge_shards
from blemish.errors import ConfigError, InputError
from blemish.export import export_result
from blemish.output import load_result
from blemish.synthetic.demo import make_demo
from helpers.fitted import FAST


def blemish(*arguments: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, [*map(str, arguments), "--quiet"])
    return found.exit_code, found.stdout + found.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, a model, the results of three shards, and those of one prediction of all."""
    root = tmp_path_factory.mktemp("shards")
    make_demo(root, n_images=14, size=96, seed=5)
    (root / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no image")
    model = run(sorted((root / "images").glob("img*")), Config.from_values(FAST | {"image.size": 64})).model
    assert isinstance(model, FittedModel)
    model.save(root / "model")
    for i in (1, 2, 3):
        code, text = blemish("predict", root / "model", root / "images", "--out", root / f"s{i}", "--shard", f"{i}/3")
        assert code in (0, 3), text
    assert blemish("predict", root / "model", root / "images", "--out", root / "whole")[0] == 3
    return root


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2), (2, 2, 3, 1, 3)])
def test_merged_shards_are_the_result_of_one_machine(place: Path, order: tuple[int, ...]) -> None:
    merged, whole = merge_shards([place / f"s{i}" for i in order]), load_result(place / "whole")
    assert merged.paths == whole.paths
    for name in ("labels", "scores", "is_anomalous", "descriptors", "type_probability", "distances", "sizes"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name), name)
    assert all(np.array_equal(a, b) for a, b in zip(merged.maps, whole.maps, strict=True))
    assert [(one.image, one.label, one.area) for one in merged.regions] == [
        (one.image, one.label, one.area) for one in whole.regions
    ]
    assert [one.path for one in merged.skipped] == ["broken.png"]


def test_the_command_writes_what_one_machine_would_have_written(place: Path, tmp_path: Path) -> None:
    code, text = blemish("merge", place / "s3", place / "s1", place / "s2", "--out", tmp_path / "out")
    assert code == 3, text
    for name in ("images.csv", "regions.csv", "next_to_check.csv", "descriptors.npy", "model/model.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (place / "whole" / name).read_bytes(), name
    overlays = [
        sorted(path.name for path in (one / "overlays").iterdir()) for one in (tmp_path / "out", place / "whole")
    ]
    assert overlays[0] == overlays[1]
    again = blemish("merge", place / "s1", place / "s2", place / "s3", "--out", tmp_path / "out")
    assert again[0] == 3
    assert (tmp_path / "out" / "images.csv").read_bytes() == (place / "whole" / "images.csv").read_bytes()


def test_images_that_are_elsewhere_are_found_or_left_out(place: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    for i in (1, 2, 3):
        shutil.copytree(place / f"s{i}", tmp_path / f"s{i}")
        document = json.loads((tmp_path / f"s{i}" / "run.json").read_text())
        document["source"] = "/nowhere/images"
        (tmp_path / f"s{i}" / "run.json").write_text(json.dumps(document))
    folders = [tmp_path / f"s{i}" for i in (1, 2, 3)]
    assert blemish("merge", *folders, "--out", tmp_path / "a")[0] == 3
    assert not (tmp_path / "a" / "overlays").exists()
    assert blemish("merge", *folders, "--out", tmp_path / "b", "--images", place / "images")[0] == 3
    assert len(list((tmp_path / "b" / "overlays").iterdir())) == 14


def test_missing_shards_are_named(place: Path) -> None:
    with pytest.raises(InputError, match=r"1 of 3 shards are missing: 2/3"):
        merge_shards([place / "s1", place / "s3"])
    with pytest.raises(InputError, match="no shards given"):
        merge_shards([])


def test_what_is_no_shard_or_not_finished_is_named(place: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="whole: is not the result of a shard"):
        merge_shards([place / "whole"])
    shutil.copytree(place / "s1", tmp_path / "dead")
    (tmp_path / "dead" / "run.json").unlink()
    with pytest.raises(InputError, match="dead"):
        merge_shards([tmp_path / "dead", place / "s2", place / "s3"])


def test_shards_of_another_model_or_another_division_are_refused(place: Path, tmp_path: Path) -> None:
    FittedModel.load(place / "model").renamed({1: "scratch"}).save(tmp_path / "model")
    blemish("predict", tmp_path / "model", place / "images", "--out", tmp_path / "s2", "--shard", "2/3")
    with pytest.raises(InputError, match="another model"):
        merge_shards([place / "s1", tmp_path / "s2", place / "s3"])
    blemish("predict", place / "model", place / "images", "--out", tmp_path / "s4", "--shard", "2/4")
    with pytest.raises(InputError, match="another number of shards"):
        merge_shards([place / "s1", tmp_path / "s4", place / "s3"])


def test_an_empty_shard_is_one_clear_error(place: Path, tmp_path: Path) -> None:
    code, text = blemish("predict", place / "model", place / "images", "--out", tmp_path / "o", "--shard", "99/100")
    assert code == 2
    assert "use fewer shards" in text


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/99999999", "1/3/5"])
def test_a_wrong_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write i/n"):
        Shard.parse(text)


def test_a_manifest_gives_what_the_folder_gives_alone_and_in_shards(place: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (place / "images").iterdir())
    manifest = place / "images" / "list.csv"
    manifest.write_text("path\n" + "\n".join([*reversed(names), "gone.png"]))
    try:
        for i in (1, 2):
            shard = ("--out", tmp_path / f"s{i}", "--shard", f"{i}/2")
            assert blemish("predict", place / "model", manifest, *shard)[0] == 3
        # the results may lie beside the images: a manifest names what is read
        inside = place / "images" / "found"
        code, text = blemish("predict", place / "model", manifest, "--out", inside)
        assert (code, "2 files could not be read" in text) == (3, True), text
        assert blemish("merge", tmp_path / "s1", tmp_path / "s2", "--out", tmp_path / "all")[0] == 3
        for name in ("images.csv", "regions.csv", "descriptors.npy"):
            expected = (place / "whole" / name).read_bytes()
            assert (inside / name).read_bytes() == expected, name
            assert (tmp_path / "all" / name).read_bytes() == expected, name
        overlays = [len(list((one / "overlays").iterdir())) for one in (inside, tmp_path / "all", place / "whole")]
        assert len(set(overlays)) == 1
        assert not export_result(inside, "sorted", tmp_path / "sorted").skipped
        assert [one.path for one in load_result(inside).skipped] == ["broken.png", "gone.png"]
    finally:
        manifest.unlink()
        shutil.rmtree(place / "images" / "found", ignore_errors=True)


def test_a_shard_without_a_readable_image_is_rows_of_skipped_files_and_merges(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    names = sorted(path.name for path in (place / "images").glob("img*"))[:3]
    for number, name in enumerate(names):
        shutil.copy(place / "images" / name, folder / f"{number}b.png")
        (folder / f"{number}a.png").write_bytes(b"\x89PNG\r\n\x1a\n no image" if number else b"")
    for i in (1, 2):
        common = ("predict", place / "model", folder, "--out", tmp_path / f"s{i}", "--shard", f"{i}/2")
        code, text = blemish(*common)
        assert code == (3 if i == 1 else 0), text
    assert "0 images, 0 anomalous" in blemish(*common[:-3], tmp_path / "again", "--shard", "1/2")[1]
    empty = load_result(tmp_path / "s1")
    assert (empty.paths, [one.path for one in empty.skipped]) == ([], ["0a.png", "1a.png", "2a.png"])
    for order in (("s1", "s2"), ("s2", "s1")):
        assert blemish("merge", *(tmp_path / one for one in order), "--out", tmp_path / "all")[0] == 3
    assert blemish("predict", place / "model", folder, "--out", tmp_path / "whole")[0] == 3
    for name in ("images.csv", "regions.csv", "descriptors.npy"):
        assert (tmp_path / "all" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    for path in folder.glob("*b.png"):
        path.write_bytes(b"")
    assert blemish(*common)[0] == 3
    with pytest.raises(InputError, match="no part has an image that can be read"):
        merge_shards([tmp_path / "s1", tmp_path / "s2"])
