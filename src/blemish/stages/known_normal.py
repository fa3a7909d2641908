"""Use of a few images that are known to be normal: what the localization model is fitted to, and the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from blemish.config.schema import Config
from blemish.types import FloatArray

FEWEST_FITTED = 8
"""Known normal images from which the localization model is fitted to them alone. Fewer do not show how a surface varies."""

FALSE_ALARMS = 0.02
"""Share of normal images that may lie above the threshold that known normal images give."""


def settings_for_normal(config: Config, count: int) -> Config:
    """The settings of a run whose localization model is fitted to known normal images alone.

    Nothing in them needs to be removed from the memory bank, and what one of them shows is normal, so the nearest image
    counts. The bank keeps its size: fewer images give more patches each.

    Args:
        config: the settings.
        count: number of known normal images; with fewer than `FEWEST_FITTED`, the settings are returned unchanged.
    """
    if count < FEWEST_FITTED:
        return config
    s = config.localization
    patches = s.memory_bank.patches_per_image * s.sample_images // min(count, s.sample_images)
    bank = s.memory_bank.model_copy(
        update={"outlier_fraction": 0.0, "image_quantile": 0.0, "patches_per_image": min(patches, 4096)}
    )
    return config.model_copy(update={"localization": s.model_copy(update={"memory_bank": bank})})


def normal_threshold(scores: FloatArray, known: Sequence[int]) -> float | None:
    """The threshold that the scores of known normal images give; None with fewer than `FEWEST_FITTED`.

    It is the prediction limit of log-normal scores: a further normal image lies above it with the probability
    `FALSE_ALARMS`. Each known image was compared with the others only, so its score is that of a further image.

    Args:
        scores: N image scores.
        known: rows of the known normal images.
    """
    if len(known) < FEWEST_FITTED:
        return None
    logs = np.log(np.maximum(scores[list(known)].astype(np.float64), 1e-12))
    quantile = NormalDist().inv_cdf(1 - FALSE_ALARMS)
    return float(np.exp(logs.mean() + quantile * logs.std(ddof=1) * np.sqrt(1 + 1 / len(logs))))
