"""Where the anomalies are: models of the normal texture, anomaly maps, image scores and their threshold."""

from blemish.localization.border import BorderCorrection, fit_border_correction
from blemish.localization.familiarity import Familiarity, fit_familiarity
from blemish.localization.fca import fca_map
from blemish.localization.median_fill import median_filled, median_filled_maps
from blemish.localization.model import MapModel, fit_map_model, inlier_cells
from blemish.localization.neighbors import MemoryBank
from blemish.localization.reconstruction import VAE, PrincipalSubspace, fit_pca, train_vae, vae_residual
from blemish.localization.scores import expected_normal_score, image_scores, score_quantiles
from blemish.localization.threshold import ScoreModel, fit_score_model, threshold_warning

__all__ = [
    "VAE",
    "BorderCorrection",
    "Familiarity",
    "MapModel",
    "MemoryBank",
    "PrincipalSubspace",
    "ScoreModel",
    "expected_normal_score",
    "fca_map",
    "fit_border_correction",
    "fit_familiarity",
    "fit_map_model",
    "fit_pca",
    "fit_score_model",
    "image_scores",
    "inlier_cells",
    "median_filled",
    "median_filled_maps",
    "score_quantiles",
    "threshold_warning",
    "train_vae",
    "vae_residual",
]
