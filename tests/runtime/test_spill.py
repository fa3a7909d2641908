from __future__ import annotations

import copy
import logging
import pickle
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from blemish import Config, run
from blemish.runtime import spill
from blemish.runtime.spill import Arrays, ArrayStore, FileSlot
from blemish.types import FloatArray


def maps(count: int) -> list[FloatArray]:
    rng = np.random.default_rng(0)
    return [rng.random((3 + n % 4, 5 + n % 3), np.float32) for n in range(count)]


@pytest.mark.parametrize("held", [0, 1000, 10**9])
def test_arrays_come_back_unchanged_in_any_order(held: int) -> None:
    given, store = maps(40), ArrayStore(held_bytes=held)
    stored = store.add(given[:25]) + store.add(given[25:])
    in_memory = sum(one.nbytes for one in stored if not isinstance(one, FileSlot))
    assert in_memory <= held
    assert any(isinstance(one, FileSlot) for one in stored) == (held < 10**9)
    order = np.random.default_rng(1).permutation(40)
    view = store.view([stored[n] for n in order])
    assert len(view) == 40
    for n, found, again in zip(order, view, [view[n] for n in range(40)], strict=True):
        np.testing.assert_array_equal(found, given[n])
        np.testing.assert_array_equal(again, given[n])
        assert found.dtype == np.float32
    np.testing.assert_array_equal(view[-1], given[order[-1]])
    assert [one.tobytes() for one in view[3:7]] == [given[n].tobytes() for n in order[3:7]]
    with pytest.raises(IndexError):
        view[40]


def test_writing_to_an_array_that_was_read_does_not_change_the_stored_one() -> None:
    store = ArrayStore(held_bytes=0)
    view = store.view(store.add(maps(2)))
    view[0][:] = -1
    np.testing.assert_array_equal(view[0], maps(1)[0])


def test_arrays_of_other_layouts_and_types_are_converted() -> None:
    store, odd = ArrayStore(held_bytes=0), np.arange(24.0).reshape(4, 6)[:, ::2]
    np.testing.assert_array_equal(store.view(store.add([odd.astype(np.float32).T, odd]))[1], odd)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda view: pickle.loads(pickle.dumps(view))])
def test_copies_and_pickles_are_lists(duplicate: Callable[[Arrays], object]) -> None:
    store = ArrayStore(held_bytes=100)
    found = duplicate(store.view(store.add(maps(5))))
    assert isinstance(found, list)
    assert [one.tobytes() for one in found] == [one.tobytes() for one in maps(5)]


def test_threads_read_complete_arrays() -> None:
    given, store = maps(200), ArrayStore(held_bytes=0)
    view = store.view(store.add(given))
    places = np.random.default_rng(0).integers(0, 200, 3000).tolist()
    with ThreadPoolExecutor(8) as pool:
        for place, found in zip(places, pool.map(view.__getitem__, places), strict=True):
            assert found.tobytes() == given[place].tobytes()


def test_arrays_stay_in_memory_if_the_temporary_folder_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    store = ArrayStore(held_bytes=0)
    with caplog.at_level(logging.WARNING):
        view = store.view(store.add(maps(6)))
    assert [one.tobytes() for one in view] == [one.tobytes() for one in maps(6)]
    assert [record.getMessage().count("TMPDIR") for record in caplog.records] == [1]


def test_arrays_stay_in_memory_if_there_is_no_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def nowhere(*_: object, **__: object) -> None:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    monkeypatch.setattr(tempfile, "TemporaryFile", nowhere)
    store = ArrayStore(held_bytes=0)
    view = store.view(store.add(maps(3)))
    assert [one.tobytes() for one in view] == [one.tobytes() for one in maps(3)]
    assert "no usable temporary directory" in caplog.text


@pytest.mark.parametrize("more", [{"contrastive.enabled": False}, {"contrastive.epochs": 1}])
def test_a_run_gives_the_same_result_with_its_maps_in_a_file(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, object]
) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 64 + 16 * (n % 2), 3), dtype=np.uint8) for n in range(9)]
    config = Config.from_values({"image.size": 64, "localization.sample_images": 4, "n_clusters": 2} | more)
    held = run(images, config)
    monkeypatch.setattr(spill, "HELD_BYTES", 0)
    filed = run(images, config)
    assert isinstance(held.maps, Arrays)
    assert isinstance(filed.maps, Arrays)
    assert not any(isinstance(one, FileSlot) for one in held.maps._places)
    assert all(isinstance(one, FileSlot) for one in filed.maps._places)
    assert [one.tobytes() for one in held.maps] == [one.tobytes() for one in filed.maps]
    np.testing.assert_array_equal(held.labels, filed.labels)
    np.testing.assert_array_equal(held.descriptors, filed.descriptors)
