"""``blemish config``: the settings that a run would use."""

from __future__ import annotations

import typer

from blemish.cli.options import ConfigFile, Preset, Settings
from blemish.cli.shared import Guard, read_settings


def add_config(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command("config")
    def show_config(preset: Preset = None, config: ConfigFile = None, assignments: Settings = None) -> None:
        """Print the settings that a run would use, as TOML."""
        with Guard(False):
            text = read_settings(config, assignments, preset=preset).to_toml()
            typer.echo(text.encode(), nl=False)  # bytes, because TOML is UTF-8 in every locale
