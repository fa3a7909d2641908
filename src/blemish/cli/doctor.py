"""``blemish doctor``: what this machine and installation offer, and what to fix."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from blemish import __version__
from blemish.cli.run import CacheDir
from blemish.cli.shared import Guard, read_settings
from blemish.errors import BlemishError, shown

if TYPE_CHECKING:
    from blemish.config.sections import Cache
    from blemish.runtime.health import Check

PROBLEMS = 1
"""Exit code if there is something to fix."""


def add_doctor(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command()
    def doctor(cache_dir: CacheDir = None) -> None:
        """Check the installation and this machine, and say what to fix."""
        with Guard(False):
            checks = list(_checks(cache_dir))
            for check in checks:
                print(f"{'problem' if check.remedy else 'ok':8}{check.name:18}{check.found}")
                if check.remedy:
                    print(f"{'':8}{'':18}to fix: {check.remedy}")
            problems = sum(check.remedy is not None for check in checks)
            print("No problem found." if not problems else f"{problems} problem{'s' * (problems > 1)} found.")
            if problems:
                raise typer.Exit(PROBLEMS)


def _checks(cache_dir: str | None) -> Iterator[Check]:
    from blemish.runtime import health

    yield health.Check("blemish", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    yield health.check_torch()
    yield health.check_torchvision()
    yield health.check_gpu()
    yield health.check_processors()
    yield health.check_weights(_read_weights)
    try:
        cache = read_settings(None, None, cache_dir=cache_dir).cache
    except BlemishError as error:
        yield health.Check("settings", shown(str(error)), "change or unset this variable")
    else:
        yield health.Check("settings", "those in the environment are right")
        yield from _cache_checks(cache)
    yield health.check_folder("current folder", Path.cwd(), "give --out a folder that you can write")


def _cache_checks(settings: Cache) -> Iterator[Check]:
    from blemish.runtime.cache import default_folder
    from blemish.runtime.health import Check, check_folder, folder_size

    if not settings.enabled:
        yield Check("cache", "turned off")
        return
    folder = Path(settings.folder).expanduser() if settings.folder else default_folder()
    yield check_folder("cache", folder, "choose another folder with --cache-dir, or use --no-cache")
    count, size = folder_size(folder)
    yield Check("cache size", f"{size / 1e6:.0f} MB in {count} entries, limit {settings.limit_mb} MB")


def _read_weights() -> None:
    from blemish.backbones.embedded import read_weights, weights_path
    from blemish.backbones.weights_digest import SHA256

    read_weights(weights_path(), SHA256)
