"""``blemish merge``: the results of all shards become the results of one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.cli.options import Quiet, Verbose
from blemish.cli.run import Maps, Out, print_summary, write_results
from blemish.cli.shared import SOME_SKIPPED, Guard, read_settings
from blemish.errors import InputError, shown
from blemish.runtime.progress import Stage, StageTimer
from blemish.runtime.terminal import Bars

if TYPE_CHECKING:
    from blemish.results import Result
    from blemish.types import FloatArray


def add_merge(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command()
    def merge(
        folders: Annotated[
            list[Path],
            typer.Argument(help="Results of blemish predict --shard, one for each shard.", show_default=False),
        ],
        out: Out,
        *,
        images: Annotated[
            Path | None,
            typer.Option(
                help="The folder or manifest of the images, if it is elsewhere now; for overlays and the report.",
                show_default=False,
            ),
        ] = None,
        maps: Maps = None,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        """Merge the results of all shards of a folder."""
        with Guard(verbose):
            config = read_settings(None, None, maps=maps)
            from blemish.distributed import merge_shards
            from blemish.output import prepare_output

            result = merge_shards(folders)
            timer, source = StageTimer(Bars(quiet)), images or Path(result.source or ".")
            with prepare_output(out, source if source.is_dir() else None) as output:
                with timer.stage(Stage.READ) as advance:
                    photos = load_photos(result, source)
                    advance(1)
                written = write_results(result, photos, output, config, timer)
            print_summary(result, written)
            if result.skipped or written.not_drawn:
                raise typer.Exit(SOME_SKIPPED)


def load_photos(result: Result, folder: Path) -> Callable[[int], FloatArray] | None:
    """What loads the photograph of each row; None, and no pictures are drawn, if the folder is not there."""
    from blemish.images import is_manifest
    from blemish.model import FittedModel

    assert isinstance(result.model, FittedModel)
    if not folder.is_dir() and not (folder.is_file() and is_manifest(folder)):
        return None
    source = result.model.with_roi(None).source(folder)  # the masks may be elsewhere, and pictures show whole images
    place = {name: index for index, name in enumerate(source.names)}

    def load(row: int) -> FloatArray:
        path = result.paths[row]
        if path not in place:
            raise InputError(f"{shown(path)}: is not in {shown(folder)}; give the folder of the images with --images")
        return source.full(place[path])

    return load
