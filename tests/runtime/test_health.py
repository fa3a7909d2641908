from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from blemish.errors import BlemishError, InputError
from blemish.runtime import health
from blemish.runtime.health import (
    check_folder,
    check_gpu,
    check_processors,
    check_torch,
    check_torchvision,
    check_weights,
    folder_size,
)


def fake_torch(**fields: object) -> SimpleNamespace:
    cuda = SimpleNamespace(is_available=lambda: False)
    return SimpleNamespace(__version__="9.9", version=SimpleNamespace(cuda=None), cuda=cuda, **fields)


def test_a_package_that_cannot_be_imported_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_torch().remedy is None
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install torch" in str(check_torch().remedy)
    package = tmp_path / "vision_of_another_build"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist\\nmore')")
    monkeypatch.syspath_prepend(str(tmp_path))
    broken = check_torchvision(package.name)
    assert "operator torchvision::nms does not exist)" in broken.found
    assert "together" in str(broken.remedy)
    assert check_torchvision("no_such_package").remedy is None


@pytest.mark.parametrize(
    ("cuda", "driver", "word"), [(None, False, None), (None, True, "CUDA build"), ("12", True, "fits")]
)
def test_a_gpu_that_torch_cannot_use_is_a_problem(
    cuda: str | None, driver: bool, word: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = fake_torch()
    torch.version.cuda = cuda
    monkeypatch.setitem(sys.modules, "torch", torch)
    check = check_gpu(tmp_path if driver else tmp_path / "none")
    assert check.remedy is None if word is None else word in str(check.remedy)


def test_more_threads_than_processors_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_processors(1).remedy is None
    monkeypatch.setattr(health, "available_processors", lambda: 2)
    assert "--threads 2" in str(check_processors(3).remedy)

    def refused(count: int) -> None:
        raise BlemishError("the system allows no further thread: ulimit")

    monkeypatch.setattr(health, "ensure_threads", refused)
    assert "ulimit" in str(check_processors(2).remedy)


def test_damaged_weights_are_a_problem() -> None:
    def damaged() -> None:
        raise InputError("truncated")

    assert check_weights(lambda: None).remedy is None
    assert check_weights(damaged).found == "truncated"


def test_a_folder_is_judged_by_what_exists_of_it(tmp_path: Path) -> None:
    assert check_folder("cache", tmp_path / "a" / "b", "x", 0).remedy is None
    assert not (tmp_path / "a").exists()
    assert check_folder("cache", tmp_path, "x", 10**12).remedy == "free some space"
    file = tmp_path / "file"
    file.touch()
    assert check_folder("cache", file, "another folder").remedy == "another folder"


def test_the_size_of_a_folder_counts_files_in_all_folders(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"123")
    (tmp_path / "y").write_bytes(b"12")
    assert folder_size(tmp_path) == (2, 5)
    assert folder_size(tmp_path / "none") == (0, 0)
