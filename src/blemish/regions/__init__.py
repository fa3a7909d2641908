"""Anomalous regions: the connected parts of an image that stand out, each with its place, shape, score and type."""

from blemish.regions.region import Region

__all__ = ["Region"]
