"""The folder of an export: exchanged as a whole, never mixed with files of others, never in the way of a run."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from blemish.cli.app import app
from blemish.errors import ConfigError, InputError, OutputError
from blemish.export import FORMATS, export_result
from blemish.export.content import folder_names, portable
from blemish.export.folder import MANIFEST, ExportFolder
from blemish.output import load_result, write_outputs
from helpers.exports import results_on_disk, write_photos
from helpers.files import digests
from helpers.results import HOSTILE_NAMES, make_result, with_regions


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return results_on_disk(tmp_path)[1]


def visible(root: Path) -> set[str]:
    return digests(root).keys() - {MANIFEST}


def test_an_export_takes_the_place_of_the_earlier_one_and_nothing_of_the_results_changes(results: Path) -> None:
    before = digests(results)
    first = export_result(results, "yolo", results.parent / "out")
    again = export_result(results, "sorted", results.parent / "out")
    assert first.files != again.files
    assert visible(again.root) == set(again.files)
    assert not (again.root / "labels").exists()
    assert digests(results) == before


def test_a_later_run_and_reading_back_are_not_disturbed_by_exports_among_the_results(results: Path) -> None:
    exported = export_result(results, "coco")
    assert exported.root == results / "export" / "coco"
    loaded = load_result(results)
    write_outputs(loaded, results.parent / "copy", overlays=False)
    write_outputs(with_regions(make_result(1, (1,))), results, overlays=False)
    assert len(load_result(results).paths) == 2
    assert (exported.root / "annotations.json").is_file()
    export_result(results, "coco")


def test_files_of_others_stay_and_are_said_to_be_in_the_way(results: Path) -> None:
    out = results.parent / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="was not made by blemish export"):
        export_result(results, "coco", out)
    assert digests(out).keys() == {"mine.txt"}
    (out / "mine.txt").unlink()
    export_result(results, "coco", out)
    (out / "mine.txt").write_text("mine")
    (out / "images.csv").write_text("mine")
    with pytest.raises(OutputError, match="in the way"):
        export_result(results, "csv", out)
    (out / "images.csv").unlink()
    export_result(results, "csv", out)
    assert visible(out) == {"mine.txt", "images.csv", "regions.csv"}


def test_a_failed_export_leaves_the_earlier_one(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = results.parent / "out"
    export_result(results, "coco", out)
    before = digests(out)

    def fail(content: object, folder: ExportFolder) -> None:
        folder.write_text("half.json", "{")
        raise KeyboardInterrupt

    monkeypatch.setitem(FORMATS, "csv", fail)
    with pytest.raises(KeyboardInterrupt):
        export_result(results, "csv", out)
    assert digests(out) == before
    with pytest.raises(KeyboardInterrupt):
        export_result(results, "csv", results.parent / "new")
    assert not (results.parent / "new").exists()


def test_an_export_after_one_that_broke_off_while_files_were_exchanged_is_complete(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, replace = results.parent / "out", os.replace
    export_result(results, "coco", out)

    def break_off(source: Path, target: Path) -> None:
        if Path(target).name == "regions.csv":
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr("os.replace", break_off)
    with pytest.raises(OutputError, match="cannot be written"):
        export_result(results, "csv", out)
    monkeypatch.undo()
    assert visible(out) == {"images.csv"}
    again = export_result(results, "parquet", out)
    assert visible(out) == set(again.files) == {"images.parquet", "regions.parquet"}


def test_what_a_killed_export_left_is_removed_and_two_do_not_write_at_once(results: Path) -> None:
    out = results.parent / "out"
    (out / ".blemish-new-0123").mkdir(parents=True)
    (out / ".blemish-new-0123/half").write_text("half")
    with ExportFolder(out), pytest.raises(OutputError, match="another export"):
        export_result(results, "coco", out)
    export_result(results, "coco", out)
    assert set(digests(out)) == {"annotations.json", MANIFEST}


def test_a_forged_list_removes_nothing_outside(results: Path, tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("mine")
    export_result(results, "coco", out)
    os.symlink(outside, out / "link")
    names = ["../outside/keep", str(outside / "keep"), "link/keep", "", "a\0b", 7]
    (out / MANIFEST).write_text(json.dumps({"schema": "blemish.export", "files": ["annotations.json", *names]}))
    export_result(results, "csv", out)
    assert (outside / "keep").read_text() == "mine"
    assert not (out / "annotations.json").exists()


def test_exports_do_not_lie_among_the_images_where_the_next_run_would_find_them(results: Path) -> None:
    photos = results.parent / "photos"
    with pytest.raises(OutputError, match="inside the input folder"):
        export_result(results, "sorted", photos / "sorted")
    with pytest.raises(ConfigError, match="choose csv, parquet"):
        export_result(results, "voc")
    with pytest.raises(InputError, match="holds no results"):
        export_result(photos, "coco", results.parent / "out")
    assert not (results.parent / "out").exists()


@pytest.mark.parametrize("link", [False, True])
def test_images_are_copied_or_linked_and_never_moved(results: Path, link: bool) -> None:
    photos = results.parent / "photos"
    before = digests(photos)
    root = export_result(results, "sorted", link=link).root
    files = [path for path in root.rglob("*.png") if path.is_file()]
    assert len(files) == 7
    assert {path.stat().st_nlink for path in files} == {1 + link}
    assert digests(photos) == before


def test_missing_and_changed_images_are_named_and_the_others_exported(results: Path) -> None:
    photos = results.parent / "photos"
    (photos / "kind-0/000.png").unlink()
    Image.new("RGB", (5, 5)).save(photos / "kind-1/003.png")
    (photos / "kind-2/005.png").write_text("no image")
    for to in ("yolo", "mvtec", "sorted", "fiftyone"):
        exported = export_result(results, to)
        assert [one.path for one in exported.skipped] == ["kind-0/000.png", "kind-1/003.png", "kind-2/005.png"]
        assert len([name for name in exported.files if name.endswith(".png") and "_mask" not in name]) == 4
    assert "has changed" in exported.skipped[1].reason
    done = CliRunner().invoke(app, ["export", str(results), "--to", "sorted"])
    assert done.exit_code == 3
    assert "3 images missing or changed, left out" in done.output
    for to in ("coco", "cvat", "labelstudio", "csv", "parquet", "maps"):  # these need no image
        assert not export_result(results, to).skipped


def test_moved_images_are_found_with_images(results: Path) -> None:
    photos = results.parent / "photos"
    photos.rename(results.parent / "moved")
    assert len(export_result(results, "sorted").skipped) == 7
    assert not export_result(results, "sorted", images=results.parent / "moved").skipped
    done = CliRunner().invoke(app, ["export", str(results), "--to", "coco", "--out", str(results.parent / "c")])
    assert done.exit_code == 0
    assert "1 file:" in done.output
    wrong = CliRunner().invoke(app, ["export", str(results), "--to", "voc"])
    assert wrong.exit_code == 2
    assert "choose csv, parquet" in wrong.output


def test_arrays_have_no_files(tmp_path: Path) -> None:
    result = with_regions(make_result(1, (1,), paths=["array-00001", "array-00002"]))
    write_outputs(result, tmp_path / "r", overlays=False)
    assert len(export_result(tmp_path / "r", "sorted").skipped) == 2


@pytest.mark.parametrize("to", FORMATS)
def test_odd_names_stay_text_and_inside_the_folder(to: str, tmp_path: Path) -> None:
    names = [*HOSTILE_NAMES, "a.png", "a.jpg", "A.png"]
    result = with_regions(
        make_result(4, (4, 3), size=(48, 64), paths=names, source=str(tmp_path / "photos")),
        type_names={1: "../../up\n<&\">'", 2: "表面\udcff"},
    )
    write_photos(result, tmp_path / "photos")
    write_outputs(result, tmp_path / "results", overlays=False)
    before = digests(tmp_path / "photos")
    exported = export_result(tmp_path / "results", to)
    assert not exported.skipped
    assert visible(exported.root) == set(exported.files)
    assert digests(tmp_path / "photos") == before
    for name in exported.files:
        if name.endswith((".json", ".xml", ".yaml", ".txt")):
            (exported.root / name).read_text(encoding="utf-8")
        if name.endswith(".json"):
            json.loads((exported.root / name).read_text())
    if to in ("yolo", "mvtec", "sorted", "fiftyone"):
        images = [name for name in exported.files if name.endswith((".png", ".jpg")) and "_mask" not in name]
        assert len(images) == len(names)
        assert all(name.isprintable() for name in exported.files)


def test_names_for_files_and_folders() -> None:
    assert portable("../../x\0y.png") == "__..__x_y.png"
    assert portable(" . ") == "image"
    assert folder_names(["good", "Cut", "cut", "..", "a/b"], ["good"]) == ["good~2", "Cut", "cut~2", "type", "a__b"]


def test_sixteen_bits_stay_sixteen_bits_when_an_image_is_turned_upright(tmp_path: Path) -> None:
    from blemish.export.photos import Photos

    values = (np.arange(12, dtype=np.uint16) * 4000).reshape(3, 4)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(values).save(tmp_path / "deep.png", exif=exif)
    result = make_result(0, (1,), paths=["deep.png"], sizes=np.array([[3, 4]]), source=str(tmp_path))
    photos = Photos(result)
    path = photos.usable(0)
    assert path is not None
    with ExportFolder(tmp_path / "out") as folder:
        assert photos.place(folder, "deep", path) == "deep.png"
        folder.finish()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/deep.png")), values[::-1, ::-1])
