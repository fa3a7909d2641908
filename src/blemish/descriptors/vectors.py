"""Arithmetic on tables of descriptors, one row per image."""

from __future__ import annotations

import numpy as np

from blemish.config.sections import Contrastive
from blemish.types import FloatArray


def unit_rows(descriptors: FloatArray) -> FloatArray:
    """Rows scaled to length 1, N x D float32; a row of zeros stays zero."""
    length = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return (descriptors / np.where(length > 0, length, 1)).astype(np.float32)


def concat_descriptors(plain: FloatArray, refined: FloatArray, n_heads: int, head_weight: float) -> FloatArray:
    """Descriptors of the features, followed by the descriptors of the contrastive heads.

    A head sharpens some differences between images and loses others, and each head loses different ones. Defect types
    that either kind of descriptor tells apart therefore stay apart.

    Args:
        plain: N x C descriptors of the features; each row counts with length 1.
        refined: N x (n_heads * dim), head by head; each head's part of a row is scaled to one length.
        n_heads: number of heads, at least 1.
        head_weight: length of all heads' parts of a row together, >= 0. A larger value lets the heads decide more.

    Returns:
        N x (C + n_heads * dim), float32.

    Source: ours. In Ardelean & Weyrich the head's descriptors replace the plain ones.

    >>> concat_descriptors(np.ones((1, 4), np.float32), np.array([[3.0, 4.0, 0.0, 2.0]], np.float32), 2, 1.0)[0].round(2)
    array([0.5 , 0.5 , 0.5 , 0.5 , 0.42, 0.57, 0.  , 0.71], dtype=float32)
    """
    parts = [unit_rows(part) * (head_weight / n_heads**0.5) for part in np.split(refined, n_heads, axis=1)]
    return np.hstack([unit_rows(plain), *parts]).astype(np.float32)


def join_heads(plain: FloatArray, refined: FloatArray, settings: Contrastive) -> FloatArray:
    """Plain descriptors and those of the heads as the settings ask: the heads' alone if ``head_weight`` is none."""
    if settings.head_weight is None:
        return refined
    return concat_descriptors(plain, refined, settings.n_heads, settings.head_weight)
