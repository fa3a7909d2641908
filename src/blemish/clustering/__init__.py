"""From descriptors to groups: the number of groups, and the partition of the images into them."""

from blemish.clustering.methods import center_distances, cluster, order_by_size
from blemish.clustering.n_clusters import estimate_clusters
from blemish.clustering.ward import Tree, cut, ward_tree

__all__ = ["Tree", "center_distances", "cluster", "cut", "estimate_clusters", "order_by_size", "ward_tree"]
