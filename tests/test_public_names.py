"""The public names of the package and of its folders, written down: a name that comes or goes is a decision.

``python tests/test_public_names.py`` prints the list of the present source in the form of ``PUBLIC``.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

from helpers import source_tree

PUBLIC: dict[str, list[str] | None] = {
    "blemish": ["BlindAnomalyClustering", "Config", "FittedModel", "Result", "run"],
    "blemish.backbones": ["Backbone", "load_backbone"],
    "blemish.cli": [],
    "blemish.clustering": [
        "UNLIKE",
        "Classified",
        "DefectSpace",
        "GroupedViews",
        "Grouping",
        "Knowledge",
        "ScoreWeights",
        "SurfaceSpace",
        "Tree",
        "TypeClassifier",
        "View",
        "ViewChoice",
        "apply_knowledge",
        "center_distances",
        "choose_view",
        "cluster",
        "cut",
        "estimate_clusters",
        "fewer_groups_warning",
        "fit_classifier",
        "fit_defect_space",
        "fit_score_weights",
        "fit_surface_space",
        "group_images",
        "group_surfaces",
        "known_anomalous",
        "most_groups",
        "order_by_size",
        "resolve_view",
        "unknown_choice",
        "ward_tree",
        "with_normal",
    ],
    "blemish.config": ["BASIC", "PAPER", "Config", "PresetName", "Section", "gather", "known_keys", "parse_value"],
    "blemish.descriptors": [
        "DescriptorModel",
        "Head",
        "PixelSample",
        "PixelStore",
        "ShapeScaling",
        "average_weights",
        "blur_weights",
        "concat_descriptors",
        "descriptor_level",
        "fit_descriptor_model",
        "fit_shape_scaling",
        "head_descriptors",
        "head_threshold",
        "margin_loss",
        "max_weights",
        "pixels_per_image",
        "region_geometry",
        "region_shapes",
        "relative_tau",
        "sample_pixels",
        "softmax_weights",
        "thresholded_weights",
        "train_head",
        "train_heads",
        "training_steps",
        "unit_rows",
        "weighted_sum",
        "whitening_matrix",
    ],
    "blemish.distributed": ["Shard", "merge_shards"],
    "blemish.evaluation": [
        "SCORES",
        "ConfusionTable",
        "Evaluation",
        "LabeledSet",
        "Layout",
        "Mask",
        "PixelScores",
        "RunScores",
        "ScoreSummary",
        "ari",
        "average_precision",
        "clustering_scores",
        "confusion_table",
        "evaluate",
        "image_auroc",
        "is_normal",
        "load_dataset",
        "matched_f1",
        "mean_over_sets",
        "nmi",
        "pixel_auroc",
        "purity",
        "read_mask",
        "run_and_score",
        "score",
        "summarize",
    ],
    "blemish.evaluation.studies": [
        "STUDIES",
        "PictureRow",
        "Study",
        "StudyResult",
        "StudyRunner",
        "TitledPicture",
        "draw_figure",
        "find_study",
        "run_study",
        "study_document",
        "study_markdown",
    ],
    "blemish.export": ["FORMATS", "Exported", "export_result"],
    "blemish.features": [
        "Batch",
        "Extractor",
        "FeatureBatches",
        "FeatureNormalizer",
        "fit_normalizer",
        "pooled",
        "within_image_covariance",
    ],
    "blemish.images": [
        "ALSO",
        "IMAGE_SUFFIXES",
        "MASK_FOLDERS",
        "MAX_MEGABYTES",
        "Calibration",
        "ImageInfo",
        "ImageSource",
        "Images",
        "WhiteLevel",
        "common_scale",
        "decode",
        "estimate_white_level",
        "find_images",
        "plan_sizes",
        "probe",
        "resize",
        "target_size",
    ],
    "blemish.localization": [
        "VAE",
        "BorderCorrection",
        "Familiarity",
        "MapModel",
        "MemoryBank",
        "NormalTexture",
        "PrincipalSubspace",
        "estimate_normal_texture",
        "fca_map",
        "find_threshold",
        "fit_border_correction",
        "fit_familiarity",
        "fit_map_model",
        "fit_pca",
        "image_scores",
        "inlier_cells",
        "median_filled",
        "median_filled_maps",
        "split_scores",
        "threshold_warning",
        "train_vae",
        "vae_residual",
    ],
    "blemish.model": ["MODEL_CLASSES", "SCHEMA_VERSION", "FittedModel", "Update", "update", "without_places"],
    "blemish.output": [
        "NORMAL_COLOR",
        "MapSize",
        "OutputFolder",
        "OutputPaths",
        "ReportData",
        "build_report",
        "cluster_color",
        "draw_heat",
        "draw_overlay",
        "explain_os_errors",
        "fit_within",
        "heat_indices",
        "heat_table",
        "hex_color",
        "load_result",
        "prepare_output",
        "refuse_inside",
        "render",
        "run_document",
        "to_bytes",
        "to_json_types",
        "write_outputs",
        "write_report",
    ],
    "blemish.output.figures": [
        "FIGURE_SUFFIXES",
        "MARKERS",
        "group_color",
        "new_figure",
        "require_matplotlib",
        "save_figure",
        "write_figures",
    ],
    "blemish.output.report": [
        "FindFile",
        "ReportData",
        "ReportMode",
        "ReportWriter",
        "build_report",
        "render",
        "write_report",
    ],
    "blemish.regions": [
        "Region",
        "RegionShape",
        "Ring",
        "binary_mask",
        "extract_regions",
        "fill_rings",
        "principal_axes",
        "region_contrasts",
        "region_mask",
        "signed_area",
        "trace_outlines",
        "upsample_map",
    ],
    "blemish.review": [
        "REVIEW_FILE",
        "Operation",
        "ReviewLog",
        "Reviewed",
        "Session",
        "corrected",
        "kept_review",
        "knowledge",
        "load_corrected",
        "open_session",
        "parse_operation",
        "read_knowledge",
        "read_log",
        "read_normal",
        "read_types",
        "replay",
        "start_of",
        "with_review",
    ],
    "blemish.runtime": [],
    "blemish.stages": [
        "AFTER_MAPS",
        "AFTER_MAPS_LOCALIZATION",
        "BatchResults",
        "FittedBefore",
        "FoundRegions",
        "GroupStages",
        "MapResults",
        "MapStages",
        "Refined",
        "RegionDescriber",
        "find_regions",
        "type_regions",
    ],
    "blemish.synthetic": ["DEMO_DEFECTS", "Demo", "defects", "make_demo", "materials", "render"],
}
"""Folder -> the names that its ``__init__.py`` lists in ``__all__``."""


def written() -> dict[str, list[str] | None]:
    """Folder -> names in ``__all__``, as the source has them."""
    found = source_tree.modules()
    return {name: module.public_names() for name, module in found.items() if module.is_init}


def test_folders_list_the_names_written_here() -> None:
    assert written() == PUBLIC


@pytest.mark.parametrize(("folder", "name"), [(folder, name) for folder in PUBLIC for name in PUBLIC[folder] or ()])
def test_every_public_name_exists_and_has_a_docstring(folder: str, name: str) -> None:
    found = getattr(importlib.import_module(folder), name)
    documented = inspect.isclass(found) or inspect.isfunction(found)  # an alias of a type has no docstring
    assert not documented or (found.__doc__ or "").strip()


if __name__ == "__main__":
    print("PUBLIC: dict[str, list[str] | None] = {")
    for folder, names in written().items():
        shown = "None" if names is None else "[" + ", ".join(f'"{name}"' for name in names) + "]"
        print(f'    "{folder}": {shown},')
    print("}")
