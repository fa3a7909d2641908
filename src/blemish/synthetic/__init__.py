"""Drawn surfaces with drawn defects: the demo set, and images whose truth is known to the pixel."""

from blemish.synthetic.demo import DEMO_DEFECTS, Demo, defects, make_demo, materials, render

__all__ = ["DEMO_DEFECTS", "Demo", "defects", "make_demo", "materials", "render"]
