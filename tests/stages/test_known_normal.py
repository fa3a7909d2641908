from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blemish import Config, run
from blemish.clustering import with_normal
from blemish.images import ImageSource
from blemish.stages.known_normal import settings_for_normal
from blemish.synthetic.demo import make_demo
from helpers.fitted import FAST


def test_few_known_images_change_no_setting() -> None:
    config = Config()
    assert settings_for_normal(config, 3) is config


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
