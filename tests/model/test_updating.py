from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blemish import FittedModel, Result
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
    assert first.added == int(((result.labels >= 0) & (np.asarray(result.type_probability) >= 0.9)).sum()) > 0
    assert len(first.model.classifier.references) == len(model.classifier.references) + first.added
    assert sum(first.model.counts) == sum(model.counts) + first.added
    again = first.model.predict(folder / "later")
    sure = (result.labels >= 0) & (np.asarray(result.type_probability) >= 0.9)
    np.testing.assert_array_equal(again.labels[sure], result.labels[sure])
    second = update(first.model, again)
    assert len(second.model.classifier.references) <= len(first.model.classifier.references) + (~sure).sum()


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
