"""blemish: find defects in images of one texture and sort them into types, without labels."""

from __future__ import annotations

__version__ = "0.1.0"
