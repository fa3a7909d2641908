from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from blemish import Config, FittedModel, Result, run
from blemish.backbones import load_backbone
from blemish.backbones.embedded import EmbeddedBackbone
from blemish.cli.app import app
from blemish.errors import ConfigError, OutputError
from blemish.export._onnx_graph import InspectionGraph
from blemish.export.onnx import TOLERANCE, export_onnx
from blemish.features import Extractor
from blemish.localization import median_filled_maps
from blemish.synthetic.demo import make_demo
from blemish.types import FloatArray
from helpers.fitted import FAST

SIZES = ((128, 128), (128, 96), (80, 128))

SETTINGS = {
    "defaults": {},
    "several strides": {
        "backbone.strides": [8, 16],
        "backbone.tta_flips": True,
        "descriptor.weighting": "softmax",
        "localization.smoothing_sigma": 0,
    },
    "no outliers removed": {
        "localization.memory_bank.outlier_fraction": 0,
        "localization.memory_bank.image_quantile": 0.3,
        "localization.zero_border": 2,
        "features.normalization": "image",
        "descriptor.weighting": "max",
        "descriptor.whitening_shrinkage": None,
    },
    "plain": {
        "localization.memory_bank.density_exponent": 0,
        "localization.border_correction": False,
        "features.pool_size": 1,
        "descriptor.weighting": "average",
    },
}


@dataclass
class Case:
    """A model, ten images of three sizes that it was not fitted to, and what it says about them."""

    model: FittedModel
    images: list[FloatArray]
    expected: Result

    def batches(self) -> Iterator[tuple[list[int], FloatArray]]:
        """Indices and pixels of the images of each size."""
        for shape in sorted({one.shape for one in self.images}):
            rows = [row for row, one in enumerate(self.images) if one.shape == shape]
            yield rows, np.stack([self.images[row] for row in rows])

    def check(self, rows: list[int], maps: FloatArray, scores: FloatArray, tolerance: float) -> None:
        """Compare maps and scores with the prediction; its maps are those with filled gaps."""
        filled = median_filled_maps(list(maps), self.model.config.localization.median_windows, None)
        for row, one in zip(rows, filled, strict=True):
            np.testing.assert_allclose(one, self.expected.maps[row], atol=tolerance)
        np.testing.assert_allclose(scores, self.expected.scores[rows], atol=tolerance)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images to fit, and ten later ones in three sizes."""
    root = tmp_path_factory.mktemp("onnx")
    make_demo(root, n_images=22, size=128, seed=3)
    (root / "later").mkdir()
    for number, path in enumerate(sorted((root / "images").iterdir())[12:]):
        height, width = SIZES[number % 3]
        Image.open(path).crop((0, 0, width, height)).save(root / "later" / path.name)
        path.unlink()
    return root


def make_case(folder: Path, **settings: object) -> Case:
    config = Config.from_values(FAST | {"contrastive.enabled": False} | settings)
    model = run(folder / "images", config).model
    assert isinstance(model, FittedModel)
    source = model.source(folder / "later")
    assert len(set(source.target_sizes)) == 3
    return Case(model, [source.small(index) for index in range(10)], model.predict(folder / "later"))


@pytest.fixture(scope="module")
def case(folder: Path) -> Case:
    return make_case(folder)


def make_graph(model: FittedModel) -> InspectionGraph:
    network = load_backbone(model.config.backbone.name)
    assert isinstance(network, EmbeddedBackbone)
    return InspectionGraph(model, network).eval()


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_graph_says_what_a_prediction_says(folder: Path, kind: str) -> None:
    case = make_case(folder, **SETTINGS[kind])
    model, graph = case.model, make_graph(case.model)
    extractor = Extractor(load_backbone(model.config.backbone.name), model.config.backbone)
    for rows, pixels in case.batches():
        with torch.no_grad():
            maps, scores, descriptors = graph(torch.from_numpy(pixels))
            features = model.localization.normalizer.apply(extractor.raw(torch.from_numpy(pixels))[0])
        case.check(rows, maps.numpy(), scores.numpy(), 2e-6 * float(np.max(case.expected.scores)) + 1e-6)
        weights = model.descriptor_model.pixel_weights(maps[0].numpy())
        expected = model.descriptor_model.descriptor(features, weights)
        np.testing.assert_allclose(descriptors[0].numpy(), expected, atol=1e-5)


def test_the_file_says_what_a_prediction_says(case: Case, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    model = case.model.renamed({1: 'crack, "deep"'})
    model.save(tmp_path / "model")
    out = tmp_path / "model.onnx"
    found = CliRunner().invoke(app, ["export", str(tmp_path / "model"), "--to", "onnx", "--out", str(out)])
    assert found.exit_code == 0, found.output
    assert "opset 18" in found.output
    assert [one.name for one in tmp_path.iterdir() if one.suffix != ""] == ["model.onnx"]
    session = onnxruntime.InferenceSession(out.read_bytes())
    for rows, pixels in case.batches():
        maps, scores, descriptors = session.run(None, {"image": pixels})
        case.check(rows, maps, scores, TOLERANCE)
        assert descriptors.shape == (len(rows), 160)
    document = onnx.load(out)
    assert [one.version for one in document.opset_import if one.domain == ""] == [18]
    said = {one.key: json.loads(one.value) for one in document.metadata_props if one.key.startswith("blemish.")}
    assert said["blemish.threshold"] == model.threshold
    assert said["blemish.model"] == model.digest
    assert said["blemish.scale"] == model.calibration.scale
    assert said["blemish.white_level"] is None
    assert said["blemish.groups"][1]["name"] == 'crack, "deep"'


def test_what_cannot_be_exported_is_refused(case: Case, tmp_path: Path) -> None:
    from dataclasses import replace

    for settings, message in (
        ({"localization.method": "pca_fca"}, "pca_fca cannot be exported as ONNX; fit a model with knn"),
        ({"image.roi": "mask.png"}, "region of interest"),
    ):
        other = replace(case.model, config=Config.from_values(settings))
        with pytest.raises(ConfigError, match=message):
            export_onnx(other, tmp_path / "model.onnx")
    for name in ("model.pt", "", "nowhere/model.onnx"):
        with pytest.raises(OutputError):
            export_onnx(case.model, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((), "give it with --out"), (("--out", "m.onnx", "--link"), "leave them out"), (("--out", "m"), ".onnx")],
)
def test_mistakes_on_the_command_line_are_one_line(
    case: Case, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    case.model.save(tmp_path)
    found = CliRunner().invoke(app, ["export", str(tmp_path), "--to", "onnx", *arguments])
    assert (found.exit_code, len(found.stderr.splitlines())) == (2, 1)
    assert message in found.stderr
