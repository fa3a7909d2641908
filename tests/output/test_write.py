from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from blemish.errors import ConfigError, OutputError
from blemish.output import folder as _outdir
from blemish.output import prepare_output, write_outputs
from blemish.output.names import evaluation_prefix, file_stems
from helpers.results import HOSTILE_NAMES, loader, make_result, read_mask


def digests(folder: Path) -> dict[str, str]:
    """Every file below a folder but run.json, with a hash of its content."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "run.json"
    }


def read_csv(path: Path) -> list[dict[str, str]]:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_writes_everything_it_lists_and_nothing_else(tmp_path: Path) -> None:
    result = make_result()
    written = write_outputs(result, tmp_path / "out", load_image=loader(result))
    run = json.loads(written.run.read_text())
    found = set(digests(written.root)) | {"run.json"}
    assert found == set(run["files"]) - {"report.html"}
    assert len(found) == 4 + 3 * len(result.paths)
    assert run["schema"] == "blemish.run"
    assert run["schema_version"] == 1
    assert run["counts"] == {"images": 12, "anomalous": 7, "skipped": 1, "clusters": 3}
    assert run["settings"] == {"fca": {"patch": 9, "sigma": 1.5}, "size": [256, 256], "out": "x/y"}
    assert [c["name"] for c in run["clusters"]] == ["normal", "type 1", "type 2"]
    assert run["skipped"][0]["path"] == "broken/cut <off>.png"
    assert run["timings"] == {"features": 1.25}
    assert run["threshold_warning"] is None


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    result = make_result()
    for name in ("a", "b"):
        write_outputs(result, tmp_path / name, maps="image", load_image=loader(result))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_maps_at_feature_resolution_are_exact(tmp_path: Path) -> None:
    result = make_result()
    write_outputs(result, tmp_path / "out", overlays=False)
    for path, values in zip(result.paths, result.maps, strict=True):
        target = tmp_path / "out" / "maps" / Path(path).with_suffix(".tiff")
        stored = tifffile.imread(target)
        assert stored.dtype == np.float32
        assert np.array_equal(stored, values)
        with tifffile.TiffFile(target) as file:
            assert "DateTime" not in file.pages[0].tags
    assert not (tmp_path / "out" / "overlays").exists()


def test_maps_at_image_size_lie_in_the_evaluation_tree(tmp_path: Path) -> None:
    result = make_result(1, (1,), size=(40, 24), paths=["test/good/000.png", "test/cut/000.png"], source="sets/leather")
    write_outputs(result, tmp_path / "out", maps="image", overlays=False)
    stored = tifffile.imread(tmp_path / "out" / "anomaly_maps" / "leather" / "test" / "cut" / "000.tiff")
    assert stored.shape == (40, 24)
    assert stored.max() <= result.maps[1].max()
    binary = read_mask(tmp_path / "out" / "masks" / "test" / "cut" / "000.png")
    assert np.array_equal(binary, np.where(stored > 0.5, 255, 0))
    assert 0 < (binary == 255).mean() < 0.5


def test_maps_none_and_unknown(tmp_path: Path) -> None:
    result = make_result(1, ())
    written = write_outputs(result, tmp_path / "out", maps="none")
    assert written.maps is None
    assert not (tmp_path / "out" / "maps").exists()
    with pytest.raises(ConfigError, match="feature, image or none"):
        write_outputs(result, tmp_path / "out", maps="big")  # type: ignore[arg-type]


def test_tables_agree_and_keep_hostile_paths(tmp_path: Path) -> None:
    result = make_result(5, (3,), paths=HOSTILE_NAMES)
    written = write_outputs(result, tmp_path / "out", load_image=loader(result))
    rows = read_csv(written.csv)
    assert [os.path.normpath(row["path"]) for row in rows] == [os.path.normpath(p) for p in HOSTILE_NAMES]
    assert not any(row["path"][0] in "=+-@\t\r\n " for row in rows)
    assert [np.float32(row["score"]) for row in rows] == list(result.scores)
    assert [np.float32(row["distance"]) for row in rows] == list(result.distances)
    table = pq.read_table(written.parquet).to_pydict()
    assert [os.fsdecode(p) for p in table["path_bytes"]] == HOSTILE_NAMES
    assert [p for p in table["path"] if "bytes" not in p] == [p for p in HOSTILE_NAMES if "bytes" not in p]
    assert table["score"] == [float(row["score"]) for row in rows] or np.allclose(table["score"], result.scores, rtol=0)
    assert table["cluster_name"] == [row["cluster_name"] for row in rows]
    assert [str(v).lower() for v in table["is_anomalous"]] == [row["is_anomalous"] for row in rows]
    assert len(list((written.root / "masks").rglob("*.png"))) == len(HOSTILE_NAMES)


def test_stems_never_collide() -> None:
    assert file_stems(["a.png", "a.jpg", "b.png"]) == ["a.png", "a.jpg", "b"]
    hostile = ["a.png", "a.jpg", "a.png.bmp", "A.PNG", "a.bmp/x.png", "../a.png", "/etc/x.png", "x" * 250 + ".png"]
    hostile += ["x" * 250 + ".jpg", "é" * 120 + ".png", "q.jpg", "q.png/inner.png"]
    stems = file_stems(hostile)
    assert len({s.casefold() for s in stems}) == len(hostile)
    assert all(not s.startswith("/") and ".." not in s.split("/") for s in stems)
    assert max(len(os.fsencode(part)) for s in stems for part in s.split("/")) < 240
    files = {f"{s}.png" for s in stems}
    assert not files & {str(parent) for s in stems for parent in Path(s).parents}


def test_evaluation_prefix_leaves_other_layouts_alone() -> None:
    assert evaluation_prefix("sets", ["leather/test/cut/0.png"]) == ""
    assert evaluation_prefix("sets/test", ["0.png", "cut/1.png"]) == ""
    assert evaluation_prefix(None, ["test/cut/0.png"]) == ""


def test_vanished_images_are_noted(tmp_path: Path) -> None:
    result = make_result()
    written = write_outputs(result, tmp_path / "out", load_image=loader(result, vanished=(2,)))
    assert [s.path for s in written.not_drawn] == [result.paths[2]]
    assert "no such file" in json.loads(written.run.read_text())["not_drawn"][0]["reason"]
    assert len(list((written.root / "overlays").rglob("*.jpg"))) == len(result.paths) - 1


def test_progress_ends_at_all(tmp_path: Path) -> None:
    result, seen = make_result(2, ()), []
    write_outputs(result, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_numbers_without_json_words_become_null(tmp_path: Path) -> None:
    result = make_result(1, (), threshold=float("inf"), info={"x": float("nan"), "y": [np.int64(3), np.bool_(True)]})
    run = json.loads(write_outputs(result, tmp_path / "out").run.read_text())
    assert (run["threshold"], run["x"], run["y"]) == (None, None, [3, True])


def test_second_run_replaces_the_first_and_keeps_other_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_outputs(make_result(6, (2,)), out)
    (out / "notes.txt").write_text("mine")
    (out / "maps" / "kind-0" / "mine.tiff").write_text("mine")
    write_outputs(make_result(1, (), paths=["other.png"]), out)
    assert (out / "notes.txt").read_text() == "mine"
    assert [p.name for p in (out / "maps").rglob("*.tiff")].count("mine.tiff") == 1
    assert sorted(p.name for p in out.rglob("*.tiff")) == ["mine.tiff", "other.tiff"]
    assert not (out / "masks" / "kind-0").exists()


def test_killed_run_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, out = make_result(), tmp_path / "out"

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_outputs(result, out, progress=stop)
    assert not (out / "run.json").exists()
    write_outputs(result, out, maps="none")
    assert not list(out.rglob("*.tiff"))
    assert (out / "run.json").exists()
    assert not (out / ".blemish-files").exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_disk_errors_name_the_file_and_leave_no_partial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(path: Path, *_: object, **__: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(tifffile, "imwrite", fail)
    with pytest.raises(OutputError, match=r"000\.tiff: cannot be written") as caught:
        write_outputs(make_result(), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.partial"))
    assert not (tmp_path / "out" / "run.json").exists()


def test_foreign_folders_are_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"x")
    for marker in (None, "[]", '{"schema": "other"}', "{"):
        if marker is not None:
            (tmp_path / "run.json").write_text(marker)
        before = digests(tmp_path)
        with pytest.raises(OutputError, match="not made by blemish"):
            prepare_output(tmp_path)
        assert digests(tmp_path) == before
        if marker is not None:
            assert (tmp_path / "run.json").read_text() == marker


def test_file_in_the_way_and_input_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="is a file"):
        prepare_output(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be written"):
        prepare_output(tmp_path / "file" / "below")
    photos = tmp_path / "photos"
    photos.mkdir()
    (tmp_path / "link").symlink_to(photos)
    for inside in (photos, photos / "out", tmp_path / "link" / "out", tmp_path / "x" / ".." / "photos"):
        with pytest.raises(OutputError, match="input folder"):
            prepare_output(inside, photos)
    assert not list(photos.iterdir())
    assert prepare_output(tmp_path / "photos-out", photos).is_dir()


def test_list_from_elsewhere_cannot_remove_other_files(tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    other.mkdir()
    victims = [tmp_path / "victim.tiff", other / "a.tiff", out / "notes.txt", out / "mine" / "a.tiff"]
    (out / "mine").mkdir()
    for victim in victims:
        victim.write_text("keep")
    (out / "maps").symlink_to(other)
    names = ["../victim.tiff", str(victims[0]), "maps/../../victim.tiff", "maps/a.tiff", "notes.txt", "mine/a.tiff", 7]
    (out / "run.json").write_text(json.dumps({"schema": "blemish.run", "files": names}))
    _outdir._remove_previous(out)
    assert [v.read_text() for v in victims] == ["keep"] * len(victims)
    assert not (out / "run.json").exists()


def test_unlisted_file_in_the_way_is_not_overwritten(tmp_path: Path) -> None:
    out = prepare_output(tmp_path / "out")
    (out / "images.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"images\.csv: is in the way"):
        write_outputs(make_result(1, ()), out)
    assert (out / "images.csv").read_text() == "mine"
