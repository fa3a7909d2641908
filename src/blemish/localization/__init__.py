"""Anomaly maps: the models of the normal texture, the maps that they give, their correction, scores and threshold."""

from blemish.localization.border import BorderCorrection, fit_border_correction
from blemish.localization.fca import fca_map
from blemish.localization.median_fill import median_filled, median_filled_maps
from blemish.localization.neighbors import MemoryBank
from blemish.localization.reconstruction import VAE, fit_pca, pca_residual, train_vae, vae_residual

__all__ = [
    "VAE",
    "BorderCorrection",
    "MemoryBank",
    "fca_map",
    "fit_border_correction",
    "fit_pca",
    "median_filled",
    "median_filled_maps",
    "pca_residual",
    "train_vae",
    "vae_residual",
]
