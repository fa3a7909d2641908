"""Anomalous regions: the connected parts of an image that stand out, each with its place, shape, score and type."""

from blemish.regions.contrast import region_contrasts, region_mask
from blemish.regions.extraction import extract_regions, region_parts
from blemish.regions.masks import binary_mask, upsample_map
from blemish.regions.outlines import Ring, fill_rings, signed_area, trace_outlines
from blemish.regions.region import Region
from blemish.regions.shape import RegionShape, principal_axes

__all__ = [
    "Region",
    "RegionShape",
    "Ring",
    "binary_mask",
    "extract_regions",
    "fill_rings",
    "principal_axes",
    "region_contrasts",
    "region_mask",
    "region_parts",
    "signed_area",
    "trace_outlines",
    "upsample_map",
]
