from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from blemish import Config, Result, run
from blemish.features.extractor import Extractor
from blemish.images import ImageSource
from blemish.runtime.digests import source_digest
from blemish.runtime.progress import Stage
from blemish.runtime.serialization import from_bytes, to_bytes
from blemish.stages import AFTER_MAPS, AFTER_MAPS_LOCALIZATION
from helpers.cached_runs import ALL_BATCHES, SMALL, EndedBy, N, assert_same, entries, settings, uncached, write_images


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("set"))


@pytest.fixture
def folder(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals, tmp_path / "images"))


@pytest.fixture(scope="module")
def first_run(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    """The result of a run, and the cache folder that it has filled."""
    cache = tmp_path_factory.mktemp("filled")
    return run(originals, settings(cache__folder=str(cache))), cache


@pytest.fixture
def expected(first_run: tuple[Result, Path], tmp_path: Path) -> Result:
    """The result of a run that has filled this test's cache folder."""
    shutil.copytree(first_run[1], tmp_path / "cache")
    return first_run[0]


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


IMAGE_NORMALIZATION = {"features.normalization": "image"}
METHODS: list[dict[str, Any]] = [
    {},
    {"contrastive.enabled": False},
    {"backbone.tta_flips": True},
    {"contrastive.head_weight": None, "contrastive.n_heads": 2},
    {"localization.method": "vae_fca"} | IMAGE_NORMALIZATION,
    {"localization.method": "pca_fca"},
    {"localization.method": "fca"},
    {"localization.method": "vae_l1"} | IMAGE_NORMALIZATION,
    {"localization.method": "vae_l2"} | IMAGE_NORMALIZATION,
    {"preset": "paper", "image.size": 64},
    {"image.resize": "image", "cache.features": True},
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


def test_other_code_uses_no_entry_of_any_kind(folder: Path, expected: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    source_digest.cache_clear()
    monkeypatch.setattr("blemish.runtime.digests.__version__", "another")
    try:
        again = run(folder, settings())
    finally:
        source_digest.cache_clear()
    assert_same(again, expected)
    assert len(again.info["cache"]) == len(expected.info["cache"]) > 5
    assert not any(found for found, _ in again.info["cache"].values())


def test_a_changed_setting_recomputes_what_depends_on_it(folder: Path, calls: list[int]) -> None:
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
    batches = {kind: [4, 4] for kind in ("maps", "surfaces", "descriptors", "pixels")}
    present = {"borders": [1, 1], "localization": [1, 1], **batches, "heads": [1, 1]}
    assert report == present | {"groups": [0, 1]}
    count, report = after(contrastive__n_heads=2)
    assert count == 0
    assert report == present | {"heads": [0, 1], "groups": [0, 1]}
    count, report = after(descriptor__tau=0.1)
    assert count == ALL_BATCHES
    assert report == {
        "borders": [1, 1],
        "localization": [1, 1],
        "maps": [4, 4],
        "surfaces": [4, 4],
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
    sampled = ImageSource(folder, Config().image).content_order(0)[:6]
    run(folder, settings())
    for index, expected in ((min(set(range(N)) - set(sampled)), 1), (min(sampled), ALL_BATCHES)):
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


def fail() -> None:
    raise Killed


@pytest.mark.parametrize(("images", "left"), [(0, 4), (4, 3), (9, 2), (13, 1)])
def test_an_interrupted_run_goes_on_where_it_was(folder: Path, calls: list[int], images: int, left: int) -> None:
    with pytest.raises(Killed):
        run(folder, settings(), progress=EndedBy(Stage.ANOMALY_MAPS, images, fail))
    calls.clear()
    result = run(folder, settings())
    assert len(calls) == left
    assert result.info["cache"]["localization"] == [1, 1]
    assert_same(result, uncached(folder))


def test_an_interrupted_head_starts_again_from_the_kept_pixels(folder: Path, calls: list[int]) -> None:
    with pytest.raises(Killed):
        run(folder, settings(), progress=EndedBy(Stage.CONTRASTIVE_HEADS, 6, fail))
    calls.clear()
    result = run(folder, settings())
    assert calls == []
    assert result.info["cache"]["pixels"] == [4, 4]
    assert result.info["cache"]["heads"] == [0, 1]
    assert_same(result, uncached(folder))


KILL = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from helpers.cached_runs import EndedBy, settings
from blemish import run
from blemish.runtime.progress import Stage
end = lambda: os.kill(os.getpid(), signal.{name})
run({folder!r}, settings(cache__folder={cache!r}), progress=EndedBy(Stage.ANOMALY_MAPS, 9, end))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_process_leaves_whole_batches(folder: Path, tmp_path: Path, calls: list[int]) -> None:
    cache = tmp_path / "kept"
    code = KILL.format(tests=str(Path(__file__).parent), name="SIGKILL", folder=str(folder), cache=str(cache))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(entries(cache, "maps")) == 2
    result = run(folder, settings(cache__folder=str(cache)))
    assert len(calls) == 2
    assert_same(result, uncached(folder))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:7], lambda b: b"", lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]]
)
def test_a_damaged_entry_counts_as_absent(
    folder: Path, expected: Result, tmp_path: Path, calls: list[int], damage: Any
) -> None:
    for path in entries(tmp_path / "cache"):
        path.write_bytes(damage(path.read_bytes()))
    calls.clear()
    assert_same(run(folder, settings()), expected)
    assert len(calls) == ALL_BATCHES
    calls.clear()
    assert_same(run(folder, settings()), expected)  # mended
    assert calls == []


def test_a_limit_smaller_than_one_run_changes_nothing(folder: Path) -> None:
    assert_same(run(folder, settings(cache__limit_mb=1, cache__features=True)), uncached(folder))


def test_a_file_in_place_of_the_folder_is_a_warning_and_no_cache(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    result = run(folder, settings(cache__folder=str(tmp_path / "file")))
    assert_same(result, uncached(folder))
    assert caplog.text.count("cannot be used") == 1
    assert result.info["cache"] == {}
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("call", ["pathlib.Path.mkdir", "tempfile.TemporaryFile", "os.replace"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_refused_folder_is_one_warning_and_the_run_continues(
    folder: Path,
    first_run: tuple[Result, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
    number: int,
) -> None:
    result, _ = first_run

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as refused:
        refused.setattr(call, refuse)
        assert_same(run(folder, settings()), result)
    assert caplog.text.count("cannot be used") == 1
    assert os.strerror(number) in caplog.text


def test_entries_are_still_read_where_no_more_can_be_written(
    folder: Path, expected: Result, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, calls: list[int]
) -> None:
    calls.clear()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert_same(run(folder, settings()), expected)
    assert calls == []
    assert caplog.text.count("cannot be used") == 1


@pytest.mark.parametrize("kind", ["maps", "descriptors", "pixels"])
def test_swapped_entries_are_computed_again(
    folder: Path, expected: Result, tmp_path: Path, calls: list[int], caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    one, other, *_ = entries(tmp_path / "cache", kind)
    contents = one.read_bytes(), other.read_bytes()
    other.write_bytes(contents[0])
    one.write_bytes(contents[1])
    calls.clear()
    result = run(folder, settings())
    assert_same(result, expected)
    assert result.info["cache"][kind] == [2, 4]
    assert len(calls) == 2
    assert caplog.text.count("another name") == 1  # one line, for both
    calls.clear()
    assert_same(run(folder, settings()), expected)
    assert calls == []


def spoiled(value: Any, kind: str, how: str) -> Any:
    """A cache entry with one wrong number or shape."""
    if kind == "localization":
        spoil(value.sample_maps[0], how)
    elif kind == "groups":
        spoil(value[0].descriptors, "nan")
    elif kind == "heads":
        spoil(value[1], "nan")
    elif how == "short":
        value["rows"].pop()
    elif how == "axes":
        value["rows"] = [one.reshape(1, *one.shape) if hasattr(one, "shape") else one[::-1] for one in value["rows"]]
    elif how == "places":
        value["unreadable"] = [[0]]
    else:
        spoil(value["rows"][0] if kind != "pixels" else value["rows"][0][1], how)
    return value


def spoil(array: np.ndarray, how: str) -> None:
    array.flat[0] = {"nan": np.nan, "infinite": np.inf, "negative": -1}[how]


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *(("maps", how) for how in ("nan", "infinite", "negative", "short", "axes", "places")),
        *(("descriptors", how) for how in ("nan", "infinite", "short", "axes")),
        *(("pixels", how) for how in ("nan", "short", "axes")),
        ("localization", "negative"),
        ("heads", "nan"),
        ("groups", "nan"),
    ],
)
def test_forged_entries_with_wrong_numbers_or_shapes_are_computed_again(
    folder: Path, expected: Result, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, how: str
) -> None:
    from blemish.entries import CACHED_CLASSES

    path = entries(tmp_path / "cache", kind)[0]
    value = from_bytes(path.read_bytes(), CACHED_CLASSES, path.stem)
    path.write_bytes(to_bytes(spoiled(value, kind, how), path.stem))
    result = run(folder, settings())
    assert_same(result, expected)
    found, asked = result.info["cache"][kind]
    assert found == asked - 1
    assert caplog.text.count("computed again") == 1


def test_a_run_leaves_global_state_as_it_was(folder: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), np.geterr(), torch.get_num_threads()
    run(folder, settings())
    run(folder, settings(localization__method="vae_fca", features__normalization="image", cache__enabled=False))
    after = torch.random.get_rng_state(), np.random.get_state()[1].tolist(), np.geterr(), torch.get_num_threads()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert torch.is_grad_enabled()


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_a_new_folder_belongs_to_this_user_alone(folder: Path, tmp_path: Path) -> None:
    run(folder, settings())
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700


def test_two_runs_at_once_do_no_harm(folder: Path, tmp_path: Path) -> None:
    code = KILL.format(
        tests=str(Path(__file__).parent), name="SIGTERM", folder=str(folder), cache=str(tmp_path / "kept")
    ).replace("Stage.ANOMALY_MAPS", "None")
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
    for name in (*keys, *AFTER_MAPS_LOCALIZATION):
        section, _, key = name.partition(".")
        old = dumped[section][key]
        if isinstance(old, bool):
            changed[name] = not old
        elif isinstance(old, int | float):
            changed[name] = old / 2 if isinstance(old, float) else old + 2
    changed |= OTHER | {"n_clusters": 2, "cache.enabled": False}
    changed |= {"contrastive.epochs": 1, "contrastive.n_heads": 1}
    a = uncached(folder)
    for decided in ({"localization.rejects": True}, {"localization.rejects": False, "localization.threshold": 0.7}):
        b = run(folder, Config.from_values(SMALL | changed | decided))
        assert [one.tobytes() for one in a.maps] == [one.tobytes() for one in b.maps]
        assert a.scores.tobytes() != b.scores.tobytes()


def test_held_features_stay_within_their_bound(folder: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = uncached(folder)
    monkeypatch.setattr("blemish.features.batches.HELD_BYTES", 0)
    calls.clear()
    assert_same(uncached(folder), expected)
    assert len(calls) == ALL_BATCHES + 2  # the sampled images once more


def test_closing_lines_name_what_came_from_the_cache(folder: Path, tmp_path: Path) -> None:
    flags = ["--size", "64", "--quiet", "--n-clusters", "3", "--set", "output.report=false"]
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
    assert re.search(
        r"from the cache: borders, localization, maps, surfaces, descriptors, pixels, heads, groups\n", cli(*cache)
    )
    assert re.search(
        r"from the cache: borders, localization, maps, surfaces, descriptors, pixels, heads\n",
        cli(*cache, "--n-clusters", "4"),
    )
