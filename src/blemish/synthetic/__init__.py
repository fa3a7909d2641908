"""Drawn textures with drawn defects, whose truth is known to the pixel."""

from blemish.synthetic.demo import Demo, make_demo

__all__ = ["Demo", "make_demo"]
