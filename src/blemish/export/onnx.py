"""A fitted model as an ONNX file, for inspection by programs without Python and PyTorch."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from blemish import __version__
from blemish.backbones.embedded import EmbeddedBackbone
from blemish.errors import BlemishError, ConfigError, MissingDependencyError, OutputError, shown
from blemish.model import FittedModel
from blemish.model.prediction import fitted_network
from blemish.output import explain_os_errors
from blemish.runtime.atomic import write_atomically

if TYPE_CHECKING:
    from blemish.export._onnx_graph import InspectionGraph

OPSET = 18
"""Version of the ONNX operators."""

TOLERANCE = 1e-4
"""Largest difference between ONNX Runtime and PyTorch with which a file is written."""

CHECKED_SIZES = ((1, 96, 96), (2, 64, 160), (3, 128, 48))
"""Images, height and width of the batches that are compared before a file is written."""

OUTPUTS = ("map", "score", "descriptor")


@dataclass(frozen=True)
class ExportedModel:
    """An ONNX file that was written.

    Attributes:
        path: the file.
        bytes: its size.
        difference: the largest difference to PyTorch that was found.
    """

    path: Path
    bytes: int
    difference: float


def export_onnx(model: FittedModel, out: Path | str) -> ExportedModel:
    """Write a model as an ONNX file, after a comparison of ONNX Runtime with PyTorch.

    The input ``image`` is N x 3 x H x W float32, RGB in [0, 1], at the target size: H and W are multiples of 16, at least
    32. The outputs are ``map``, N x H / stride x W / stride; ``score``, N; and ``descriptor``, N x C, of everything
    anomalous in the image. Maps are those before ``localization.median_windows``. The metadata has threshold, scale, white
    level and groups as JSON. Types are not assigned: the file has no heads and no clustering.

    An image of the fitted set is compared with its own patches too, which a run avoids, so that its score is lower.

    Args:
        model: a model with ``localization.method`` = ``knn``, the embedded network and no region of interest.
        out: a file with the suffix .onnx; an earlier one is replaced.

    Raises:
        ConfigError: the model cannot be exported.
        MissingDependencyError: a package of the extra ``onnx`` is not installed.
        OutputError: the file cannot be written.

    Cost: about 20 seconds.
    """
    out = Path(out)
    _check_model(model)
    if out.suffix.lower() != ".onnx" or out.is_dir():
        raise OutputError(f"{shown(out)}: is not the name of an ONNX file; give one that ends with .onnx")
    if not out.absolute().parent.is_dir():
        raise OutputError(f"{shown(out)}: its folder does not exist; make it, or choose another one")
    require_onnx()
    from blemish.export._onnx_graph import InspectionGraph

    network = fitted_network(model, "cpu")
    if not isinstance(network, EmbeddedBackbone):
        raise ConfigError(f"the network {model.config.backbone.name} cannot be exported; fit with the embedded network")
    graph = InspectionGraph(model, network).eval().requires_grad_(False)
    content = _traced(graph, metadata(model))
    difference = _difference(graph, content)
    if not difference <= TOLERANCE:
        raise BlemishError(
            f"ONNX Runtime differs from PyTorch by {difference:.2g}, more than {TOLERANCE}, so nothing was written; "
            "try other versions of onnxruntime and torch"
        )
    with explain_os_errors(out):
        write_atomically(out, lambda stream: stream.write(content))
    return ExportedModel(out, len(content), difference)


def metadata(model: FittedModel) -> dict[str, str]:
    """What the metadata of the file say, as JSON by key."""
    image, level = model.config.image, model.calibration.white_level
    values: dict[str, Any] = {
        "version": __version__,
        "model": model.digest,
        "weights_sha256": model.weights_sha256,
        "opset": OPSET,
        "threshold": model.threshold,
        "score_quantile": model.config.localization.score_quantile,
        "scale": model.calibration.scale,
        "white_level": level.level,
        "white_level_wide": level.wide,
        "image": {"size": image.size, "resize": image.resize, "upscale": image.upscale, "max_side": image.max_side},
        "groups": model.description()["groups"],
    }
    return {f"blemish.{key}": json.dumps(value) for key, value in values.items()}


def require_onnx() -> None:
    """Check that the packages of the extra ``onnx`` are installed.

    Raises:
        MissingDependencyError: one is not; the message says how to install it.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "the export as ONNX needs onnx, onnxscript and onnxruntime: pip install 'blemish[onnx]'"
        ) from error


def _check_model(model: FittedModel) -> None:
    config = model.config
    if config.localization.method != "knn":
        raise ConfigError(
            f"localization.method = {config.localization.method} cannot be exported as ONNX; fit a model with knn"
        )
    if config.image.size == "native":
        raise ConfigError(
            "a model of images at their stored size cannot be exported as ONNX, which has whole images; fit one with "
            "another image.size"
        )
    if config.localization.smallest_defect is not None:
        raise ConfigError(
            "a model with a smallest defect cannot be exported as ONNX; fit one without --smallest-defect"
        )
    if config.image.roi:
        raise ConfigError("a model with a region of interest cannot be exported as ONNX; fit one without image.roi")


def _traced(graph: InspectionGraph, properties: dict[str, str]) -> bytes:
    """The graph as the content of an ONNX file; number of images, height and width are free."""
    import onnx

    batch, rows, columns = (
        torch.export.Dim(name, min=low, max=512) for name, low in (("batch", 1), ("rows", 2), ("columns", 2))
    )
    with _quiet():
        program = torch.onnx.export(
            graph,
            (torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0)),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=OUTPUTS,
            dynamic_shapes={"image": {0: batch, 2: 16 * rows, 3: 16 * columns}},
            verbose=False,
        )
    assert program is not None
    document = program.model_proto
    document.producer_name = "blemish"
    onnx.helper.set_model_props(document, properties)
    return bytes(document.SerializeToString())


def _difference(graph: InspectionGraph, content: bytes) -> float:
    """The largest difference between ONNX Runtime and PyTorch on random images of several sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    random, largest = np.random.default_rng(0), 0.0
    for count, height, width in CHECKED_SIZES:
        images = random.random((count, 3, height, width), np.float32)
        with torch.no_grad():
            expected = graph(torch.from_numpy(images))
        found = session.run(list(OUTPUTS), {"image": images})
        largest = max(largest, *(float(np.abs(a.numpy() - b).max()) for a, b in zip(expected, found, strict=True)))
    return largest


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep remarks of the exporter on its own work from the user."""
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
