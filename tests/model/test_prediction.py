from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blemish import BlindAnomalyClustering, Config, FittedModel, Result, run
from blemish.errors import InputError
from helpers.fitted import FAST, changed, read


def assert_alike(found: Result, expected: Result) -> None:
    assert found.paths == expected.paths
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_allclose(found.descriptors, expected.descriptors, atol=1e-5)
    assert all(np.abs(a - b).max() < 1e-5 for a, b in zip(found.maps, expected.maps, strict=True))
    assert [(one.image, one.label, one.left, one.top) for one in found.regions] == [
        (one.image, one.label, one.left, one.top) for one in expected.regions
    ]


def test_fitted_images_get_what_the_run_gave_them(folder: Path, fitted: Result, model: FittedModel) -> None:
    assert_alike(model.predict(folder / "images"), fitted)


@pytest.mark.parametrize(
    "values",
    [
        {"preset": "paper", "localization.vae.steps": 20, "contrastive.max_steps": 30},
        {"cluster.group_by": "image"},
        {"contrastive.enabled": False, "cluster.score_weighting": "hard", "localization.method": "pca_fca"},
    ],
)
def test_other_settings_are_repeated_as_well(folder: Path, tmp_path: Path, values: dict[str, object]) -> None:
    result = run(folder / "images", Config.from_values(FAST | {"image.size": 64} | values))
    assert isinstance(result.model, FittedModel)
    result.model.save(tmp_path)
    assert_alike(FittedModel.load(tmp_path).predict(folder / "images"), result)


def test_one_image_alone_gets_what_it_gets_among_others(folder: Path, model: FittedModel) -> None:
    together = model.predict(folder / "later")
    paths = sorted((folder / "later").iterdir())
    for i, path in enumerate(paths):
        alone = model.predict([path])
        assert alone.labels[0] == together.labels[i]
        assert alone.scores[0] == together.scores[i]
        assert np.array_equal(alone.maps[0], together.maps[i])


def test_files_and_arrays_give_the_same(folder: Path, model: FittedModel) -> None:
    from PIL import Image

    paths = sorted((folder / "later").iterdir())[:2]
    arrays = [np.asarray(Image.open(path)) for path in paths]
    assert model.predict(arrays).scores.tolist() == model.predict(paths).scores.tolist()


def test_another_size_is_brought_to_the_scale_of_the_fitted_images(folder: Path, model: FittedModel) -> None:
    image = read(sorted((folder / "later").iterdir())[0])
    tall = np.concatenate([image, image[::-1]])
    result = model.predict([image, tall])
    assert result.maps[1].shape == (2 * result.maps[0].shape[0], result.maps[0].shape[1])
    assert result.sizes.tolist() == [[128, 128], [256, 128]]


def test_another_material_and_another_light_are_noticed(folder: Path, tmp_path: Path, model: FittedModel) -> None:
    assert model.predict(folder / "later").drift_warning is None
    rng = np.random.default_rng(0)
    noise = [rng.random((128, 128, 3), np.float32) for _ in range(3)]
    dark = changed(folder / "later", tmp_path / "dark", lambda image: image * 0.4)
    for other in (noise, dark):
        result = model.predict(other)
        assert "unlike the images that the model was fitted to" in (result.drift_warning or "")
        assert len(result.info["unfamiliar"]) > len(result.paths) / 2


def test_images_of_another_depth_are_refused(model: FittedModel) -> None:
    with pytest.raises(InputError, match="more than 8 bits"):
        model.predict([np.full((64, 64), 4000, np.uint16)])


def test_other_weights_are_refused(folder: Path, model: FittedModel) -> None:
    with pytest.raises(InputError, match="other weights"):
        replace(model, weights_sha256="0" * 64).predict(folder / "later")


def test_the_estimator_predicts_and_comes_back_from_a_folder(folder: Path, tmp_path: Path) -> None:
    settings = {key: value for key, value in FAST.items() if key != "n_clusters"}
    estimator = BlindAnomalyClustering(4, config=settings).fit(folder / "images")
    labels = estimator.predict(folder / "images")
    np.testing.assert_array_equal(labels, estimator.labels_)
    estimator.save(tmp_path / "model")
    again = BlindAnomalyClustering.load(tmp_path / "model")
    later = folder / "later"
    np.testing.assert_array_equal(again.predict(later), estimator.predict(later))
    np.testing.assert_array_equal(again.score_samples(later), estimator.inspect(later).scores)
    assert again.transform(later).shape == (6, estimator.descriptors_.shape[1])
