from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blemish import FittedModel, Result
from blemish.clustering import fit_classifier
from blemish.errors import InputError
from blemish.model import update
from blemish.types import FloatArray


def prediction(model: FittedModel, rows: FloatArray, labels: list[int], like: Result) -> Result:
    """A prediction with these rows and groups, made up."""
    n = len(rows)
    return replace(
        like,
        paths=[f"{i}.png" for i in range(n)],
        descriptors=rows,
        labels=np.array(labels, np.int64),
        is_anomalous=np.array([label != model.classifier.normal_label for label in labels]),
        type_probability=np.ones(n, np.float32),
        info={"model": model.digest},
        drift_warning=None,
    )


def new_direction(model: FittedModel, count: int, seed: int = 0) -> FloatArray:
    """Unit rows that resemble each other and nothing that was fitted."""
    rng = np.random.default_rng(seed)
    dim = model.classifier.references.shape[1]
    basis = np.linalg.svd(model.classifier.references, full_matrices=True)[2]
    rows = basis[-1] + 0.3 * rng.normal(size=(count, dim)) / dim**0.5
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_later_images_become_examples_once(folder: Path, model: FittedModel) -> None:
    result = model.predict(folder / "later")
    first = update(model, result)
    sure = np.asarray(result.type_probability) >= 0.9
    normal = result.labels == model.classifier.normal_label
    assert first.added == int(((result.labels >= 0) & (sure | ~normal)).sum()) > 0
    assert len(first.model.classifier.references) == len(model.classifier.references) + first.added
    assert sum(first.model.counts) == sum(model.counts) + first.added
    again = first.model.predict(folder / "later")
    np.testing.assert_array_equal(again.labels[result.labels >= 0], first.labels[result.labels >= 0])
    second = update(first.model, again)
    left = len(result.labels) - first.added
    assert len(second.model.classifier.references) <= len(first.model.classifier.references) + left


def test_fitted_images_change_nothing(folder: Path, model: FittedModel) -> None:
    same = update(model, model.predict(folder / "images"))
    assert same.added == 0
    assert same.model.digest == model.digest


def test_numbers_and_names_stay(folder: Path, model: FittedModel) -> None:
    named = model.renamed({1: "scratch"})
    updated = update(named, named.predict(folder / "later")).model
    assert updated.names[: len(named.names)] == named.names


def test_enough_images_of_a_new_kind_become_a_type_and_are_recognized(folder: Path, model: FittedModel) -> None:
    like, rows = model.predict(folder / "later"), new_direction(model, 8)
    few = update(model, prediction(model, rows[:2], [-1, -1], like))
    assert (few.new_types, few.pending, few.added) == ([], 2, 0)
    more = update(few.model, prediction(few.model, rows[2:6], [-1] * 4, like))
    label = len(model.names)
    assert (more.new_types, more.pending) == ([label], 0)
    assert more.labels.tolist() == [label] * 4
    assert more.model.counts[label] == 6
    assert more.model.classifier.classify(rows[6:], np.ones(2, bool)).labels.tolist() == [label] * 2


def around(centers: list[int], count: int, dim: int, seed: int) -> FloatArray:
    """Rows near unit vectors, ``count`` for each of the axes."""
    rows = 0.05 * np.random.default_rng(seed).normal(size=(len(centers) * count, dim))
    rows[np.arange(len(rows)), np.repeat(centers, count)] += 1
    return rows.astype(np.float32)


def with_types(model: FittedModel, rows: FloatArray, labels: list[int], names: list[str | None]) -> FittedModel:
    """The model with other examples: label 0 is the normal group."""
    found = np.array(labels, np.int64)
    classifier = fit_classifier(rows, found, found > 0, 0, unlike=0.03)
    return replace(model, classifier=classifier, names=names, counts=np.bincount(found).tolist(), pending=rows[:0])


@pytest.mark.parametrize("named", [False, True])
def test_types_without_a_name_are_made_again_and_those_with_one_stay(
    model: FittedModel, fitted: Result, named: bool
) -> None:
    dim = model.classifier.references.shape[1]
    rows = around([0, 1, 2], 8, dim, seed=0)
    mixed = [0] * 8 + [1] * 8 + [1] * 3 + [2] * 5  # type 1 has three examples of the second kind
    first = with_types(model, rows, mixed, [None, *(["hole", "scratch"] if named else [None, None])])
    again = first.classifier.classify(rows, np.ones(24, bool)).labels
    assert again.tolist() == mixed
    later = update(first, prediction(first, around([1, 2], 4, dim, seed=1), [1] * 4 + [2] * 4, fitted))
    labels = later.model.classifier.classify(rows, np.ones(24, bool)).labels
    assert labels.tolist() == (mixed if named else [0] * 8 + [1] * 8 + [2] * 8)
    assert later.moved == (0 if named else 3)
    assert later.model.counts == ([8, 15, 9] if named else [8, 12, 12])
    assert sum(later.model.counts) == 32


def test_a_type_does_not_end_by_an_update(model: FittedModel, fitted: Result) -> None:
    dim = model.classifier.references.shape[1]
    rows = around([0, 1, 2, 3], 8, dim, seed=0)
    halves = (
        [0] * 8 + [1] * 4 + [2] * 4 + [3] * 16
    )  # made again, the types would be 1 and 2 together, and 3 in two parts
    first = with_types(model, rows, halves, [None] * 4)
    later = update(first, prediction(first, around([1], 2, dim, seed=1), [1, 2], fitted))
    assert later.moved == 0
    assert later.labels.tolist() == [1, 2]


def test_images_unlike_each_other_make_no_type(folder: Path, model: FittedModel) -> None:
    basis = np.linalg.svd(model.classifier.references, full_matrices=True)[2][-8:].astype(np.float32)
    found = update(model, prediction(model, basis, [-1] * 8, model.predict(folder / "later")))
    assert (found.new_types, found.pending) == ([], 8)


def test_another_model_and_another_material_are_refused(folder: Path, model: FittedModel) -> None:
    result = model.predict(folder / "later")
    with pytest.raises(InputError, match="not made by this model"):
        update(model.renamed({1: "hole"}), result)
    with pytest.raises(InputError, match="not updated"):
        update(model, replace(result, drift_warning="6 of 6 images look unlike"))
