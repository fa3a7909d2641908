from __future__ import annotations

import pytest
import torch

from blemish.errors import ConfigError
from blemish.runtime.device import choose_device


@pytest.mark.parametrize(
    ("wanted", "gpu", "chosen"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cpu", True, "cpu"),
        ("cpu", False, "cpu"),
        ("cuda", True, "cuda"),
    ],
)
def test_a_gpu_is_used_if_there_is_one_and_it_is_not_declined(
    monkeypatch: pytest.MonkeyPatch, wanted: str, gpu: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert choose_device(wanted) == chosen


def test_a_wanted_gpu_that_is_missing_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="--device cpu"):
        choose_device("cuda")
