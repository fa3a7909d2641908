"""From descriptors to groups: the number of groups, and the partition of the images into them."""

from blemish.clustering.classifier import (
    UNLIKE,
    Classified,
    Discriminants,
    TypeClassifier,
    fit_classifier,
    fit_region_reach,
    without_examples,
)
from blemish.clustering.grouping import (
    GroupedViews,
    Grouping,
    fewer_groups_warning,
    group_images,
    group_surfaces,
    most_groups,
    resolve_view,
)
from blemish.clustering.knowledge import Knowledge, apply_knowledge, known_anomalous, with_normal
from blemish.clustering.methods import center_distances, cluster, order_by_size
from blemish.clustering.n_clusters import estimate_clusters
from blemish.clustering.score_weights import ScoreWeights, fit_score_weights
from blemish.clustering.space import DefectSpace, SurfaceSpace, fit_defect_space, fit_surface_space
from blemish.clustering.views import View, ViewChoice, choose_view, unknown_choice
from blemish.clustering.ward import Tree, cut, ward_tree

__all__ = [
    "UNLIKE",
    "Classified",
    "DefectSpace",
    "Discriminants",
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
    "fit_region_reach",
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
    "without_examples",
]
