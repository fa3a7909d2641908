from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blemish import FittedModel
from blemish.config.sections import Cache
from blemish.distributed import ray as engine
from blemish.distributed.parts import Parts
from blemish.images import Listing, list_set
from blemish.output import load_result
from blemish.results import Result
from helpers.fitted import needs_ray, small_set_with_model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images, one that is broken, and a model with a named type."""
    root = tmp_path_factory.mktemp("parts")
    small_set_with_model(root, 12, "broken.png").renamed({1: "scratch"}).save(root / "model")
    return root


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(folder=str(tmp_path / "cache"))


def equal(one: Result, other: Result) -> None:
    assert one.paths == other.paths
    for name in ("scores", "labels", "descriptors", "is_anomalous", "type_probability", "distances", "sizes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    assert all(np.array_equal(a, b) for a, b in zip(one.maps, other.maps, strict=True))
    assert [(a.image, a.label, a.area, a.score) for a in one.regions] == [
        (a.image, a.label, a.area, a.score) for a in other.regions
    ]
    assert one.type_names == other.type_names
    assert [a.path for a in one.skipped] == [a.path for a in other.skipped]


def test_a_part_comes_back_as_it_was(place: Path, cache: Cache) -> None:
    model, listing = FittedModel.load(place / "model"), list_set(place / "images")
    files = replace(listing, images=listing.images[1:], names=listing.names[1:])
    result, _ = engine.Worker("embedded", "cpu", 2).inspect(model.content, files)
    assert result is not None
    assert any(result.regions)
    Parts(cache, model).put(files, result)
    back = Parts(cache, model).get(files)
    assert back is not None
    equal(back, result)
    for one, other in zip(back.regions, result.regions, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.outlines, other.outlines, strict=True))


def test_a_part_is_known_by_model_files_and_their_state(place: Path, cache: Cache) -> None:
    model, listing = FittedModel.load(place / "model"), list_set(place / "images")
    files = replace(listing, images=listing.images[1:4], names=listing.names[1:4])
    result, _ = engine.Worker("embedded", "cpu", 2).inspect(model.content, files)
    assert result is not None
    Parts(cache, model).put(files, result)
    assert Parts(cache, model.renamed({1: "dent"})).get(files) is None
    assert Parts(cache, model, "cuda").get(files) is None
    assert Parts(cache, model).get(replace(files, images=files.images[:2], names=files.names[:2])) is None
    assert Parts(None, model).get(files) is None
    os.utime(files.images[0], ns=(1, 1))  # type: ignore[arg-type]
    assert Parts(cache, model).get(files) is None


def test_a_part_with_a_file_that_cannot_be_read_is_tried_again(place: Path, cache: Cache) -> None:
    model, files = FittedModel.load(place / "model"), list_set(place / "images")
    result, skipped = engine.Worker("embedded", "cpu", 2).inspect(model.content, files)
    assert result is not None
    assert len(skipped) == 1
    Parts(cache, model).put(files, result)
    assert Parts(cache, model).get(files) is None


class Interrupted(BaseException):
    """Ends the driver in a test."""


def test_what_a_killed_driver_has_received_is_not_computed_again(
    place: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, answered = FittedModel.load(place / "model"), list[list[str]]()
    most = 99

    def answers(workers: Sequence[engine.Worker], model: FittedModel, batches: Sequence[Listing]) -> Iterator[object]:
        for files in batches:
            if len(answered) == most:
                raise Interrupted
            answered.append(files.names)
            yield files, workers[0].inspect(model.content, files)

    monkeypatch.setattr(engine, "BATCH", 3)
    monkeypatch.setattr(engine, "require_ray", lambda: None)
    monkeypatch.setattr(engine, "_connected", lambda _address: nullcontext())
    monkeypatch.setattr(engine, "_workers", lambda *_: [engine.Worker("embedded", "cpu", 2)])
    monkeypatch.setattr(engine, "_answers", answers)
    whole = engine.predict_with_ray(model, place / "images")
    assert len(answered) == 5
    answered.clear()
    most = 2
    with pytest.raises(Interrupted):
        engine.predict_with_ray(model, place / "images", cache=cache)
    first = list(answered)
    answered.clear()
    most = 99
    again = engine.predict_with_ray(model, place / "images", cache=cache)
    assert not [names for names in answered if names in first and "broken.png" not in names]
    assert again.info["cache"] == {"parts": [5 - len(answered), 5]}
    equal(again, whole)
    answered.clear()
    equal(engine.predict_with_ray(model, place / "images", cache=cache), whole)
    assert len(answered) == 1
    assert "broken.png" in answered[0]


@needs_ray
def test_a_driver_that_is_killed_goes_on_where_it_was(place: Path, tmp_path: Path) -> None:
    images, out, stored = tmp_path / "images", tmp_path / "out", tmp_path / "cache"
    images.mkdir()
    for number in range(40):
        for path in (place / "images").glob("img*"):
            os.link(path, images / f"{number:02d}-{path.name}")
    command = [sys.executable, "-m", "blemish", "predict", str(place / "model"), str(images), "--out", str(out)]
    command += ["--engine", "ray", "--cache-dir", str(stored), "--set", "output.overlays=false", "--quiet"]
    environment = {key: value for key, value in os.environ.items() if key != "BLEMISH_CACHE"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 90
        while len(list(stored.glob("parts-*"))) < 3 and time.monotonic() < end:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = {path.name: path.stat().st_ino for path in stored.glob("parts-*")}
    assert 3 <= len(kept) < 15
    said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert f"from the cache: parts ({len(kept)} of 15)" in said
    after = {path.name: path.stat().st_ino for path in stored.glob("parts-*")}
    assert {name: after[name] for name in kept} == kept
    whole = tmp_path / "whole"
    subprocess.run([*command[:6], "--out", str(whole), "--no-cache", "--quiet"], check=True, capture_output=True)
    one, other = load_result(out), load_result(whole)
    assert one.paths == other.paths
    np.testing.assert_array_equal(one.labels, other.labels)
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(one.maps, other.maps, strict=True))
