from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save

from blemish import Config, Result, run
from blemish.features.batches import plan_batches
from blemish.features.extractor import Extractor
from blemish.runtime.cache import Cache, array_digest, digest
from blemish.runtime.serialization import UnreadableEntry, from_bytes, to_bytes
from blemish.stages import AFTER_MAPS, AFTER_MAPS_LOCALIZE

N, BATCH = 14, 4
SMALL = {
    "image.size": 64,
    "backbone.batch_size": BATCH,
    "backbone.border_padding": 0,
    "localization.sample_images": 6,
    "localization.memory_bank.patches_per_image": 16,
    "localization.vae.steps": 3,
    "contrastive.epochs": 1,
    "n_clusters": 3,
}
ALL_BATCHES = 2 + 2  # 6 sampled images and 8 others in batches of 4


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    for i in range(N):
        pixels = np.random.default_rng(i).integers(60, 120, (64, 80), dtype=np.uint8)
        if i % 3 == 1:
            pixels[20:40, 20 : 44 + i] = 250
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    return folder


@pytest.fixture
def folder(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals, tmp_path / "images"))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of images of each batch that goes through the network."""
    seen: list[int] = []
    real = Extractor.raw

    def counted(self: Extractor, batch: torch.Tensor) -> torch.Tensor:
        seen.append(len(batch))
        return real(self, batch)

    monkeypatch.setattr(Extractor, "raw", counted)
    return seen


def settings(**values: object) -> Config:
    return Config.from_values(SMALL | {key.replace("__", "."): value for key, value in values.items()})


def uncached(folder: Path, **values: object) -> Result:
    return run(folder, settings(cache__enabled=False, **values))


def assert_same(a: Result, b: Result) -> None:
    assert a.paths == b.paths
    assert a.scores.tobytes() == b.scores.tobytes()
    assert [one.tobytes() for one in a.maps] == [one.tobytes() for one in b.maps]
    assert a.descriptors.tobytes() == b.descriptors.tobytes()
    assert a.labels.tolist() == b.labels.tolist()
    assert (a.threshold, a.normal_label) == (b.threshold, b.normal_label)
    assert a.skipped == b.skipped


def entries(cache: Path, kind: str = "*") -> list[Path]:
    return sorted(cache.glob(f"{kind}-*.safetensors"))


METHODS: list[dict[str, Any]] = [
    {},
    {"contrastive.enabled": False},
    {"backbone.tta_flips": True},
    {"contrastive.head_weight": None, "contrastive.n_heads": 2},
    {"localization.method": "bal", "localization.method": "vae", "features.normalization": "image"},
    {"localization.method": "l1", "localization.method": "pca"},
    {"localization.method": "fca"},
    {"preset": "paper", "image.size": 64},
    {"image.resize": "each", "cache.features": True},
]


@pytest.mark.parametrize("method", METHODS)
def test_a_second_run_computes_nothing_and_gives_the_same_bits(
    folder: Path, calls: list[int], method: dict[str, Any]
) -> None:
    Image.fromarray(np.full((120, 70), 90, np.uint8)).save(folder / "other-size.png")
    plain = run(folder, Config.from_values(SMALL | method | {"cache.enabled": False}))
    assert not plain.info["cache"]
    first = run(folder, Config.from_values(SMALL | method))
    calls.clear()
    second = run(folder, Config.from_values(SMALL | method))
    assert calls == []
    assert_same(first, plain)
    assert_same(second, plain)
    assert all(found == asked for found, asked in second.info["cache"].values())
    assert not any(found for found, _ in first.info["cache"].values())


def test_what_a_change_computes_anew(folder: Path, calls: list[int]) -> None:
    run(folder, settings())
    assert len(calls) == ALL_BATCHES  # the sampled images too pass once only

    def after(**values: object) -> tuple[int, dict[str, list[int]]]:
        calls.clear()
        result = run(folder, settings(**values))
        count = len(calls)
        assert_same(result, uncached(folder, **{k: v for k, v in values.items() if k != "cache__features"}))
        return count, result.info["cache"]

    count, report = after(n_clusters=4)
    assert count == 0
    present = {"normality": [1, 1], "maps": [4, 4], "descriptors": [4, 4], "pixels": [4, 4], "heads": [1, 1]}
    assert report == present | {"groups": [0, 1]}
    count, report = after(contrastive__n_heads=2)
    assert count == 0
    assert report == present | {"heads": [0, 1], "groups": [0, 1]}
    count, report = after(descriptor__tau=0.1)
    assert count == ALL_BATCHES
    assert report == {
        "normality": [1, 1],
        "maps": [4, 4],
        "descriptors": [0, 4],
        "pixels": [0, 4],
        "heads": [0, 1],
        "groups": [0, 1],
    }
    assert after(localization__threshold=0.5)[0] == 0
    assert after(output__overlays=False)[0] == 0
    assert after(seed=1)[0] == ALL_BATCHES
    assert after(image__size=80)[0] == ALL_BATCHES


def test_a_changed_image_costs_its_batch_or_everything(folder: Path, calls: list[int]) -> None:
    sampled = set(np.random.default_rng(0).choice(N, 6, replace=False).tolist())
    run(folder, settings())
    for index, expected in ((min(set(range(N)) - sampled), 1), (min(sampled), ALL_BATCHES)):
        Image.fromarray(np.full((64, 80), 80, np.uint8)).save(folder / f"{index:03d}.png")
        calls.clear()
        result = run(folder, settings())
        assert len(calls) == expected
        assert_same(result, uncached(folder))


def test_a_touched_or_moved_file_is_no_change(folder: Path, tmp_path: Path, calls: list[int]) -> None:
    run(folder, settings())
    os.utime(folder / "003.png", (1, 1))
    calls.clear()
    run(folder.rename(tmp_path / "elsewhere"), settings())
    assert calls == []


def test_kept_features_spare_the_network_when_tau_changes(folder: Path, calls: list[int]) -> None:
    run(folder, settings(cache__features=True))
    calls.clear()
    result = run(folder, settings(cache__features=True, descriptor__tau=0.1))
    assert calls == []
    assert_same(result, uncached(folder, descriptor__tau=0.1))
    damaged = entries(folder.parent / "cache", "features")[0]
    damaged.write_bytes(b"")
    calls.clear()
    assert_same(run(folder, settings(cache__features=True, descriptor__tau=0.2)), uncached(folder, descriptor__tau=0.2))
    assert len(calls) == 1 + ALL_BATCHES  # one for the damaged entry, the others without a cache


def test_arrays_are_known_by_their_bytes(calls: list[int]) -> None:
    images = [np.random.default_rng(i).integers(0, 255, (64, 64), dtype=np.uint8) for i in range(4)]
    first = run(images, settings())
    calls.clear()
    assert_same(run([one.copy() for one in images], settings()), first)
    assert calls == []
    images[2][0, 0] ^= 1
    run(images, settings())
    assert calls


class Killed(Exception):
    pass


class KilledAt:
    """A display of progress that ends the run."""

    def __init__(self, stage: str, images: int, end: Callable[[], None]) -> None:
        self.wanted, self.left, self.end, self.name = stage, images, end, ""

    def advance(self, n: int = 1) -> None:
        if self.name == self.wanted:
            self.left -= n
            if self.left < 0:
                self.end()

    def stage(self, name: str, total: int) -> AbstractContextManager[KilledAt]:
        @contextmanager
        def entered() -> Any:
            self.name = name
            yield self

        return entered()


def fail() -> None:
    raise Killed


@pytest.mark.parametrize(("images", "left"), [(0, 4), (4, 3), (9, 2), (13, 1)])
def test_an_interrupted_run_goes_on_where_it_was(folder: Path, calls: list[int], images: int, left: int) -> None:
    with pytest.raises(Killed):
        run(folder, settings(), progress=KilledAt("Looking for defects", images, fail))
    calls.clear()
    result = run(folder, settings())
    assert len(calls) == left
    assert result.info["cache"]["normality"] == [1, 1]
    assert_same(result, uncached(folder))


def test_an_interrupted_head_starts_again_from_the_kept_pixels(folder: Path, calls: list[int]) -> None:
    with pytest.raises(Killed):
        run(folder, settings(), progress=KilledAt("Sharpening the types", 6, fail))
    calls.clear()
    result = run(folder, settings())
    assert calls == []
    assert result.info["cache"]["pixels"] == [4, 4]
    assert result.info["cache"]["heads"] == [0, 1]
    assert_same(result, uncached(folder))


KILL = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_cache import KilledAt, settings
from blemish import run
end = lambda: os.kill(os.getpid(), signal.{name})
run({folder!r}, settings(cache__folder={cache!r}), progress=KilledAt("Looking for defects", 9, end))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_process_leaves_whole_batches(folder: Path, tmp_path: Path, calls: list[int]) -> None:
    cache = tmp_path / "kept"
    code = KILL.format(tests=str(Path(__file__).parents[1]), name="SIGKILL", folder=str(folder), cache=str(cache))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(entries(cache, "maps")) == 2
    result = run(folder, settings(cache__folder=str(cache)))
    assert len(calls) == 2
    assert_same(result, uncached(folder))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:7], lambda b: b"", lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]]
)
def test_a_damaged_entry_counts_as_absent(folder: Path, tmp_path: Path, calls: list[int], damage: Any) -> None:
    expected = run(folder, settings())
    for path in entries(tmp_path / "cache"):
        path.write_bytes(damage(path.read_bytes()))
    calls.clear()
    assert_same(run(folder, settings()), expected)
    assert len(calls) == ALL_BATCHES
    calls.clear()
    assert_same(run(folder, settings()), expected)  # mended
    assert calls == []


def test_foreign_files_are_left_alone_and_the_limit_holds(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 20_000)
    (tmp_path / "mine.txt").write_text("x" * 50_000)
    stale = tmp_path / f"maps-{'0' * 64}.safetensors.{'0' * 32}.partial"
    stale.write_text("half")
    os.utime(stale, (1, 1))
    cache.put("features", digest("bulky"), np.zeros(500, np.float32))
    keys = [digest(number) for number in range(30)]
    for number, key in enumerate(keys):
        cache.put("maps", key, np.full(250, number, np.float32))
        os.utime(tmp_path / f"maps-{key}.safetensors", (1e9 + number, 1e9 + number))
        if number >= 1:
            assert cache.get("maps", keys[0]) is not None  # in use: stays
    assert sum(path.stat().st_size for path in entries(tmp_path)) <= 20_000
    assert not entries(tmp_path, "features")
    present = [cache.get("maps", key) is not None for key in keys]
    assert 5 < sum(present) < 30
    assert present[0]
    assert all(present[present.index(False, 1) + present[1:].count(False) :])  # the oldest are gone, in order
    assert (tmp_path / "mine.txt").exists()
    assert not stale.exists()


def test_a_limit_smaller_than_one_run_changes_nothing(folder: Path) -> None:
    assert_same(run(folder, settings(cache__limit_mb=1, cache__features=True)), uncached(folder))


def test_no_usable_folder_is_a_warning_and_no_cache(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run(folder, settings(cache__folder=str(tmp_path / "file")))
    assert_same(result, uncached(folder))
    assert caplog.text.count("going on without") == 1
    assert result.info["cache"] == {}
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("call", ["mkdir", "touch", "write_bytes"])
def test_a_read_only_or_full_disk_is_a_warning_and_no_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    expected = uncached(folder)

    def refuse(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, call, refuse)
    assert_same(run(folder, settings()), expected)
    assert caplog.text.count("going on without") == 1


def test_two_runs_at_once_do_no_harm(folder: Path, tmp_path: Path) -> None:
    code = KILL.format(
        tests=str(Path(__file__).parents[1]), name="SIGTERM", folder=str(folder), cache=str(tmp_path / "kept")
    ).replace("Looking for defects", "none")
    others = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    time.sleep(0.1)
    result = run(folder, settings(cache__folder=str(tmp_path / "kept")))
    for other in others:
        _, stderr = other.communicate(timeout=120)
        assert other.returncode == 0, stderr
    assert_same(result, uncached(folder))
    assert_same(run(folder, settings(cache__folder=str(tmp_path / "kept"))), result)
    assert len(entries(tmp_path / "kept", "maps")) == ALL_BATCHES
    assert not list((tmp_path / "kept").glob("*.partial"))


def test_an_unreadable_image_is_remembered_and_still_named(folder: Path, calls: list[int]) -> None:
    for name in ("002.png", "005.png"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    first = run(folder, settings())
    assert [one.path for one in first.skipped] == ["002.png", "005.png"]
    calls.clear()
    assert_same(run(folder, settings()), first)
    assert calls == []
    assert_same(uncached(folder), first)


OTHER = {"descriptor.tau": 0.5, "cluster.method": "kmeans", "descriptor.weighting": "max", "cache.folder": "x"}


def test_settings_outside_the_maps_key_change_no_map(folder: Path) -> None:
    """Every setting that the key of maps leaves out is given another value: the maps must not move."""
    dumped = Config.from_values(SMALL).model_dump()
    keys = [
        f"{section}.{key}" for section in AFTER_MAPS if isinstance(dumped[section], dict) for key in dumped[section]
    ]
    changed: dict[str, Any] = {}
    for name in (*keys, *AFTER_MAPS_LOCALIZE):
        section, _, key = name.partition(".")
        old = dumped[section][key]
        if isinstance(old, bool):
            changed[name] = not old
        elif isinstance(old, int | float):
            changed[name] = old / 2 if isinstance(old, float) else old + 2
    changed |= OTHER | {"localization.threshold": 0.7, "n_clusters": 2, "cache.enabled": False}
    changed |= {"contrastive.epochs": 1, "contrastive.n_heads": 1}
    a, b = uncached(folder), run(folder, Config.from_values(SMALL | changed))
    assert [one.tobytes() for one in a.maps] == [one.tobytes() for one in b.maps]
    assert a.scores.tobytes() != b.scores.tobytes()


@pytest.mark.parametrize(
    "value",
    [
        [1, 2.5, None, "text", True, float("inf")],
        {"a": (np.arange(3), torch.ones(2, 2, dtype=torch.float64)), "b": []},
        np.zeros((0, 4), np.float32),
        [np.array([True, False]), np.array([[1.5]], np.float32), np.arange(12).reshape(3, 4)[:, ::2]],
    ],
)
def test_values_come_back_as_they_were(value: Any) -> None:
    def plain(one: Any) -> Any:
        if isinstance(one, np.ndarray | torch.Tensor):
            return (type(one), one.dtype, one.shape, one.tolist())
        if isinstance(one, dict):
            return {key: plain(item) for key, item in one.items()}
        return (type(one), [plain(item) for item in one]) if isinstance(one, list | tuple) else one

    assert plain(from_bytes(to_bytes(value))) == plain(value)


@pytest.mark.parametrize("name", ["Any", "np", "fit_maps", "exec", "torch", "Tensor"])
def test_entries_name_no_code(name: str) -> None:
    tree = json.dumps({"class": name, "fields": {"dict": []}})
    note = {"tree": tree, "sha256": hashlib.sha256(tree.encode()).hexdigest()}
    with pytest.raises(UnreadableEntry):
        from_bytes(save({}, metadata=note))


def test_what_an_entry_cannot_hold_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="Path"):
        to_bytes([Path("x")])


def test_digests_tell_apart_what_differs() -> None:
    values = np.arange(6, dtype=np.float32)
    variants = [values, values.reshape(2, 3), values.astype(np.float64), values.view(np.int32), values[::-1]]
    assert len({array_digest(one) for one in variants}) == len(variants)
    assert array_digest(values[::-1]) == array_digest(values[::-1].copy())
    assert len({digest(), digest(""), digest("", ""), digest(["", ""]), digest("a", "b"), digest("ab")}) == 6


def test_batches_cover_every_image_once_in_one_size() -> None:
    rng = np.random.default_rng(0)
    sizes = [(int(a) * 16, int(b) * 16) for a, b in rng.integers(2, 4, (50, 2))]
    batches = plan_batches(sizes, range(50), 8)
    assert sorted(index for batch in batches for index in batch) == list(range(50))
    assert all(len({sizes[index] for index in batch}) == 1 and len(batch) <= 8 for batch in batches)
    assert plan_batches(sizes, [], 8) == []


def test_held_features_stay_within_their_bound(folder: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = uncached(folder)
    monkeypatch.setattr("blemish.features.batches.HELD_BYTES", 0)
    calls.clear()
    assert_same(uncached(folder), expected)
    assert len(calls) == ALL_BATCHES + 2  # the sampled images once more


def test_closing_lines_name_what_came_from_the_cache(folder: Path, tmp_path: Path) -> None:
    flags = ["--size", "64", "--quiet", "--clusters", "3", "--set", "output.report=false"]
    cache = ["--cache-dir", str(tmp_path / "kept")]
    environment = {key: value for key, value in os.environ.items() if key != "BLEMISH_CACHE"}

    def cli(*more: str) -> str:
        command = [sys.executable, "-m", "blemish", "run", str(folder), "--out", str(tmp_path / "out"), *flags, *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "cache" not in cli(*cache, "--no-cache")
    assert not (tmp_path / "kept").exists()
    assert "cache" not in cli(*cache)
    assert re.search(r"from the cache: normality, maps, descriptors, pixels, heads, groups\n", cli(*cache))
    assert re.search(r"from the cache: normality, maps, descriptors, pixels, heads\n", cli(*cache, "--clusters", "4"))
