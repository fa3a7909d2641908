from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from blemish import Config, run
from blemish.errors import ConfigError, InputError
from blemish.images import ImageSource, StoredImage
from blemish.images.decoding.loading import decode_stored

FAST = {
    "image.size": 64,
    "localization.sample_images": 4,
    "localization.memory_bank.patches_per_image": 16,
    "cache.enabled": False,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(12):
        pixels = np.random.default_rng(i).integers(60, 120, (64, 48 + 8 * (i % 3)), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i:03d}.png")
    return tmp_path


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    seen: Counter[str] = Counter()
    real, lock = decode_stored, threading.Lock()

    def counted(path: Path, **named: float | None) -> StoredImage:
        with lock:
            seen[path.name] += 1
        return real(path, **named)

    monkeypatch.setattr("blemish.images.decoding.loading.decode_stored", counted)
    return seen


def config(**values: object) -> Config:
    return Config.from_values(FAST | {key.replace("__", "."): value for key, value in values.items()})


def truncate(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def test_a_run_decodes_every_file_once(folder: Path, decoded: Counter[str]) -> None:
    run(folder, config())
    assert decoded == {path.name: 1 for path in folder.iterdir()}


def test_opening_reads_headers_only(folder: Path, decoded: Counter[str]) -> None:
    source = ImageSource(folder, config().image)
    assert not decoded
    assert [info.width for info in source.infos[:3]] == [48, 56, 64]


def test_the_stream_keeps_the_order_and_decodes_a_bounded_number_ahead(folder: Path, decoded: Counter[str]) -> None:
    source = ImageSource(folder, config().image)
    order = [7, 1, 11, 0, 5, 3, 2, 9]
    stream = source.stream(order, ahead=3)
    index, pixels = next(stream)
    assert index == 7
    np.testing.assert_array_equal(pixels, source.small(7))
    decoded.clear()
    assert [index for index, _ in stream] == order[1:]
    stream = source.stream(range(12), ahead=2)
    decoded.clear()
    next(stream)
    stream.close()
    assert sum(decoded.values()) <= 3
    assert list(source.stream([])) == []


def test_an_undecodable_image_is_reported_in_its_place_and_then_skipped(folder: Path) -> None:
    truncate(folder / "004.png")
    (folder / "006.png").write_bytes(b"no image")
    source = ImageSource(folder, config().image)
    assert [one.path for one in source.skipped] == ["006.png"]
    images = dict(source.stream(range(len(source))))
    assert [index for index, one in images.items() if isinstance(one, InputError)] == [4]
    result = run(folder, config())
    assert [one.path for one in result.skipped] == ["004.png", "006.png"]
    assert all(one.path in one.reason for one in result.skipped)
    assert [Path(path).stem for path in result.paths] == [f"{i:03d}" for i in range(12) if i not in (4, 6)]
    assert len(result.maps) == len(result.labels) == len(result.sizes) == len(result.descriptors) == 10
    assert [width for _, width in result.sizes.tolist()] == [48 + 8 * (i % 3) for i in range(12) if i not in (4, 6)]


def test_deep_arrays_get_the_same_white_level_as_files(tmp_path: Path) -> None:
    deep = [np.linspace(0, top, 40 * 50).reshape(40, 50).astype(np.uint16) for top in (3900, 1200)]
    for i, values in enumerate(deep):
        Image.fromarray(values).save(tmp_path / f"{i}.png")
    files, arrays = ImageSource(tmp_path, config().image), ImageSource(deep, config().image)
    assert files.white_level.level == 4095
    for i in range(2):
        np.testing.assert_allclose(arrays.full(i), files.full(i), atol=1e-6)
    eight = [values.astype(np.uint8) for values in deep]
    mixed = ImageSource([deep[0], eight[0]], config().image)
    np.testing.assert_allclose(mixed.full(1), eight[0][..., None].repeat(3, 2) / 255, atol=1e-6)


def test_source_and_result_have_the_same_rows_after_a_run(folder: Path) -> None:

    truncate(folder / "004.png")
    source = ImageSource(folder, config().image)
    result = run(source, config(contrastive__enabled=True, contrastive__epochs=1))
    assert source.names == result.paths
    assert [source.full(row).shape[:2] for row in range(len(source))] == [tuple(size) for size in result.sizes.tolist()]


@pytest.mark.parametrize("cached", [False, True])
def test_a_sample_without_a_readable_image_is_drawn_from_the_others(folder: Path, cached: bool) -> None:
    sampled = np.random.default_rng(0).choice(12, 4, replace=False).tolist()
    for index in sampled:
        truncate(folder / f"{index:03d}.png")
    first, second = (run(folder, config(cache__enabled=cached)) for _ in range(2))
    assert len(first.paths) == 8
    assert first.scores.max() > 0
    assert first.scores.tobytes() == second.scores.tobytes()


def test_too_few_or_no_readable_images_are_errors(folder: Path) -> None:
    for path in sorted(folder.iterdir())[:9]:
        truncate(path)
    assert run(folder, config(n_clusters=3)).n_clusters <= 3
    with pytest.raises(ConfigError, match="there are 3 images"):
        run(folder, config(n_clusters=4))
    for path in sorted(folder.iterdir())[9:]:
        truncate(path)
    with pytest.raises(InputError, match="no readable image"):
        run(folder, config())


def test_threads_reach_every_library() -> None:
    code = (
        "from blemish.cli.shared import use_threads\nuse_threads(1)\n"
        "import numba, torch, os\nprint(torch.get_num_threads(), numba.get_num_threads(), os.environ['OMP_NUM_THREADS'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "1", "1"], done.stderr


def test_copies_are_found_by_their_content(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, (8, 9, 3), np.uint8) for _ in range(3)]
    for name, which in (("a", 0), ("b", 1), ("c", 0), ("d", 2), ("e", 1)):
        Image.fromarray(arrays[which]).save(tmp_path / f"{name}.bmp")  # all of one size
    source = ImageSource(tmp_path, Config().image)
    assert source.originals() == [0, 1, 0, 3, 1]
    source.fingerprint(0)
    assert source.originals() == [0, 1, 0, 3, 1]
    assert ImageSource([arrays[0], arrays[1], arrays[0]], Config().image).originals() == [0, 1, 0]


def test_the_registry_names_unreadable_images_until_they_are_dropped(folder: Path) -> None:
    (folder / "006.png").write_bytes(b"no image")
    source = ImageSource(folder, config().image)
    source.mark_unreadable(2, "002.png: damaged")
    assert source.readable([3, 2, 0]) == [3, 0]
    assert [one.path for one in source.skipped] == ["002.png", "006.png"]
    source.keep(source.readable(range(len(source))))
    assert "002.png" not in source.names
    assert source.unreadable == {}
    assert [one.path for one in source.skipped] == ["002.png", "006.png"]


def test_an_image_counts_as_still_unreadable_only_while_it_cannot_be_decoded(folder: Path) -> None:
    source = ImageSource(folder, config().image)
    assert not source.confirm_unreadable([4])
    truncate(folder / "004.png")
    assert source.confirm_unreadable([4])
    assert "004.png" in source.unreadable[4]


def test_finishing_without_a_readable_image_is_an_error(folder: Path) -> None:
    source = ImageSource(folder, config().image)
    source.finish()
    for index in range(len(source)):
        source.mark_unreadable(index, f"{source.names[index]}: damaged")
    with pytest.raises(InputError, match=r"12 could not be read; the first: 000.png"):
        source.finish()


def test_pages_have_names_of_their_own(tmp_path: Path) -> None:
    pages = np.random.default_rng(0).integers(0, 256, (3, 40, 50), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "roll.tif", pages, photometric="minisblack")
    Image.fromarray(pages[0]).save(tmp_path / "roll.tif#2", "PNG")
    source = ImageSource(tmp_path, config().image)
    assert source.names == ["roll.tif", "roll.tif##2", "roll.tif#3", "roll.tif#2"]
    for index, page in enumerate((0, 1, 2, 0)):
        np.testing.assert_allclose(source.full(index)[..., 0], pages[page] / 255, atol=1e-6)
    assert len({source.fingerprint(index) for index in range(3)}) == 3


def test_a_list_of_paths_has_one_image_per_path(tmp_path: Path) -> None:
    pages = np.random.default_rng(0).integers(0, 256, (3, 40, 50), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "roll.tif", pages, photometric="minisblack")
    paths = [tmp_path / "roll.tif#3", tmp_path / "roll.tif"]
    source = ImageSource(paths, config().image)
    assert source.names == [path.as_posix() for path in paths]
    for index, page in enumerate((2, 0)):
        np.testing.assert_allclose(source.full(index)[..., 0], pages[page] / 255, atol=1e-6)
    assert source.originals() == [0, 1]
    source = ImageSource([tmp_path / "roll.tif"], config().image)
    assert [one.path for one in source.passed_over] == [f"{tmp_path.as_posix()}/roll.tif#{page}" for page in (2, 3)]
    source = ImageSource([tmp_path / "roll.tif", tmp_path / "roll.tif#4"], config().image)
    assert ["3 pages" in one.reason for one in source.skipped] == [True]


def test_equal_pages_are_copies(tmp_path: Path) -> None:
    page = np.random.default_rng(0).integers(0, 256, (40, 50), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "roll.tif", np.stack([page, 255 - page, page]), photometric="minisblack")
    assert ImageSource(tmp_path, config().image).originals() == [0, 1, 0]


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_changes_after_its_header_was_read_is_unreadable(
    folder: Path, hashed: bool, replaced: bool
) -> None:
    source = ImageSource(folder, config().image)
    if hashed:
        source.fingerprint(0)
    if replaced:
        Image.fromarray(np.full((64, 56), 9, np.uint8)).save(folder / "new.png")
        (folder / "new.png").replace(folder / "004.png")
    else:
        (folder / "004.png").write_bytes((folder / "001.png").read_bytes())
    with pytest.raises(InputError, match=r"004.png: was changed while the run was reading it"):
        source.full(4)
    (folder / "005.png").unlink()
    with pytest.raises(InputError, match=r"005.png: no such file"):
        source.full(5)


def test_a_file_that_is_written_again_with_the_same_content_stays_readable(folder: Path) -> None:
    source = ImageSource(folder, config().image)
    source.fingerprint(0)
    expected = source.full(4)
    content = (folder / "004.png").read_bytes()
    (folder / "004.png").unlink()
    (folder / "004.png").write_bytes(content)
    np.testing.assert_array_equal(source.full(4), expected)


def test_wrong_scores_are_not_kept_under_the_digest_of_a_file_that_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = run(folder, config(cache__enabled=True))
    whole = (folder / "004.png").read_bytes()
    real = ImageSource.fingerprint

    def swapped(self: ImageSource, index: int) -> str:
        found = real(self, index)
        Image.fromarray(np.full((64, 56), 200, np.uint8)).save(folder / "004.png")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(ImageSource, "fingerprint", swapped)
        changed = run(folder, config(cache__enabled=True, seed=1))
    (folder / "004.png").write_bytes(whole)
    assert [one.path for one in changed.skipped] == ["004.png"]
    again = run(folder, config(cache__enabled=True, seed=1))
    plain = run(folder, config(seed=1))
    assert again.scores.tobytes() == plain.scores.tobytes()
    assert len(right.paths) == len(again.paths)


def test_what_is_passed_over_is_named_once_and_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.png").write_bytes(b"x")
    source = ImageSource(folder, config().image)
    assert [record.message for record in caplog.records] == [
        "passed over 2 files: 1 with a hidden name (.hidden.png), 1 not an image (notes.txt)"
    ]
    assert source.report()["passed_over"] == [
        {"path": ".hidden.png", "reason": "with a hidden name"},
        {"path": "notes.txt", "reason": "not an image"},
    ]


def test_a_set_of_two_valued_images_gets_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(8):
        mask = np.zeros((40, 50), np.uint8)
        mask[5:20, 5 + i : 20] = 255
        Image.fromarray(mask).save(tmp_path / f"{i}.png")
    settings = config(cache__enabled=True, cache__folder=str(tmp_path / "cache"))
    for _ in range(2):  # the second run takes everything from the cache
        caplog.clear()
        run(tmp_path, settings, exclude=[tmp_path / "cache"])
        assert any("8 of 8 images hold two values only, as masks do" in record.message for record in caplog.records)


def test_one_huge_image_is_decoded_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.images.source.HUGE_MEGABYTES", 0)
    busy, most, lock = 0, 0, threading.Lock()

    def watched(*args: object, **named: object) -> StoredImage:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        time.sleep(0.01)
        with lock:
            busy -= 1
        return decode_stored(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("blemish.images.decoding.loading.decode_stored", watched)
    assert len(list(ImageSource(folder, config().image).stream(range(12)))) == 12
    assert most == 1


def test_the_white_level_is_a_setting_and_is_reported(tmp_path: Path) -> None:
    for i in range(3):
        tifffile.imwrite(tmp_path / f"{i}.tif", np.full((40, 50), 1000 + i, np.uint16))
    assert ImageSource(tmp_path, config().image).report()["white_level"] == 1023
    source = ImageSource(tmp_path, config(image__white_level=2000).image)
    assert source.report()["white_level"] == 2000
    assert source.full(0)[0, 0, 0] == pytest.approx(0.5)


def test_an_image_above_the_limit_is_skipped_with_the_remedy(folder: Path) -> None:
    Image.fromarray(np.zeros((300, 400), np.uint8)).save(folder / "large.png")
    source = ImageSource(folder, config(image__max_megabytes=1).image)
    assert [one.path for one in source.skipped] == ["large.png"]
    assert "300 x 400 pixels in 1 band take 2 MB decoded" in source.skipped[0].reason
