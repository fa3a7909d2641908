from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator
from sklearn.utils.validation import check_is_fitted

from blemish import BlindAnomalyClustering, Config
from blemish.errors import BlemishError, ConfigError, InputError
from blemish.results import Result
from blemish.runtime import spill
from blemish.synthetic.demo import make_demo

FAST: dict[str, Any] = {
    "image.size": 64,
    "localization.sample_images": 8,
    "localization.memory_bank.patches_per_image": 16,
    "contrastive.enabled": False,
    "cache.enabled": False,
}

ARGUMENTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "n_clusters": (3, {"n_clusters": 3}),
    "backbone": ("random:1", {"backbone.name": "random:1"}),
    "image_size": (48, {"image.size": 48}),
    "localization": ("fca", {"localization.method": "fca"}),
    "threshold": (0.5, {"localization.threshold": 0.5}),
    "n_heads": (2, {"contrastive.enabled": True, "contrastive.n_heads": 2}),
    "clusterer": ("kmeans", {"cluster.method": "kmeans"}),
    "cache": (False, {"cache.enabled": False}),
    "device": ("cpu", {"device": "cpu"}),
    "random_state": (7, {"seed": 7}),
}
"""Argument -> a value, and the same as settings."""

OTHER_ARGUMENTS: dict[str, Any] = {"n_jobs": 1, "verbose": True, "config": {"image.resize": "image"}}
"""Arguments that stand for no setting."""

VALUES = {name: value for name, (value, _) in ARGUMENTS.items()} | OTHER_ARGUMENTS


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    make_demo(root, n_images=9, size=64, seed=1)
    return root / "images"


def fitted(images: Path, **arguments: Any) -> BlindAnomalyClustering:
    return BlindAnomalyClustering(**{"config": FAST, **arguments}).fit(images)


def same_results(one: BlindAnomalyClustering, other: BlindAnomalyClustering) -> bool:
    arrays = ("labels_", "scores_", "descriptors_", "is_anomalous_")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in arrays)


# Arguments


def test_these_tests_cover_every_argument() -> None:
    assert set(VALUES) == set(BlindAnomalyClustering().get_params())


@pytest.mark.parametrize("name", VALUES)
def test_every_argument_survives_set_params_and_clone(name: str) -> None:
    estimator = BlindAnomalyClustering().set_params(**{name: VALUES[name]})
    assert estimator.get_params()[name] is VALUES[name]
    copy = clone(estimator)
    assert copy is not estimator
    assert copy.get_params() == estimator.get_params()
    assert copy.get_params() == BlindAnomalyClustering(**{name: VALUES[name]}).get_params()


def test_a_clone_of_a_fitted_estimator_is_not_fitted(images: Path) -> None:
    assert not hasattr(clone(fitted(images)), "labels_")


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_equals_the_same_settings_given_as_config(images: Path, name: str) -> None:
    value, settings = ARGUMENTS[name]
    base = FAST | {"contrastive.epochs": 1}
    as_argument, as_config = fitted(images, config=base, **{name: value}), fitted(images, config=base | settings)
    assert as_argument.result_.info["settings"] == as_config.result_.info["settings"]
    assert same_results(as_argument, as_config)
    # and the argument decides if both are given
    opposite = {"n_clusters": 2, "localization.threshold": 9.0, "seed": 3, "contrastive.enabled": False}
    both = fitted(images, config=base | opposite, **{name: value})
    assert {key: _setting(both, key) for key in settings} == settings


def _setting(estimator: BlindAnomalyClustering, key: str) -> Any:
    value = estimator.result_.info["settings"]
    for part in key.split("."):
        value = value[part]
    return value


def test_auto_threshold_takes_precedence_over_a_number_in_config(images: Path) -> None:
    config = FAST | {"localization.threshold": 0.5}
    assert _setting(fitted(images, config=config), "localization.threshold") == 0.5
    assert _setting(fitted(images, config=config, threshold="auto"), "localization.threshold") == "auto"


def test_an_automatic_number_of_groups_leaves_a_number_in_config(images: Path) -> None:
    config = FAST | {"n_clusters": 2}
    assert _setting(fitted(images, config=config), "n_clusters") == 2
    assert _setting(fitted(images, config=config, n_clusters="auto"), "n_clusters") == 2
    assert _setting(fitted(images, config=config, n_clusters=3), "n_clusters") == 3


def test_no_heads_means_no_contrastive_training(images: Path) -> None:
    with_heads = {**FAST, "contrastive.enabled": True, "contrastive.epochs": 1}
    none = fitted(images, config=with_heads, n_heads=0)
    assert same_results(none, fitted(images))
    assert "contrastive_heads" not in none.result_.timings
    assert "contrastive_heads" in fitted(images, config=with_heads).result_.timings


@pytest.mark.parametrize("kind", ["Config", "mapping", "nested mapping", "toml", "yaml", "text path"])
def test_config_is_accepted_in_every_form(images: Path, tmp_path: Path, kind: str) -> None:
    settings = Config.from_values(FAST | {"seed": 5})
    toml, yaml = tmp_path / "settings.toml", tmp_path / "settings.yaml"
    toml.write_text(settings.to_toml())
    yaml.write_text("\n".join(f"{key}: {str(value).lower()}" for key, value in (FAST | {"seed": 5}).items()))
    forms: dict[str, Any] = {
        "Config": settings,
        "mapping": FAST | {"seed": 5},
        "nested mapping": settings.model_dump(),
        "toml": toml,
        "yaml": yaml,
        "text path": str(toml),
    }
    estimator = fitted(images, config=forms[kind])
    assert estimator.result_.info["settings"] == settings.model_dump(mode="json")


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_cache_folder_turns_the_cache_on_and_is_used(
    images: Path, tmp_path: Path, as_type: Callable[[Path], Any]
) -> None:
    folder = tmp_path / "intermediate"
    first = fitted(images, cache=as_type(folder))
    assert any(folder.rglob("*"))
    second = fitted(images, cache=as_type(folder))
    assert same_results(first, second)
    assert second.result_.info["cache"] != first.result_.info["cache"]


def test_numbers_of_numpy_are_accepted(images: Path) -> None:
    estimator = fitted(
        images,
        n_clusters=np.int64(2),
        threshold=np.float64(0.5),
        n_heads=np.int64(0),
        random_state=np.int64(3),
        n_jobs=np.int64(1),
        cache=np.False_,
    )
    assert estimator.threshold_ == 0.5
    assert not _setting(estimator, "contrastive.enabled")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_clusters", 0),
        ("n_clusters", "many"),
        ("backbone", ""),
        ("image_size", 5),
        ("localization", "nearest"),
        ("threshold", -1.0),
        ("n_heads", -1),
        ("n_heads", "two"),
        ("n_heads", 1.5),
        ("clusterer", "dbscan"),
        ("cache", 5),
        ("n_jobs", 0),
        ("n_jobs", -2),
        ("n_jobs", "all"),
        ("n_jobs", 1.5),
        ("device", "tpu"),
        ("random_state", -1),
        ("random_state", np.random.RandomState(0)),
        ("config", 5),
        ("config", [("seed", 1)]),
    ],
)
def test_a_bad_argument_is_refused_by_fit_in_one_line_that_names_it(images: Path, name: str, value: object) -> None:
    estimator = BlindAnomalyClustering().set_params(**{"config": FAST, name: value})
    with pytest.raises(ConfigError, match=f"^argument {name}: ") as caught:
        estimator.fit(images)
    assert "\n" not in str(caught.value)


def test_an_unknown_argument_or_setting_is_refused(images: Path) -> None:
    with pytest.raises(ValueError, match="Invalid parameter 'clusters'"):
        BlindAnomalyClustering().set_params(clusters=3)
    with pytest.raises(ConfigError, match=r"config: unknown setting 'image\.sise'"):
        fitted(images, config={"image.sise": 64})


@pytest.mark.parametrize("n_jobs", [1, 3, -1, None])
def test_the_number_of_threads_is_restored_after_fit_and_after_an_error(
    images: Path, tmp_path: Path, n_jobs: int | None
) -> None:
    before = torch.get_num_threads()
    fitted(images, n_jobs=n_jobs)
    assert torch.get_num_threads() == before
    with pytest.raises(BlemishError):
        fitted(tmp_path, n_jobs=n_jobs)
    assert torch.get_num_threads() == before


def test_fit_computes_with_the_number_of_threads_asked_for(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    from blemish.features.extractor import Extractor

    raw = Extractor.raw
    monkeypatch.setattr(Extractor, "raw", lambda *args: seen.append(torch.get_num_threads()) or raw(*args))
    for n_jobs in (1, 3):
        fitted(images, n_jobs=n_jobs)
        assert set(seen) == {n_jobs}
        seen.clear()


@pytest.mark.parametrize("verbose", [True, False])
def test_progress_is_shown_on_stderr_only_if_verbose(
    images: Path, capsys: pytest.CaptureFixture[str], verbose: bool
) -> None:
    fitted(images, verbose=verbose)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("Computing anomaly maps" in shown.err) == verbose


# Results


def test_attributes_are_the_rows_of_the_result(images: Path) -> None:
    estimator = fitted(images, n_clusters=3)
    result = estimator.result_
    assert len(estimator.labels_) == len(estimator.scores_) == len(estimator.anomaly_maps_) == 9
    assert estimator.n_clusters_ == len(set(estimator.labels_.tolist())) <= 3
    np.testing.assert_array_equal(estimator.is_anomalous_, estimator.scores_ > estimator.threshold_)
    assert estimator.normal_label_ in (0, None)
    assert estimator.descriptors_ is result.descriptors
    assert fitted(images, n_clusters=3).fit_predict(images).tolist() == estimator.labels_.tolist()


def test_rows_belong_to_the_readable_images_by_name(images: Path, tmp_path: Path) -> None:
    paths = sorted(images.iterdir())
    (tmp_path / "broken.png").write_bytes(b"no")
    estimator = BlindAnomalyClustering(config=FAST).fit([*paths[:3], tmp_path / "broken.png", *paths[3:]])
    assert estimator.paths_ == [path.as_posix() for path in paths]
    assert len(estimator.labels_) == len(paths)
    assert [Path(one.path).name for one in estimator.skipped_] == ["broken.png"]


def test_arrays_give_the_same_results_as_one_array_or_a_list() -> None:
    stack = np.random.default_rng(0).integers(0, 255, (5, 48, 64, 3), dtype=np.uint8)
    one, other = (BlindAnomalyClustering(config=FAST).fit(given) for given in (stack, list(stack)))
    assert same_results(one, other)


def test_fitting_again_forgets_the_former_images(images: Path) -> None:
    estimator = fitted(images)
    few = sorted(images.iterdir())[:4]
    assert same_results(estimator.fit(few), BlindAnomalyClustering(config=FAST).fit(few))
    assert len(estimator.labels_) == len(estimator.paths_) == 4


def test_a_pickled_estimator_has_the_same_parameters_and_results(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "HELD_BYTES", 0)
    estimator = fitted(images)
    again = pickle.loads(pickle.dumps(estimator))
    assert again.get_params() == estimator.get_params()
    assert same_results(again, estimator)
    for one, other in zip(again.anomaly_maps_, estimator.anomaly_maps_, strict=True):
        np.testing.assert_array_equal(one, other)


def test_maps_in_a_temporary_file_are_read_one_at_a_time(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = fitted(images)
    monkeypatch.setattr(spill, "HELD_BYTES", 0)
    estimator = fitted(images)
    reads: list[object] = []
    read = spill.ArrayStore.read
    monkeypatch.setattr(spill.ArrayStore, "read", lambda *args: reads.append(args) or read(*args))
    maps = estimator.anomaly_maps_
    assert not isinstance(maps, list | tuple | np.ndarray)
    assert len(maps) == 9
    assert reads == []
    fourth = maps[4]
    assert len(reads) == 1
    np.testing.assert_array_equal(fourth, held.anomaly_maps_[4])


# Checks of scikit-learn


class OnTables(BlindAnomalyClustering):
    """The estimator on tables of numbers, which the checks of scikit-learn give: each row becomes a small image."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags

    def fit(self, X: Any, y: object = None) -> OnTables:
        table = np.asarray(X, np.float64)
        self.low_, self.span_ = float(table.min()), max(float(np.ptp(table)), 1e-9)
        super().fit(self._images(table), y)
        return self

    def _images(self, table: Any) -> list[np.ndarray]:
        rows = np.clip((np.asarray(table, np.float64) - self.low_) / self.span_, 0, 1)
        return [np.resize(np.repeat(row, 4), (32, 32)).astype(np.float32) for row in rows]

    def inspect(self, X: Any) -> Result:
        check_is_fitted(self, "model_")
        if np.ndim(X) != 2:
            raise ValueError("Expected 2D array. Reshape your data")
        return super().inspect(self._images(X))


def _name(check: Any) -> str:
    return getattr(check, "func", check).__name__


TABLE_ONLY = "the input is images, not a table with a number of features: the image reader checks it"
EXPECTED_FAILURES: dict[str, str] = {
    "check_n_features_in": "images have no number of features",
    "check_n_features_in_after_fitting": "images have no number of features",
    "check_transformer_data_not_an_array": "images have no number of features",
    "check_transformer_general": "images have no number of features",
    "check_complex_data": TABLE_ONLY,
    "check_estimators_empty_data_messages": TABLE_ONLY,
    "check_estimators_nan_inf": TABLE_ONLY,
    "check_estimator_sparse_tag": TABLE_ONLY,
    "check_estimator_sparse_array": TABLE_ONLY,
    "check_estimator_sparse_matrix": TABLE_ONLY,
    "check_fit1d": TABLE_ONLY,
}
"""Checks of scikit-learn that do not apply to images, and the reason. They fail; :func:`test_input_that_is_not_images_is_refused`
has what holds in their place."""

SKIPPED = {"check_array_api_input"}
"""Checks that scikit-learn itself skips unless the environment variable SCIPY_ARRAY_API is set."""

CHECKS = [
    (estimator, check)
    for estimator, check in estimator_checks_generator(OnTables(config=FAST | {"image.size": 32}))
    if _name(check) not in SKIPPED
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=[_name(check) for _, check in CHECKS])
def test_checks_of_scikit_learn(estimator: OnTables, check: Any, request: pytest.FixtureRequest) -> None:
    if reason := EXPECTED_FAILURES.get(_name(check)):
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    check(estimator)


@pytest.mark.parametrize(
    "X",
    [
        [],
        np.zeros(4),
        np.full((3, 32, 32), np.nan),
        np.full((3, 32, 32), np.inf),
        np.full((3, 32, 32), 1j),
        np.zeros((3, 32, 0)),
        np.full((3, 32, 32), "a"),
    ],
    ids=["nothing", "numbers", "nan", "infinite", "complex", "empty images", "text"],
)
def test_input_that_is_not_images_is_refused(X: Any) -> None:
    with pytest.raises(InputError):
        BlindAnomalyClustering(config=FAST).fit(X)


def test_scikit_learn_is_told_that_the_input_is_not_a_table() -> None:
    tags = BlindAnomalyClustering().__sklearn_tags__()
    assert (tags.estimator_type, tags.input_tags.two_d_array, tags.input_tags.three_d_array) == (
        "clusterer",
        False,
        True,
    )
    with pytest.warns(SkipTestWarning, match="Can't test estimator"):
        check_estimator(BlindAnomalyClustering())
