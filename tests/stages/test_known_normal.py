from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blemish import Config, run
from blemish.clustering import with_normal
from blemish.images import ImageSource
from blemish.stages.known_normal import choose_sample, settings_for_normal
from blemish.synthetic.demo import make_demo
from helpers.fitted import FAST


def test_few_known_images_change_no_setting() -> None:
    config = Config()
    assert settings_for_normal(config, 3) is config


def test_the_model_is_fitted_to_known_images_and_features_are_scaled_by_the_first_of_all() -> None:
    order, sizes = [5, 3, 9, 0, 7, 1, 8, 2, 6, 4], [(4, 4)] * 10
    few = choose_sample(order, sizes, {0, 1, 2}, most=4)
    assert few.scaling == few.normal == {5, 3, 9, 0}
    known = choose_sample(order, sizes, set(range(1, 10)), most=4)
    assert known.scaling == {5, 3, 9, 0}
    assert known.normal == {5, 3, 9, 7}
    assert known.all == {5, 3, 9, 0, 7}


@pytest.mark.parametrize("count", [10, 40, 1000])
def test_the_memory_bank_keeps_its_size_and_removes_nothing(count: int) -> None:
    config = Config()
    bank, before = settings_for_normal(config, count).localization.memory_bank, config.localization.memory_bank
    images = config.localization.sample_images
    assert bank.outlier_fraction == bank.image_quantile == 0
    assert bank.patches_per_image * min(count, images) == pytest.approx(before.patches_per_image * images, rel=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("known")
    make_demo(root, n_images=24, size=128, seed=4)
    truth = (root / "truth" / "labels.csv").read_text().splitlines()[1:]
    good = [Path(line.split(",")[0]).name for line in truth if line.split(",")[1] in ("good", "normal")]
    (root / "good").mkdir()
    for name in good[:8]:
        (root / "images" / name).rename(root / "good" / name)
    return root


def test_a_folder_of_normal_images_is_used_and_not_in_the_result(folder: Path) -> None:
    config = Config.from_values(FAST)
    source = ImageSource(folder / "images", config.image, also=folder / "good")
    result = run(source, config)
    assert len(result.paths) == len(source) == len(list((folder / "images").iterdir()))
    assert not any("known normal" in path for path in result.paths)
    assert result.model is not None
    again = result.model.predict(folder / "images")
    np.testing.assert_array_equal(again.labels, result.labels)
    assert not result.model.predict(folder / "good").is_anomalous.all()


def test_known_images_in_the_folder_are_normal_and_nothing_known_changes_nothing(folder: Path) -> None:
    config = Config.from_values(FAST)
    plain = run(folder / "images", config)
    assert run(folder / "images", config, knowledge=with_normal(None, [])).scores.tolist() == plain.scores.tolist()
    wrong = [path for path, anomalous in zip(plain.paths, plain.is_anomalous, strict=True) if anomalous][:2]
    told = run(folder / "images", config, knowledge=with_normal(None, wrong))
    rows = [told.paths.index(path) for path in wrong]
    assert not told.is_anomalous[rows].any()
    assert (told.labels[rows] == told.normal_label).all()


def test_known_images_are_what_the_map_is_made_from_and_change_no_scaling_of_features(folder: Path) -> None:
    config = Config.from_values(FAST)
    images = sorted((folder / "images").iterdir()) + sorted((folder / "good").iterdir())
    names = ImageSource(images, config.image).names
    plain, told = run(images, config), run(images, config, knowledge=with_normal(None, names[-8:]))
    assert plain.model is not None
    assert told.model is not None
    one, other = plain.model.localization, told.model.localization
    np.testing.assert_array_equal(one.normalizer.scale, other.normalizer.scale)
    np.testing.assert_array_equal(one.covariance, other.covariance)
    assert len(told.model.sample_ids) == 8 < len(plain.model.sample_ids)
    again = told.model.predict(images)
    np.testing.assert_allclose(again.scores, told.scores, rtol=1e-5)
