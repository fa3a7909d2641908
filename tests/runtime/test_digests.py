from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.runtime.digests import array_digest, digest, environment_digest, source_digest


def test_digests_tell_apart_what_differs() -> None:
    values = np.arange(6, dtype=np.float32)
    variants = [values, values.reshape(2, 3), values.astype(np.float64), values.view(np.int32), values[::-1]]
    assert len({array_digest(one) for one in variants}) == len(variants)
    assert array_digest(values[::-1]) == array_digest(values[::-1].copy())
    assert len({digest(), digest(""), digest("", ""), digest(["", ""]), digest("a", "b"), digest("ab")}) == 6


def test_a_digest_is_64_hexadecimal_digits_and_refuses_other_types() -> None:
    assert len(digest(1)) == 64
    assert set(digest(1) + array_digest(np.zeros(3)) + source_digest()) <= set("0123456789abcdef")
    with pytest.raises(TypeError):
        digest(object())


def test_numbers_that_differ_in_the_last_bit_have_different_digests() -> None:
    assert digest(0.1) != digest(np.nextafter(0.1, 1).item())
    assert digest(1) != digest(1.0)


def test_the_environment_counts_device_weights_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    here = environment_digest("cpu", "a")
    assert here == environment_digest("cpu", "a") != environment_digest("cpu", "b")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert environment_digest("cpu", "a") != here
