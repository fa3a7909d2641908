from __future__ import annotations

import numpy as np
import pytest
import tifffile

from blemish.errors import InputError
from blemish.images import (
    decode,
    estimate_white_level,
    probe,
)
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
    assert estimate_white_level([dim, plain, bright]) == level
    assert estimate_white_level([bright, tmp_path / "gone.png", dim]) == level
    infos = [probe(dim), None, probe(bright)]
    assert estimate_white_level([dim, plain, bright], infos=infos) == level


def test_white_level_is_not_needed_for_8_bits_and_for_unit_floats(tmp_path):
    plain = save(tmp_path / "plain.png", RGB)
    tifffile.imwrite(tmp_path / "f.tif", (GRAY / 255).astype(np.float32))
    assert estimate_white_level([plain]) is None
    assert estimate_white_level([]) is None
    assert estimate_white_level([plain, tmp_path / "f.tif"]) is None
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
    assert estimate_white_level([tmp_path / "f.tif"]) == level


def test_floats_that_ring_over_white_are_clipped_and_leave_the_others_as_they_are(tmp_path):
    for name, top in (("even.tif", 1.0), ("over.tif", 1.001)):
        tifffile.imwrite(tmp_path / name, np.linspace(0, top, 30, dtype=np.float32).reshape(5, 6))
    white = estimate_white_level([tmp_path / "even.tif", tmp_path / "over.tif"])
    for name in ("even.tif", "over.tif"):
        found = decode(tmp_path / name, white=white)
        assert found.max() == 1.0
        assert abs(float(found.mean()) - 0.5) < 1e-3


def test_the_same_seed_samples_the_same_files(tmp_path):
    paths = [save_png16(tmp_path / f"{i}.png", gradient(4, 5, 1, 900 if i else 60000)) for i in range(12)]
    levels = [estimate_white_level(paths, sample=2, seed=seed) for seed in range(40)]
    assert levels == [estimate_white_level(paths, sample=2, seed=seed) for seed in range(40)]
    assert set(levels) == {1023.0, 65535.0}
    assert estimate_white_level(paths, sample=12) == 65535
