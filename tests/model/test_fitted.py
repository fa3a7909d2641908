from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from blemish import FittedModel
from blemish.errors import InputError


def test_a_model_comes_back_as_it_was_saved_and_equal_models_are_equal_files(
    model: FittedModel, tmp_path: Path
) -> None:
    again = FittedModel.load(model.save(tmp_path / "a"))
    again.save(tmp_path / "b")
    assert again.digest == model.digest
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["model.json", "model.safetensors"]


def test_a_model_holds_no_image_and_no_path(model: FittedModel, folder: Path) -> None:
    content = model.content + model.files()["model.json"]
    assert str(folder).encode() not in content
    assert all(path.name.encode() not in content for path in (folder / "images").iterdir())
    assert model.localization.sample_maps == []


def test_the_results_folder_stands_for_the_model_in_it(model: FittedModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    assert FittedModel.load(tmp_path).digest == model.digest


def test_names_are_kept_and_unknown_groups_and_repeated_names_refused(model: FittedModel, tmp_path: Path) -> None:
    named = FittedModel.load(model.renamed({1: "scratch"}).save(tmp_path))
    assert named.type_names == {1: "scratch"}
    assert [named.group_name(label) for label in (0, 1, 2)] == ["normal", "scratch", "type 2"]
    with pytest.raises(InputError, match="no group 9"):
        model.renamed({9: "hole"})
    with pytest.raises(InputError, match="'scratch'"):
        named.renamed({2: "scratch"})


def rewrite(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 100), "altered"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]), "cut short"),
        (lambda f: (f / "model.safetensors").unlink(), "copy the whole model folder"),
        (lambda f: (f / "model.json").unlink(), "holds no model"),
        (lambda f: (f / "model.json").write_text("{"), "JSON"),
        (lambda f: (f / "model.json").write_text("[" * 100_000), "JSON"),
        (lambda f: (f / "model.json").write_text("{}"), "not the description of a model"),
        (lambda f: rewrite(f / "model.json", lambda d: d.update(schema_version=2)), "schema version 2"),
        (lambda f: rewrite(f / "model.json", lambda d: d.update(schema_version="1\n")), "schema version"),
        (lambda f: ((f / "model.safetensors").unlink(), os.mkfifo(f / "model.safetensors")), "not a regular file"),
    ],
)
def test_a_model_that_cannot_be_used_is_one_clear_error(
    model: FittedModel, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(model.save(tmp_path / "model"))
    with pytest.raises(InputError, match=message) as error:
        FittedModel.load(tmp_path / "model")
    assert "\n" not in str(error.value)


def test_content_with_a_class_of_another_kind_is_refused(model: FittedModel, tmp_path: Path) -> None:
    import hashlib

    from blemish.runtime.serialization import to_bytes

    folder = model.save(tmp_path / "model")
    content = to_bytes({"a": 1}, "blemish.model")
    (folder / "model.safetensors").write_bytes(content)
    rewrite(folder / "model.json", lambda d: d.update(sha256=hashlib.sha256(content).hexdigest()))
    with pytest.raises(InputError, match="holds no model"):
        FittedModel.load(folder)


def test_no_folder_and_no_model_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        FittedModel.load(tmp_path / "nothing")
    with pytest.raises(InputError, match="holds no model"):
        FittedModel.load(tmp_path)
