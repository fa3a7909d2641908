from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from benchmarks._composing import GAP, compose
from blemish.evaluation.datasets import load_dataset
from blemish.synthetic.demo import make_demo

SIDE = 128


def test_composed_images_have_two_defects_apart_and_take_the_place_of_their_sources(tmp_path: Path) -> None:
    data = load_dataset(make_demo(tmp_path / "set", n_images=16, size=SIDE, types=("hole", "stain")).truth)
    out = tmp_path / "composed"
    out.mkdir()
    rest, composed = compose(data, out, 2, 0)
    assert len(composed) == 2
    assert len(rest) == len(data) - 4
    for one in composed:
        assert set(one.types) == {"hole", "stain"}
        first, second = one.masks
        assert np.asarray(Image.open(one.path)).shape == (SIDE, SIDE, 3)
        assert distance_transform_edt(~first)[second].min() >= round(GAP * SIDE)
    assert [one.types for one in compose(data, out, 2, 0)[1]] == [one.types for one in composed]
