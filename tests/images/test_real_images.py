from __future__ import annotations

from pathlib import Path

import pytest

from blemish.images import (
    decode,
    estimate_white_level,
    find_images,
    plan_sizes,
    probe,
    resize,
)

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real image sets next to the repository")
@pytest.mark.parametrize(
    "name", ["mtd/magnetic/test/crack", "mvtec-leather/leather/test/cut", "bracol-leaf/leaf/test/rust"]
)
def test_real_images_are_decoded_and_resized(name):
    paths = find_images(DATA / name)[:5]
    infos = [probe(p) for p in paths]
    assert estimate_white_level(paths).level is None
    for path, info, (height, width) in zip(paths, infos, plan_sizes(infos, 320), strict=True):
        image = decode(path)
        assert image.shape == (info.height, info.width, 3)
        assert 0.02 < image.std() < 0.5
        assert resize(image, height, width).shape == (height, width, 3)
