from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import tifffile

from blemish.errors import InputError
from blemish.images import decode, estimate_white_level, probe
from helpers.files import gradient, save, save_png16

RGB = gradient(21, 34)
GRAY = gradient(21, 34, 1)[..., 0]


@pytest.mark.parametrize(
    ("top", "level"), [(900, 1023), (1023, 1023), (1024, 4095), (16000, 16383), (16384, 65535), (65535, 65535)]
)
def test_white_level_is_the_smallest_depth_that_holds_the_set(tmp_path, top, level):
    dim = save_png16(tmp_path / "dim.png", gradient(8, 9, 1, 300))
    bright = save_png16(tmp_path / "bright.png", gradient(8, 9, 3, top))
    plain = save(tmp_path / "plain.png", RGB)
    assert estimate_white_level([dim, plain, bright]).level == level
    assert estimate_white_level([bright, tmp_path / "gone.png", dim]).level == level
    infos = [probe(dim), None, probe(bright)]
    assert estimate_white_level([dim, plain, bright], infos=infos).level == level


def test_white_level_is_not_needed_for_8_bits_and_for_unit_floats(tmp_path):
    plain = save(tmp_path / "plain.png", RGB)
    tifffile.imwrite(tmp_path / "f.tif", (GRAY / 255).astype(np.float32))
    assert estimate_white_level([plain]).level is None
    assert estimate_white_level([]).level is None
    assert estimate_white_level([plain, tmp_path / "f.tif"]).level is None
    assert decode(plain, white=4095).max() == 1.0  # 8 bits ignore it
    deep = save_png16(tmp_path / "deep.png", gradient(8, 9, 1, 4000))
    with pytest.raises(InputError, match="mixes"):
        estimate_white_level([deep, tmp_path / "f.tif"])


@pytest.mark.parametrize(
    ("top", "level"),
    [(1.05, None), (1.2, 1.2), (60.0, 60.0), (64.0, 255), (200.0, 255), (255.0, 255), (300.0, 1023), (1e12, 1e12)],
)
def test_white_level_of_floats(tmp_path, top, level):
    tifffile.imwrite(tmp_path / "f.tif", np.linspace(0, top, 30).reshape(5, 6))
    assert estimate_white_level([tmp_path / "f.tif"]).level == level


def test_floats_that_ring_over_white_are_clipped_and_leave_the_others_as_they_are(tmp_path):
    for name, top in (("even.tif", 1.0), ("over.tif", 1.001)):
        tifffile.imwrite(tmp_path / name, np.linspace(0, top, 30, dtype=np.float32).reshape(5, 6))
    white = estimate_white_level([tmp_path / "even.tif", tmp_path / "over.tif"]).level
    for name in ("even.tif", "over.tif"):
        found = decode(tmp_path / name, white=white)
        assert found.max() == 1.0
        assert abs(float(found.mean()) - 0.5) < 1e-3


def test_the_same_seed_samples_the_same_files(tmp_path):
    paths = [save_png16(tmp_path / f"{i}.png", gradient(4, 5, 1, 900 if i else 60000)) for i in range(12)]
    levels = [estimate_white_level(paths, sample=2, seed=seed).level for seed in range(40)]
    assert levels == [estimate_white_level(paths, sample=2, seed=seed).level for seed in range(40)]
    assert set(levels) == {1023.0, 65535.0}
    assert estimate_white_level(paths, sample=12).level == 65535


def textured(seed: int, top: int = 3000, shape: tuple[int, int] = (60, 70)) -> np.ndarray:
    return np.random.default_rng(seed).integers(top // 3, top, shape).astype(np.uint16)


@pytest.mark.parametrize("place", [(30, 40), (0, 0), (59, 33)])
def test_a_hot_pixel_does_not_set_the_white_level(tmp_path, place):
    hot = textured(1)
    hot[place] = 65535
    for name, values in (("a.tif", textured(0)), ("hot.tif", hot)):
        tifffile.imwrite(tmp_path / name, values)
    tifffile.imwrite(tmp_path / "floats.tif", np.where(hot == 65535, 1e5, hot / 3000 * 255).astype(np.float32))
    assert estimate_white_level([tmp_path / "a.tif", tmp_path / "hot.tif"]).level == 4095
    assert estimate_white_level([tmp_path / "floats.tif"]).level == 255


def test_a_small_highlight_sets_the_white_level(tmp_path):
    rows, columns = np.mgrid[:60, :70]
    light = 14000 * np.exp(-((rows - 30) ** 2 + (columns - 40) ** 2) / (2 * 1.2**2))
    tifffile.imwrite(tmp_path / "a.tif", (textured(2, 900) + light).astype(np.uint16))
    assert estimate_white_level([tmp_path / "a.tif"]).level == 16383


def test_noise_of_many_bright_pixels_sets_the_white_level(tmp_path):
    values = textured(3, 900)
    values[np.random.default_rng(4).random(values.shape) < 0.05] = 15000
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert estimate_white_level([tmp_path / "a.tif"]).level == 16383


def test_hot_pixels_are_replaced_by_what_surrounds_them(tmp_path):
    values = textured(5)
    whole = values.copy()
    values[20, 30] = 65535
    tifffile.imwrite(tmp_path / "hot.tif", values)
    tifffile.imwrite(tmp_path / "whole.tif", whole)
    repaired = decode(tmp_path / "hot.tif", white=4095, repair_hot=True)
    around = np.median(values[18:23, 28:33]) / 4095
    assert repaired[20, 30, 0] == pytest.approx(around)
    repaired[20, 30] = decode(tmp_path / "whole.tif", white=4095)[20, 30]
    np.testing.assert_array_equal(repaired, decode(tmp_path / "whole.tif", white=4095, repair_hot=True))
    assert decode(tmp_path / "hot.tif", white=4095)[20, 30, 0] == 1


def test_a_32_bit_file_does_not_make_12_bit_files_black(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", textured(6))
    tifffile.imwrite(tmp_path / "wide.tif", textured(7).astype(np.uint32) * 10**6)
    paths = [tmp_path / "a.tif", tmp_path / "wide.tif"]
    found = estimate_white_level(paths)
    assert [found.of(probe(path)) for path in paths] == [4095, 2**32 - 1]
    tifffile.imwrite(tmp_path / "wide.tif", textured(7).astype(np.uint32))
    assert [estimate_white_level(paths).of(probe(path)) for path in paths] == [4095, 4095]


def test_bytes_in_32_bit_integers_are_bytes(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", textured(8, 255).astype(np.uint32))
    assert estimate_white_level([tmp_path / "a.tif"]).level == 255


def test_the_format_may_state_the_white_level(tmp_path):
    dark = textured(9, 900)
    options = {"photometric": "minisblack", "metadata": None}
    tifffile.imwrite(tmp_path / "max.tif", dark, extratags=[(281, "H", 1, 4095, True)], **options)
    tifffile.imwrite(tmp_path / "white.tif", dark, extratags=[(50717, "H", 1, 3800, True)], **options)
    tifffile.imwrite(tmp_path / "lie.tif", textured(9), extratags=[(281, "H", 1, 1023, True)], **options)
    tifffile.imwrite(tmp_path / "none.tif", dark, extratags=[(281, "H", 1, 65535, True)], **options)
    path = save_png16(tmp_path / "sbit.png", dark)
    data = path.read_bytes()
    sbit = b"sBIT" + bytes([12])
    path.write_bytes(data[:33] + struct.pack(">I", 1) + sbit + struct.pack(">I", zlib.crc32(sbit)) + data[33:])
    names = ("max.tif", "white.tif", "lie.tif", "none.tif", "sbit.png")
    assert [estimate_white_level([tmp_path / name]).level for name in names] == [4095, 3800, 4095, 1023, 4095]
