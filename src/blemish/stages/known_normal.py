"""Use of a few images that are known to be normal: what the localization model is fitted to."""

from __future__ import annotations

from blemish.config.schema import Config
from blemish.localization import FEWEST_KNOWN


def settings_for_normal(config: Config, count: int) -> Config:
    """The settings of a run whose localization model is fitted to known normal images alone.

    Nothing in them needs to be removed from the memory bank, and what one of them shows is normal, so the nearest image
    counts. The bank keeps its size: fewer images give more patches each.

    Args:
        config: the settings.
        count: number of known normal images; with fewer than `FEWEST_KNOWN`, the settings are returned unchanged.
    """
    if count < FEWEST_KNOWN:
        return config
    s = config.localization
    patches = s.memory_bank.patches_per_image * s.sample_images // min(count, s.sample_images)
    bank = s.memory_bank.model_copy(
        update={"outlier_fraction": 0.0, "image_quantile": 0.0, "patches_per_image": min(patches, 4096)}
    )
    return config.model_copy(update={"localization": s.model_copy(update={"memory_bank": bank})})
