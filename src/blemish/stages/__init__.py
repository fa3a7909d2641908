"""The cached steps of a run. Each first looks for the result of an earlier run in the cache.

The computation is in the folders of the stages; this folder decides what is stored under which key. A key covers
everything that its result depends on: the code and its environment, the images by content, the settings of that stage and
of the stages before it. Settings are excluded from a key by name, so a new setting counts until somebody excludes it.
"""

from blemish.stages.found_regions import FoundRegions, find_regions
from blemish.stages.groups import GroupStages, Refined
from blemish.stages.maps import AFTER_MAPS, AFTER_MAPS_LOCALIZATION, BatchResults, FittedBefore, MapResults, MapStages
from blemish.stages.region_types import fit_to_regions, of_several_types, type_regions
from blemish.stages.region_vectors import RegionDescriber, describe_regions

__all__ = [
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
    "describe_regions",
    "find_regions",
    "fit_to_regions",
    "of_several_types",
    "type_regions",
]
