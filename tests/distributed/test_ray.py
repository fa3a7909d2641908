from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from blemish import FittedModel, __version__
from blemish.cli.app import app
from blemish.distributed import ray as engine
from blemish.distributed.merging import merge_results
from blemish.errors import InputError
from blemish.images import list_set
from blemish.output import load_result
from helpers.fitted import needs_ray, small_set_with_model


def blemish(*arguments: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, [*map(str, arguments)])
    return found.exit_code, found.stdout + found.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine images and two that are broken, and a model."""
    root = tmp_path_factory.mktemp("ray")
    small_set_with_model(root, 9, "a.png", "b.png").save(root / "model")
    return root


def test_what_workers_return_is_merged_to_the_prediction(place: Path) -> None:
    model, listing = FittedModel.load(place / "model"), list_set(place / "images")
    worker = engine.Worker("embedded", "cpu", 2)
    found = [worker.inspect(model.content, listing.part(i, 4)) for i in range(1, 5)]
    merged = merge_results([result for result, _ in found if result is not None], model)
    whole = model.predict(place / "images")
    assert merged.paths == whole.paths
    for name in ("labels", "scores", "descriptors", "type_probability"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name), name)
    assert sorted(one.path for _, skipped in found for one in skipped) == ["a.png", "b.png"]


def test_files_that_cannot_be_read_are_rows_and_no_error(place: Path) -> None:
    listing = list_set(place / "images")
    nothing = replace(listing, images=listing.images[:2], names=listing.names[:2])
    result, skipped = engine.Worker("embedded", "cpu", 2).inspect(FittedModel.load(place / "model").content, nothing)
    assert result is None
    assert [one.path for one in skipped] == ["a.png", "b.png"]
    assert all("PNG header is damaged" in one.reason for one in skipped)


def test_a_worker_that_differs_is_refused_by_name(place: Path) -> None:
    model = FittedModel.load(place / "model")
    good = engine.Worker("embedded", "cpu", 2).introduce()
    engine.check_worker(good, model)
    with pytest.raises(InputError, match=r"the worker on node7 has blemish 0\.0\.1, and this is"):
        engine.check_worker(good | {"host": "node7", "blemish": "0.0.1"}, model)
    with pytest.raises(InputError, match="the worker on node7 has other weights of the network embedded"):
        engine.check_worker(good | {"host": "node7", "weights": "f" * 64}, model)
    assert good["blemish"] == __version__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "dask"), "choose local or ray"),
        (("--engine", "ray", "--shard", "1/2"), "neither with --watch nor with --shard"),
        (("--engine", "ray", "--watch"), "neither with --watch nor with --shard"),
        (("--address", "auto"), "--address is for --engine ray"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    place: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, text = blemish("predict", place / "model", place / "images", "--out", tmp_path / "out", *arguments)
    assert (code, message in text, len(text.splitlines())) == (2, True, 1), text
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda _name: None)
    out = tmp_path / "out"
    code, text = blemish("predict", place / "model", place / "images", "--out", out, "--engine", "ray", "--quiet")
    assert (code, "pip install 'blemish[ray]'" in text, len(text.splitlines())) == (2, True, 1), text
    assert not out.exists()


@needs_ray
def test_ray_gives_what_one_process_gives(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BATCH", 3)
    common = ("predict", place / "model", place / "images", "--quiet")
    code, text = blemish(*common, "--out", tmp_path / "ray", "--engine", "ray")
    assert (code, "2 files could not be read" in text) == (3, True), text
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert blemish(*common, "--out", tmp_path / "one")[0] == 3
    for name in ("images.csv", "regions.csv", "descriptors.npy", "next_to_check.csv"):
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "one" / name).read_bytes(), name
    one, other = load_result(tmp_path / "one"), load_result(tmp_path / "ray")
    assert all(np.array_equal(a, b) for a, b in zip(one.maps, other.maps, strict=True))
    assert [one.path for one in other.skipped] == ["a.png", "b.png"]
    assert one.source == other.source


@needs_ray
def test_a_worker_that_dies_is_started_again(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mortal(engine.Worker):
        """Its process ends in the first call."""

        def inspect(self, content: bytes, files: object) -> object:
            if not mark.exists():
                mark.touch()
                os._exit(1)
            return super().inspect(content, files)  # type: ignore[arg-type]

    mark = tmp_path / "died"
    monkeypatch.setattr(engine, "BATCH", 3)
    monkeypatch.setattr(engine, "Worker", Mortal)
    model = FittedModel.load(place / "model")
    found = engine.predict_with_ray(model, place / "images")
    assert mark.exists()
    np.testing.assert_array_equal(found.scores, model.predict(place / "images").scores)


@needs_ray
def test_an_address_where_nobody_answers_is_one_line(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CONNECT_SECONDS", 4)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # no cluster of this machine is found there
    start = time.monotonic()
    for address in ("127.0.0.1:9", "auto"):
        with pytest.raises(InputError, match=f"no cluster of Ray answers at {address}"):
            engine.predict_with_ray(FittedModel.load(place / "model"), place / "images", address=address)
    assert time.monotonic() - start < 30
