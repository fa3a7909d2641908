from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from blemish import BlindAnomalyClustering, Config, run
from blemish.descriptors.vectors import concat_descriptors
from blemish.errors import ConfigError, InputError
from blemish.evaluation.datasets import load_dataset
from blemish.pipeline import group
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


@pytest.mark.parametrize("head", [False, True])
def test_twice_the_same_bits(folder: Path, head: bool) -> None:
    first, second = (run(folder / "images", config(n_clusters=4, contrastive__enabled=head)) for _ in range(2))
    assert first.scores.tobytes() == second.scores.tobytes()
    assert first.descriptors.tobytes() == second.descriptors.tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first.maps, second.maps, strict=True))
    np.testing.assert_array_equal(first.labels, second.labels)


def test_heads_stand_in_place_of_the_descriptors_or_beside_them(folder: Path) -> None:
    as_they_are = {
        "n_clusters": 4,
        "descriptor__normalize": False,
        "descriptor__shape_weight": 0,
        "cluster__score_weighting": "together",
    }
    none, heads = {"contrastive__enabled": False}, {"contrastive__n_heads": 2}
    images = folder / "images"
    plain, alone, both = (
        run(images, config(**as_they_are | more))
        for more in (none, heads | {"contrastive__head_weight": None}, heads | {"contrastive__head_weight": 0.5})
    )
    assert alone.descriptors.shape == (18, 64)
    np.testing.assert_array_equal(both.descriptors, concat_descriptors(plain.descriptors, alone.descriptors, 2, 0.5))


@pytest.mark.parametrize("method", ["bal", "fca", "l1", "l2"])
@pytest.mark.parametrize("model", ["vae", "pca"])
def test_every_way_to_a_map_runs(folder: Path, method: str, model: str) -> None:
    images = sorted((folder / "images").iterdir())[:6]
    scaling = "image" if model == "vae" else "set"
    settings = config(
        localization__method=method, localization__method=model, features__normalization=scaling, contrastive__enabled=False
    )
    result = run(images, settings)
    assert all(np.isfinite(one).all() for one in result.maps)
    assert result.scores.max() > 0


@pytest.mark.parametrize("method", ["ward", "kmeans", "spectral", "gmm"])
def test_every_clustering_gives_the_number_asked_for(folder: Path, method: str) -> None:
    result = run(folder / "images", config(n_clusters=3, cluster__method=method, cluster__score_weighting="together"))
    assert result.n_clusters == 3


def test_paper_preset_runs_and_squashes(folder: Path) -> None:
    images = sorted((folder / "images").iterdir())[:4]
    result = run(images, Config.from_values(FAST | {"preset": "paper", "n_clusters": 2}))
    assert [one.shape for one in result.maps] == [(12, 12)] * 4


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_handful_of_images(count: int) -> None:
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
    with pytest.raises(ConfigError, match="needs normality"):
        run([np.zeros((64, 64))] * 2, config(localization__method="bal"))
    with pytest.raises(InputError, match="array 0"):
        run([np.zeros((4, 4, 7))], config())


def test_estimator_manners(folder: Path) -> None:
    estimator = BlindAnomalyClustering(3, settings=FAST)
    assert clone(estimator).get_params() == estimator.get_params()
    labels = estimator.set_params(random_state=1).fit_predict(folder / "images")
    assert len(labels) == len(estimator.scores_) == 18
    assert estimator.n_clusters_ <= 3
    again = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(again.labels_, labels)


def test_the_estimator_says_which_images_its_rows_are(folder: Path, tmp_path: Path) -> None:
    paths = sorted((folder / "images").iterdir())
    (tmp_path / "broken.png").write_bytes(b"no")
    given = [*paths[:3], tmp_path / "broken.png", *paths[3:]]
    estimator = BlindAnomalyClustering(3, settings=FAST).fit(given)
    assert estimator.paths_ == [path.as_posix() for path in paths]
    assert len(estimator.labels_) == len(paths)
    assert [Path(one.path).name for one in estimator.skipped_] == ["broken.png"]


def test_the_gate_gathers_normal_images_whose_descriptors_mean_nothing() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2], [40, 12, 9])
    directions = np.eye(8, dtype=np.float32)[[0, 0, 1]][kinds] * (kinds > 0)[:, None]
    rows = (directions * 6 + rng.standard_normal((61, 8)) * 0.4).astype(np.float32)
    scores = np.where(kinds > 0, rng.uniform(1.5, 3, 61), rng.uniform(0.8, 0.95, 61)).astype(np.float32)
    shapes = np.zeros((61, 3), np.float32)
    for floor in (0.0, 0.5):
        settings = config(n_clusters=3, cluster__score_weighting="gate", cluster__soft_floor=floor)
        labels, normal, seen = group(rows, shapes, scores, 1.1, settings)
        assert normal == 0
        assert labels.tolist() == kinds.tolist()
        least = floor * (21 / 40)
        assert least - 1e-6 <= np.linalg.norm(seen[kinds == 0], axis=1).min()
        assert np.linalg.norm(seen[kinds == 0], axis=1).max() < least + 0.1
        assert np.linalg.norm(seen[kinds > 0], axis=1).min() > 0.9
    together, _, _ = group(rows, shapes, scores, 1.1, config(n_clusters=3, cluster__score_weighting="together"))
    assert together.tolist() != kinds.tolist()
    apart, _, _ = group(rows, shapes, scores, 1.1, config(n_clusters=3, cluster__score_weighting="split"))
    assert apart.tolist() == kinds.tolist()
    one = config(n_clusters="auto", cluster__score_weighting="split", cluster__max_clusters=1)
    assert not group(rows, shapes, scores, 1.1, one)[0].any()


@pytest.mark.parametrize("kinds", [1, 3])
@pytest.mark.parametrize("clusters", [3, "auto"])
def test_nothing_fades_where_no_image_is_anomalous(kinds: int, n_clusters: int | str) -> None:
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(kinds), 45 // kinds)
    rows = (np.eye(8, dtype=np.float32)[kind] * 6 * (kinds > 1) + rng.standard_normal((45, 8)) * 0.4).astype(np.float32)
    scores, shapes = rng.uniform(1.0, 2.0, 45).astype(np.float32), np.zeros((45, 3), np.float32)
    labels, normal, seen = group(rows, shapes, scores, float(scores.max()), config(n_clusters=clusters))
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1, rtol=1e-5)
    assert normal == 0
    if clusters == "auto":
        assert set(labels.tolist()) == {0}  # no defect, no types of it
    elif kinds == 3:
        assert len({*zip(labels.tolist(), kind.tolist(), strict=True)}) == 3


def test_copies_of_an_image_do_not_make_the_others_anomalous() -> None:
    rng = np.random.default_rng(0)
    sound = [(0.5 + 0.1 * rng.standard_normal((96, 96))).clip(0, 1).astype(np.float32) for _ in range(20)]
    blank = np.full((96, 96), 0.5, np.float32)
    settings = Config.from_values({"image.size": 96, "cache.enabled": False})
    for added, anomalous in (([sound[0]] * 4, []), ([blank] * 4, [20, 21, 22, 23])):
        result = run(sound + added, settings)
        known = run(sound + added[:1], settings)
        # one blank frame among them was always told; so are four of them
        assert set(anomalous) <= set(np.flatnonzero(result.is_anomalous))
        assert result.is_anomalous[:20].sum() <= max(3, known.is_anomalous[:20].sum())


@pytest.mark.parametrize(("scores", "groups"), [([1.0, 1.0], 1), ([1.0, 9.0], 2), ([9.0, 9.0], 1)])
def test_two_images_are_two_groups_only_if_one_is_anomalous(scores: list[float], groups: int) -> None:
    rows, shapes = np.eye(2, 8, dtype=np.float32), np.zeros((2, 3), np.float32)
    labels, _, _ = group(rows, shapes, np.array(scores, np.float32), 2.0, config(n_clusters="auto"))
    assert labels.max() + 1 == groups


@pytest.mark.parametrize("mode", ["gate", "split"])
@pytest.mark.parametrize(
    ("sizes", "groups"), [((0, 14, 11, 9), 3), ((60, 1), 2), ((60, 3), 2), ((57, 20), 2), ((40, 12, 10, 9), 4)]
)
def test_the_number_of_groups_is_that_of_the_types_and_one_for_the_normal_images(
    sizes: tuple[int, ...], groups: int, mode: str
) -> None:
    rng = np.random.default_rng(len(sizes))
    kinds = np.repeat(np.arange(len(sizes)), sizes)
    # no two normal images are alike: whatever they differ by is no type
    means = np.vstack([np.zeros(24), 4 * np.eye(24)[: len(sizes) - 1]])[kinds]
    rows = (means + rng.standard_normal((len(kinds), 24)) * np.where(kinds > 0, 0.5, 2.0)[:, None]).astype(np.float32)
    scores = np.where(kinds > 0, 3.0, 1.0).astype(np.float32)
    settings = config(n_clusters="auto", cluster__score_weighting=mode)
    labels, normal, _ = group(rows, np.zeros((len(rows), 3), np.float32), scores, 2.0, settings)
    assert labels.max() + 1 == groups == len(set(zip(labels.tolist(), kinds.tolist(), strict=True)))
    assert normal == (0 if sizes[0] else None)


def test_groups_are_made_of_the_descriptors_and_counted_in_those_without_heads() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat(np.arange(4), (20, 12, 12, 12))
    scores, shapes = np.where(kinds > 0, 3.0, 1.0).astype(np.float32), np.zeros((56, 3), np.float32)

    def around(means: np.ndarray) -> np.ndarray:
        return (means + 0.3 * rng.standard_normal(means.shape)).astype(np.float32)

    plain = around(4 * np.eye(24)[kinds])
    merged = around(4 * np.eye(24)[np.minimum(kinds, 2)])  # the last two types are one
    settings = config(n_clusters="auto")
    assert group(plain, shapes, scores, 2.0, settings)[0].max() + 1 == 4
    assert group(merged, shapes, scores, 2.0, settings)[0].max() + 1 == 3
    assert group(merged, shapes, scores, 2.0, settings, counted=plain)[0].max() + 1 == 4
    labels, _, seen = group(plain, shapes, scores, 2.0, settings, counted=merged)
    assert labels.max() + 1 == 3
    np.testing.assert_array_equal(seen, group(plain, shapes, scores, 2.0, config(n_clusters=3))[2])
    np.testing.assert_array_equal(labels, group(plain, shapes, scores, 2.0, config(n_clusters=3))[0])
