"""``python -m blemish``."""

from __future__ import annotations

from blemish.cli.app import main

main()
