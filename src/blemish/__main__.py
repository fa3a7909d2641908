"""``python -m blemish``."""

from __future__ import annotations

from blemish.cli import main

main()
