from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from blemish.errors import OutputError
from blemish.output import write_outputs
from blemish.regions import fill_rings
from helpers.results import make_result, with_regions


def read_csv(path: Path) -> list[dict[str, str]]:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_each_region_is_a_row_of_both_tables(tmp_path: Path) -> None:
    result = with_regions(make_result(2, (2, 2)), type_names={2: "=spot; dark"})
    write_outputs(result, tmp_path, overlays=False)
    lines, rows = read_csv(tmp_path / "regions.csv"), pq.read_table(tmp_path / "regions.parquet").to_pylist()
    assert len(lines) == len(rows) == len(result.regions) == 6
    assert list(lines[0]) == list(rows[0])
    assert [row["region"] for row in rows] == [1, 1, 1, 2, 1, 2]
    for line, row, region in zip(lines, rows, result.regions, strict=True):
        assert row["path"] == line["path"] == result.paths[region.image]
        assert (row["left"], row["top"]) == (int(line["left"]), int(line["top"])) == (region.left, region.top)
        assert np.float32(line["score"]) == np.float32(row["score"]) == np.float32(region.score)
        assert (row["contrast"], row["confidence"]) == (region.contrast, region.confidence)
        assert line["contrast"] == ("" if region.contrast is None else "-0.25")
        rings = [np.array(ring, float) for ring in (*json.loads(line["outlines"]), *json.loads(line["holes"]))]
        box = region.left, region.top, region.width, region.height
        assert fill_rings(rings, *box).sum() == region.area
        assert [np.array(ring).tolist() for ring in row["outlines"]] == [one.tolist() for one in region.outlines]
    assert {row["type_name"] for row in rows} == {"type 1", "=spot; dark"}
    assert {line["type_name"] for line in lines} == {"type 1", "'=spot; dark"}


def test_images_have_verdict_probabilities_and_types_of_their_regions(tmp_path: Path) -> None:
    plain = make_result(3, (1,))
    probabilities = np.array([0.02, 0.5, 0.1, 0.95], np.float32)
    result = with_regions(plain, anomaly_probability=probabilities, type_probability=probabilities)
    write_outputs(result, tmp_path, overlays=False)
    lines, rows = read_csv(tmp_path / "images.csv"), pq.read_table(tmp_path / "images.parquet").to_pylist()
    assert list(lines[0]) == list(rows[0])
    assert list(rows[0])[8:] == ["verdict", "anomaly_probability", "type_probability", "regions", "region_types"]
    assert [row["verdict"] for row in rows] == ["normal", "please check", "normal", "anomalous"]
    assert [np.float32(line["anomaly_probability"]) for line in lines] == probabilities.tolist()
    assert [(row["regions"], row["region_types"]) for row in rows] == [(0, "")] * 3 + [(1, "type 1")]


def test_what_is_not_known_has_no_column_and_no_table(tmp_path: Path) -> None:
    write_outputs(make_result(1, (1,)), tmp_path, overlays=False)
    assert list(read_csv(tmp_path / "images.csv")[0])[-1] == "verdict"
    assert not (tmp_path / "regions.csv").exists()


def test_a_batch_without_a_defect_has_an_empty_table_of_regions(tmp_path: Path) -> None:
    write_outputs(make_result(2, ()), tmp_path, overlays=False)
    assert read_csv(tmp_path / "regions.csv") == []
    assert pq.read_table(tmp_path / "regions.parquet").num_rows == 0


def test_a_region_whose_score_is_no_number_is_refused(tmp_path: Path) -> None:
    result = with_regions(make_result(1, (1,)))
    object.__setattr__(result.regions[0], "score", float("nan"))
    with pytest.raises(OutputError, match="region is not a finite number"):
        write_outputs(result, tmp_path / "out", overlays=False)
