from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from blemish import Config, run
from blemish.descriptors.vectors import concat_descriptors
from blemish.errors import ConfigError, InputError
from blemish.evaluation.datasets import load_dataset
from blemish.synthetic.demo import make_demo

FAST = {
    "image.size": 96,
    "localization.sample_images": 16,
    "localization.vae.steps": 20,
    "contrastive.epochs": 1,
    "cache.enabled": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    make_demo(root, n_images=18, size=128, seed=1)
    return root


def config(**values: object) -> Config:
    return Config.from_values(FAST | {key.replace("__", "."): value for key, value in values.items()})


def test_defects_score_higher_and_the_run_is_complete(folder: Path) -> None:
    result = run(folder / "images", config(image__size=128))
    truth = load_dataset(folder / "truth" / "labels.csv")
    names = {path.name: label for path, label in zip(truth.paths, truth.labels, strict=True)}
    defect = [names[Path(path).name] not in ("good", "normal") for path in result.paths]
    assert roc_auc_score(defect, result.scores) > 0.75
    assert len(result.maps) == len(result.labels) == len(result.paths) == 18
    assert all(np.isfinite(one).all() and one.min() >= 0 for one in result.maps)
    assert set(result.labels.tolist()) == set(range(result.n_clusters))


def test_pin_holes_in_long_strips_make_their_images_anomalous_if_their_size_is_stated() -> None:
    rng = np.random.default_rng(0)
    noise = (gaussian_filter(rng.standard_normal((64, 2560)), 1.5) for _ in range(8))
    strips = [np.clip(128 + 72 * one, 0, 255).astype(np.uint8) for one in noise]
    for one in strips[:3]:
        one[30:34, 400:404] = 20
    values = {"image__size": "native", "contrastive__enabled": False}
    assert not run(strips, config(**values)).is_anomalous.any()  # 16 of 160,000 pixels
    found = run(strips, config(**values, localization__smallest_defect=4))
    assert found.is_anomalous[:3].all()
    assert found.scores[:3].min() > found.scores[3:].max()


@pytest.mark.parametrize("head", [False, True])
def test_two_runs_give_the_same_bits(folder: Path, head: bool) -> None:
    first, second = (run(folder / "images", config(n_clusters=4, contrastive__enabled=head)) for _ in range(2))
    assert first.scores.tobytes() == second.scores.tobytes()
    assert first.descriptors.tobytes() == second.descriptors.tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first.maps, second.maps, strict=True))
    np.testing.assert_array_equal(first.labels, second.labels)


@pytest.mark.parametrize(
    "values",
    [{}, {"localization__method": "vae_fca", "localization__vae__steps": 40, "features__normalization": "image"}],
)
def test_names_and_order_of_the_files_decide_nothing(folder: Path, tmp_path: Path, values: dict[str, object]) -> None:
    given = sorted((folder / "images").iterdir())
    renamed = [tmp_path / f"{(7 * place) % len(given):02d}{path.suffix}" for place, path in enumerate(given)]
    for old, new in zip(given, renamed, strict=True):
        shutil.copy(old, new)
    settings = config(n_clusters=4, localization__sample_images=9, contrastive__pixel_budget_mb=1, **values)
    first, second = run(folder / "images", settings), run(tmp_path, settings)
    place = {name: row for row, name in enumerate(second.paths)}
    rows = [place[path.name] for path in renamed]
    assert rows != list(range(len(rows)))
    np.testing.assert_array_equal(first.labels, second.labels[rows])
    assert first.descriptors.tobytes() == second.descriptors[rows].tobytes()
    assert all(np.array_equal(one, second.maps[row]) for one, row in zip(first.maps, rows, strict=True))


def test_descriptors_of_heads_replace_the_plain_ones_or_are_concatenated(folder: Path) -> None:
    as_they_are = {
        "n_clusters": 4,
        "descriptor__normalize": False,
        "descriptor__shape_weight": 0,
        "cluster__score_weighting": "none",
    }
    none, heads = {"contrastive__enabled": False}, {"contrastive__n_heads": 2}
    images = folder / "images"
    plain, alone, both = (
        run(images, config(**as_they_are | more))
        for more in (none, heads | {"contrastive__head_weight": None}, heads | {"contrastive__head_weight": 0.5})
    )
    assert alone.descriptors.shape == (18, 64)
    np.testing.assert_array_equal(both.descriptors, concat_descriptors(plain.descriptors, alone.descriptors, 2, 0.5))


@pytest.mark.parametrize("method", ["knn", "vae_fca", "pca_fca", "fca", "vae_l1", "vae_l2"])
def test_every_localization_method_runs(folder: Path, method: str) -> None:
    images = sorted((folder / "images").iterdir())[:6]
    normalization = "image" if method.startswith("vae") else "dataset"
    settings = config(localization__method=method, features__normalization=normalization, contrastive__enabled=False)
    result = run(images, settings)
    assert all(np.isfinite(one).all() for one in result.maps)
    assert result.scores.max() > 0


@pytest.mark.parametrize("method", ["ward", "kmeans", "spectral", "gmm"])
def test_every_clustering_method_gives_the_number_of_groups_asked_for(folder: Path, method: str) -> None:
    result = run(folder / "images", config(n_clusters=3, cluster__method=method, cluster__score_weighting="none"))
    assert result.n_clusters == 3


def test_paper_preset_stretches_images_to_squares(folder: Path) -> None:
    images = sorted((folder / "images").iterdir())[:4]
    result = run(images, Config.from_values(FAST | {"preset": "paper", "n_clusters": 2}))
    assert [one.shape for one in result.maps] == [(12, 12)] * 4


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_images_give_finite_results(count: int) -> None:
    images = [np.random.default_rng(i).random((64, 96, 3)).astype(np.float32) for i in range(count)]
    result = run(images, config())
    assert len(result.labels) == count
    assert np.isfinite(result.scores).all()
    assert np.isfinite(result.descriptors).all()
    assert result.maps[0].shape[0] < result.maps[0].shape[1]


def test_identical_images_are_all_normal() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    result = run([image] * 5, config())
    assert not result.is_anomalous.any()
    assert result.labels.tolist() == [0] * 5
    assert result.normal_label == 0


def test_constant_images_have_zero_maps() -> None:
    result = run([np.full((64, 64), 90, np.uint8)] * 3, config())
    assert all((one == 0).all() for one in result.maps)


def test_an_unreadable_file_is_skipped_and_named(folder: Path, tmp_path: Path) -> None:
    for path in sorted((folder / "images").iterdir())[:3]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "broken.png").write_bytes(b"not an image")
    result = run(tmp_path, config())
    assert [one.path for one in result.skipped] == ["broken.png"]
    assert len(result.paths) == 3


def test_bad_input_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        run(tmp_path, config())
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(InputError, match="no readable image"):
        run(tmp_path, config())
    with pytest.raises(ConfigError, match="there are 2 images"):
        run([np.zeros((64, 64))] * 2, config(n_clusters=3))
    with pytest.raises(ConfigError, match="needs non-negative features"):
        config(localization__method="vae_fca")
    with pytest.raises(InputError, match="array 0"):
        run([np.zeros((4, 4, 7))], config())


def test_copies_of_an_image_do_not_make_the_others_anomalous() -> None:
    rng = np.random.default_rng(0)
    normal = [(0.5 + 0.1 * rng.standard_normal((96, 96))).clip(0, 1).astype(np.float32) for _ in range(20)]
    blank = np.full((96, 96), 0.5, np.float32)
    settings = Config.from_values({"image.size": 96, "cache.enabled": False, "contrastive.enabled": False})
    for added, anomalous in (([normal[0]] * 4, []), ([blank] * 4, [20, 21, 22, 23])):
        result = run(normal + added, settings)
        single = run(normal + added[:1], settings)
        # four copies of a blank image are as anomalous as one
        assert set(anomalous) <= set(np.flatnonzero(result.is_anomalous))
        assert result.is_anomalous[:20].sum() <= max(3, single.is_anomalous[:20].sum())
