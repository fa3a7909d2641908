from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile

from blemish.cli.run import print_summary
from blemish.errors import ConfigError, OutputError
from blemish.output import OutputPaths, ReportData, write_outputs
from blemish.output.colors import UNSORTED_COLOR
from helpers.files import digests
from helpers.results import HOSTILE_NAMES, divided_result, loader, make_result, read_mask


def read_csv(path: Path) -> list[dict[str, str]]:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_writes_everything_it_lists_and_nothing_else(tmp_path: Path) -> None:
    result = make_result()
    written = write_outputs(result, tmp_path / "out", load_image=loader(result))
    run = json.loads(written.run.read_text())
    found = set(digests(written.root))
    assert found == set(run["files"]) - {"report.html", "report.json"}
    assert len(found) == 5 + 3 * len(result.paths)
    assert run["schema"] == "blemish.run"
    assert run["schema_version"] == 1
    assert run["counts"] == {
        "images": 12,
        "anomalous": 7,
        "needs_check": 0,
        "unsorted": 0,
        "skipped": 1,
        "clusters": 3,
        "regions": None,
    }
    assert run["settings"] == {"fca": {"patch": 9, "sigma": 1.5}, "size": [256, 256], "out": "x/y"}
    assert [c["name"] for c in run["clusters"]] == ["normal", "type 1", "type 2"]
    assert run["skipped"][0]["path"] == "broken/cut <off>.png"
    assert run["timings"] == {"features": 1.25}
    assert run["threshold_warning"] is None


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    result = make_result()
    for name in ("a", "b"):
        write_outputs(result, tmp_path / name, maps="image", load_image=loader(result))
    first, second = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert first.pop("run.json")
    assert second.pop("run.json")
    assert first == second


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


def test_no_two_outputs_of_a_run_contradict_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = divided_result(size=(96, 96))
    result.maps[0][:6, :6] = 0.9
    result.info["cache"] = {}
    written = write_outputs(result, tmp_path / "out", load_image=loader(result), report=True)
    print_summary(result, written)
    summary = capsys.readouterr().out
    rows, run = read_csv(written.csv), json.loads(written.run.read_text())
    page = ReportData.model_validate_json((written.root / "report.json").read_bytes())
    anomalous = [row for row in rows if row["is_anomalous"] == "true"]
    assert not any(row["cluster_name"] == "normal" for row in anomalous)
    assert run["counts"]["anomalous"] == page.anomalous == len(anomalous) == 7
    assert (
        run["counts"]["needs_check"] == page.needs_check == sum(row["verdict"] == "please check" for row in rows) == 2
    )
    assert run["counts"]["unsorted"] == page.unsorted == 1
    in_csv = Counter((int(row["cluster"]), row["cluster_name"]) for row in rows)
    assert {(one["cluster"], one["name"]): one["images"] for one in run["clusters"]} == in_csv
    assert {(group.label, group.name): group.count for group in page.groups} == in_csv
    assert sum(in_csv.values()) == len(result.paths)
    assert all(f"  {name}: {count} image" in summary for (_, name), count in in_csv.items())
    table = pq.read_table(written.parquet).to_pydict()
    assert table["cluster"] == [int(row["cluster"]) for row in rows]
    assert table["verdict"] == [row["verdict"] for row in rows]
    outlined = [_has_color(written, path, UNSORTED_COLOR) for path in result.paths]
    assert outlined == [True] + [False] * 11


def _has_color(written: OutputPaths, path: str, color: tuple[int, int, int]) -> bool:
    """Whether an overlay has lines of a color."""
    assert written.overlays is not None
    pixels = read_mask((written.overlays / path).with_suffix(".jpg")).astype(int)
    return bool((np.abs(pixels - np.array(color)).max(axis=2) < 60).sum() > 20)


def test_progress_ends_at_all(tmp_path: Path) -> None:
    result, seen = make_result(2, ()), []
    write_outputs(result, tmp_path / "out", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_numbers_without_json_words_become_null(tmp_path: Path) -> None:
    result = make_result(1, (), threshold=float("inf"), info={"x": float("nan"), "y": [np.int64(3), np.bool_(True)]})
    run = json.loads(write_outputs(result, tmp_path / "out").run.read_text())
    assert (run["threshold"], run["x"], run["y"]) == (None, None, [3, True])


def test_vanished_and_changed_images_are_told_and_noted(tmp_path: Path) -> None:
    result = make_result()
    load = loader(result, vanished=(2,))

    def changed(i: int) -> np.ndarray:
        return load(i)[:-1] if i == 5 else load(i)

    written = write_outputs(result, tmp_path / "out", load_image=changed, report=True)
    assert [one.path for one in written.not_drawn] == [result.paths[2], result.paths[5]]
    assert "no such file" in written.not_drawn[0].reason
    assert "has changed" in written.not_drawn[1].reason
    noted = json.loads(written.run.read_text())["not_drawn"]
    assert [one["path"] for one in noted] == [one.path for one in written.not_drawn]
    assert len(list((written.root / "overlays").rglob("*.jpg"))) == len(result.paths) - 2
    assert written.report is not None
    assert "2 photographs could not be read a second time" in written.report.read_text()


@pytest.mark.parametrize("field", ["scores", "distances", "descriptors", "maps"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_result_with_a_number_that_is_not_finite_is_refused(tmp_path: Path, field: str, value: float) -> None:
    out = tmp_path / "out"
    write_outputs(make_result(2, ()), out)
    before = digests(out)
    result = make_result()
    rows = [row.copy() for row in result.maps] if field == "maps" else getattr(result, field).copy()
    rows[3] = np.full_like(rows[3], value)
    with pytest.raises(OutputError, match=f"{result.paths[3]}: its .* is not a finite number"):
        write_outputs(make_result(**{field: rows}), out)
    assert digests(out) == before


def test_names_that_no_table_or_file_system_likes_have_their_row_and_their_files(tmp_path: Path) -> None:
    paths = [
        "-rf.png",
        "..png",
        "...png",
        ".hidden.png",
        r"..\..\up.png",
        'quote".png',
        "a/\x1b[31mred.png",
        "A/x.png",
        "a/X.png",
        "file:x.png",
        "x" * 251 + ".png",
        "deep/" * 500 + "end.png",
        "caf\u00e9.png",
        "cafe\u0301.png",
    ]
    result = make_result(len(paths), (), paths=paths)
    out = tmp_path / "out"
    written = write_outputs(result, out, load_image=loader(result))
    rows = read_csv(written.csv)
    assert [os.path.normpath(row["path"]) for row in rows] == [os.path.normpath(path) for path in paths]
    for folder, suffix in (("maps", ".tiff"), ("masks", ".png"), ("overlays", ".jpg")):
        files = [path for path in (out / folder).rglob("*") if path.is_file()]
        assert len(files) == len(paths)
        assert all(path.name.endswith(suffix) for path in files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("name", ["lot:12", "run:1", "file:x", "s3:bucket", "-out", "caf\udce9", "a\nb", "%41"])
def test_output_folders_of_any_name_are_written_where_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = make_result(1, (1,))
    written = write_outputs(result, name, load_image=loader(result), report=True)
    assert os.listdir(tmp_path) == [name]
    assert pq.read_table(io.BytesIO(written.parquet.read_bytes())).num_rows == 2
    assert set(json.loads(written.run.read_text())["files"]) == set(digests(tmp_path / name))
