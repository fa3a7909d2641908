from __future__ import annotations

import numpy as np

from blemish.localization import fit_familiarity
from blemish.types import FloatArray


def images(count: int, seed: int, level: float = 1.0, shift: float = 0.0) -> tuple[list[FloatArray], FloatArray]:
    rng = np.random.default_rng(seed)
    maps = [(level * rng.uniform(0.9, 1.1) * rng.random((8, 9))).astype(np.float32) for _ in range(count)]
    return maps, rng.normal(shift, 1, (count, 16)).astype(np.float32)


def test_images_like_the_fitted_ones_are_familiar_and_no_warning_is_given() -> None:
    familiarity = fit_familiarity(*images(40, 0))
    unfamiliar = familiarity.unfamiliar(*images(40, 1))
    assert not unfamiliar.any()
    assert familiarity.warning(unfamiliar) is None


def test_higher_maps_or_other_features_everywhere_are_noticed() -> None:
    familiarity = fit_familiarity(*images(40, 0))
    for other in (images(10, 1, level=4.0), images(10, 1, shift=6.0)):
        unfamiliar = familiarity.unfamiliar(*other)
        assert unfamiliar.all()
        assert "10 of 10 images look unlike" in (familiarity.warning(unfamiliar) or "")


def test_a_local_defect_does_not_make_an_image_unfamiliar() -> None:
    familiarity = fit_familiarity(*images(40, 0))
    maps, surfaces = images(5, 1)
    for one in maps:
        one[:2, :3] = 50
    assert not familiarity.unfamiliar(maps, surfaces).any()


def test_few_unfamiliar_images_are_no_reason_for_a_warning() -> None:
    familiarity = fit_familiarity(*images(40, 0))
    assert familiarity.warning(np.array([True, False, False])) is None
    assert familiarity.warning(np.array([True, True, False])) is not None
    assert familiarity.warning(np.zeros(0, bool)) is None


def test_one_constant_image_can_be_fitted() -> None:
    maps, surfaces = [np.zeros((3, 4), np.float32)], np.zeros((1, 5), np.float32)
    assert not fit_familiarity(maps, surfaces).unfamiliar(maps, surfaces).any()
