"""Each format is read back by its own library where that is at hand, else by a reader written from its description."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blemish.evaluation import load_dataset
from blemish.export import export_result
from blemish.export.coco import run_lengths
from blemish.export.content import mask_regions
from blemish.export.labelstudio import MAX_CORNERS
from blemish.export.polygons import simplified
from blemish.output import load_result, write_outputs
from blemish.regions import region_mask, trace_outlines
from blemish.results import Result
from helpers.exports import polygon_pixels, results_on_disk, write_photos
from helpers.results import make_result, with_regions


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """Two images with a defect that has a hole, of types with names that need care, and two normal images."""
    root = tmp_path_factory.mktemp("ring")
    maps = [np.full((12, 16), 0.1, np.float32) for _ in range(4)]
    for values in maps[2:]:
        values[1:11, 2:12] = 0.9
        values[4:8, 5:9] = 0.1
    plain = make_result(2, (1, 1), size=(96, 128), maps=maps, source=str(root / "photos"))
    result = with_regions(plain, type_names={1: 'hole "<&>"', 2: 'hole "<&>"'})
    write_photos(result, root / "photos")
    write_outputs(result, root / "results", overlays=False)
    return result, root / "results"


def pixels(result: Result, i: int) -> np.ndarray:
    """The pixels of the regions of an image."""
    out = np.zeros(result.sizes[i], bool)
    for one in result.regions:
        if one.image == i:
            out[one.top : one.top + one.height, one.left : one.left + one.width] |= region_mask(one)
    return out


def test_tables_are_those_of_the_results(ring: tuple[Result, Path]) -> None:
    _, results = ring
    for to in ("csv", "parquet"):
        root = export_result(results, to).root
        assert sorted(path.name for path in root.iterdir() if path.name[0] != ".") == [f"images.{to}", f"regions.{to}"]
        for name in (f"images.{to}", f"regions.{to}"):
            assert (root / name).read_bytes() == (results / name).read_bytes()


def test_coco_has_the_pixels_of_every_region(ring: tuple[Result, Path]) -> None:
    result, results = ring
    document = json.loads((export_result(results, "coco").root / "annotations.json").read_text())
    assert [one["file_name"] for one in document["images"]] == result.paths
    assert [one["name"] for one in document["categories"]] == ['hole "<&>"', 'hole "<&>" (2)']
    for annotation in document["annotations"]:
        counts, (height, width) = annotation["segmentation"]["counts"], annotation["segmentation"]["size"]
        found = np.repeat(np.arange(len(counts)) % 2, counts).reshape((height, width), order="F").astype(bool)
        assert np.array_equal(found, pixels(result, annotation["image_id"] - 1))
        assert annotation["area"] == found.sum()
        assert annotation["score"] == pytest.approx(0.9)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools with NumPy 2
def test_pycocotools_reads_the_same(ring: tuple[Result, Path], capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is part of the extra dev")
    from pycocotools import mask as rle

    result, results = ring
    for to, name in (("coco", "annotations.json"), ("cvat", "annotations/instances_default.json")):
        dataset = coco.COCO(str(export_result(results, to).root / name))
        assert len(dataset.anns) == len(result.regions) == 2
        for annotation in dataset.anns.values():
            assert np.array_equal(dataset.annToMask(annotation), pixels(result, annotation["image_id"] - 1))
            encoded = dataset.annToRLE(annotation)
            assert rle.area(encoded) == annotation["area"]
            assert rle.toBbox(encoded).tolist() == annotation["bbox"]
    capsys.readouterr()


def test_cvat_gets_labels_with_the_names_of_the_categories(ring: tuple[Result, Path]) -> None:
    root = export_result(ring[1], "cvat").root
    document = json.loads((root / "annotations/instances_default.json").read_text())
    labels = [one["name"] for one in json.loads((root / "labels.json").read_text())]
    assert labels == [one["name"] for one in document["categories"]]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_run_lengths_agree_with_their_definition(height: int, width: int, left: int, top: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = np.zeros((height + top + rng.integers(2), width + left + rng.integers(2)), bool)
    mask = rng.random((height, width)) < rng.choice([0.5, 1.0])
    whole[top : top + height, left : left + width] = mask
    counts, current = [0], False
    for value in whole.T.ravel():  # down the columns; the first run is one of zeros
        if value != current:
            counts.append(0)
            current = value
        counts[-1] += 1
    assert run_lengths(mask, left, top, *whole.shape) == counts


def test_label_studio_tasks_fit_their_configuration(ring: tuple[Result, Path]) -> None:
    """Structure as https://labelstud.io/guide/predictions describes it; scripts/check_exports asks its own library."""
    result, results = ring
    root = export_result(results, "labelstudio").root
    config = ElementTree.parse(root / "labeling-config.xml")
    labels = [one.get("value") for one in config.iter("Label")]
    choices = [one.get("value") for one in config.iter("Choice")]
    assert labels == ['hole "<&>"', 'hole "<&>" (2)', "hole"]
    assert choices == ["normal", 'hole "<&>"', 'hole "<&>" (2)']
    tasks = json.loads((root / "tasks.json").read_text())
    for i, task in enumerate(tasks):
        assert task["data"]["image"] == f"/data/local-files/?d={result.paths[i]}"
        (prediction,) = task["predictions"]
        assert prediction["score"] == pytest.approx(result.anomaly_probability[i])
        *polygons, choice = prediction["result"]
        assert choice["value"]["choices"] == ["normal"] if i < 2 else labels[i - 2 : i - 1]
        for one in polygons:
            assert (one["from_name"], one["to_name"], one["type"]) == ("label", "image", "polygonlabels")
            assert (one["original_width"], one["original_height"], one["image_rotation"]) == (128, 96, 0)
            assert one["value"]["polygonlabels"][0] in labels
            assert 3 <= len(one["value"]["points"]) <= MAX_CORNERS
            assert 0 <= one.get("score", 0) <= 1
        rings = [np.array(one["value"]["points"]) / 100 * (128, 96) for one in polygons]
        assert [one["value"]["polygonlabels"][0] for one in polygons] == [*labels[i - 2 : i - 1], "hole"] * (i > 1)
        assert np.mean(polygon_pixels(rings, 96, 128) != pixels(result, i)) < 0.01


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 12))
def test_simplified_rings_have_few_corners_all_of_them_old_ones(seed: int, most: int) -> None:
    mask = np.random.default_rng(seed).random((9, 9)) < 0.7
    outlines, _ = trace_outlines(mask)
    for ring in outlines:
        found = simplified(ring, most)
        assert 3 <= len(found) <= max(most, 4)
        assert {x for x, _ in found} <= {x for x, _ in ring}
        assert (found.min(0) >= ring.min(0)).all()
        assert (found.max(0) <= ring.max(0)).all()


def test_yolo_lines_are_polygons_within_the_image_and_files_lie_where_ultralytics_looks(
    ring: tuple[Result, Path],
) -> None:
    result, results = ring
    root = export_result(results, "yolo").root
    data = yaml.safe_load((root / "data.yaml").read_text())
    assert data["names"] == {0: 'hole "<&>"', 1: 'hole "<&>" (2)'}
    images = sorted((root / data["train"]).iterdir())
    assert len(images) == 4
    for i, image in enumerate(images):  # the label file has the last "images" of the path replaced
        before, after = str(image).rsplit("/images/", 1)
        lines = Path(f"{before}/labels/{after.rsplit('.', 1)[0]}.txt").read_text().splitlines()
        assert len(lines) == (i > 1)
        for line in lines:
            number, *corners = line.split()
            values = np.array(corners, float)
            assert int(number) == i - 2
            assert len(values) >= 6
            assert len(values) % 2 == 0
            assert ((values >= 0) & (values <= 1)).all()
            filled = polygon_pixels([values.reshape(-1, 2) * (128, 96)], 96, 128)
            assert (filled & pixels(result, i)).sum() == pixels(result, i).sum()


def test_our_own_reader_takes_the_mvtec_tree(ring: tuple[Result, Path]) -> None:
    result, results = ring
    root = export_result(results, "mvtec").root
    assert len(list((root / "train/good").iterdir())) == 1
    dataset = load_dataset(root, "mvtec")
    assert dataset.is_annotated.all()
    assert dataset.classes[0] == "good"
    assert len(dataset.classes) == 3
    for path, mask in zip(dataset.paths, dataset.masks, strict=True):
        if mask is not None:
            i = [one.replace("/", "__") for one in result.paths].index(path.name)
            assert np.array_equal(np.asarray(Image.open(mask)) == 255, pixels(result, i))
    assert dataset.is_anomalous.sum() == 2


def test_sorted_images_are_in_the_folder_of_their_type(ring: tuple[Result, Path]) -> None:
    root = export_result(ring[1], "sorted").root
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    assert [name.split("/")[0] for name in found[2:]] == ["normal", "normal"]
    assert len({name.split("/")[0] for name in found}) == 3


def test_fiftyone_samples_have_fractions_and_files_that_exist(ring: tuple[Result, Path]) -> None:
    """Structure as its importer reads it: paths relative to the folder, documents with the names of their classes."""
    result, results = ring
    root = export_result(results, "fiftyone").root
    samples = json.loads((root / "samples.json").read_text())["samples"]
    assert "version" not in json.loads((root / "metadata.json").read_text())
    assert len(samples) == 4
    for i, sample in enumerate(samples):
        assert (root / sample["filepath"]).is_file()
        assert sample["group"]["label"] == ["normal", "normal", 'hole "<&>"', 'hole "<&>" (2)'][i]
        boxes, outlines = sample["boxes"]["detections"], sample["outlines"]["polylines"]
        assert len(boxes) == len(outlines) == (i > 1)
        for box, outline in zip(boxes, outlines, strict=True):
            x, y, width, height = np.array(box["bounding_box"]) * (128, 96, 128, 96)
            rows, columns = np.nonzero(pixels(result, i))
            assert (x, y, x + width, y + height) == pytest.approx(
                (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            )
            rings = [np.array(one) * (128, 96) for one in outline["points"]]
            assert np.array_equal(polygon_pixels(rings, 96, 128), pixels(result, i))


def test_maps_share_one_scale_and_lie_as_the_images_do(tmp_path: Path) -> None:
    maps = [np.array([[0, 1], [2, 4]], np.float32), np.full((2, 2), 3, np.float32)]
    paths = ["test/good/0.png", "test/cut/1.png"]
    sizes = np.full((2, 2), 2, np.int64)
    result = make_result(1, (1,), maps=maps, sizes=sizes, paths=paths, source="data/leather")
    write_outputs(result, tmp_path, overlays=False)
    root = export_result(tmp_path, "maps").root
    assert np.asarray(Image.open(root / "leather/good/0.png")).tolist() == [[0, 64], [128, 255]]
    assert np.asarray(Image.open(root / "leather/cut/1.png")).tolist() == [[191, 191], [191, 191]]


def test_results_without_regions_are_exported_by_the_parts_of_their_masks(tmp_path: Path) -> None:
    result, results = results_on_disk(tmp_path, regions=False)
    assert not load_result(results).regions
    rows = pq.read_table(export_result(results, "parquet").root / "regions.parquet").to_pylist()
    areas, expected = np.zeros(7), np.zeros(7)
    for row in rows:
        areas[row["image"]] += row["area"]
    for one in with_regions(result).regions:
        expected[one.image] += one.area
    assert areas.tolist() == expected.tolist()
    assert {row["type"] for row in rows} == {1, 2}


def test_parts_of_a_mask_are_its_components() -> None:
    mask = np.zeros((6, 9), bool)
    mask[0:3, 0:3] = mask[3, 3] = mask[5, 7:9] = True
    mask[1, 1] = False
    large, small = mask_regions(mask, 4, 2, 0.5)
    assert (large.area, len(large.holes), small.area, small.left, small.image, small.label) == (9, 1, 2, 7, 4, 2)


def test_unsorted_images_keep_their_regions(tmp_path: Path) -> None:
    result, _ = results_on_disk(tmp_path)
    odd = replace(
        result,
        labels=np.where(result.labels == 2, 0, result.labels),
        regions=[replace(one, label=0 if one.label == 2 else one.label) for one in result.regions],
    )
    write_outputs(odd, tmp_path / "odd", overlays=False)
    document = json.loads((export_result(tmp_path / "odd", "coco").root / "annotations.json").read_text())
    assert [one["name"] for one in document["categories"]] == ["type 1", "unsorted"]
    assert len(document["annotations"]) == len(result.regions)
    root = export_result(tmp_path / "odd", "sorted").root
    assert len(list((root / "unsorted").iterdir())) == 2


def test_images_that_are_unlike_every_type_are_a_type_of_their_own(tmp_path: Path) -> None:
    result, _ = results_on_disk(tmp_path)
    odd = replace(result, labels=np.where(result.labels == 2, -1, result.labels))
    write_outputs(odd, tmp_path / "odd", overlays=False)
    root = export_result(tmp_path / "odd", "sorted").root
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == ["normal", "type 1", "unlike anything seen"]
