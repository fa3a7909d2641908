"""``blemish merge``: the results of all shards become the results of one run."""

from __future__ import annotations

import functools
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
    from blemish.images import Photo
    from blemish.results import Result


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
            str | None,
            typer.Option(
                help="What holds the images, if they are elsewhere now; for overlays and the report.",
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
            timer, source = StageTimer(Bars(quiet)), images or result.source or "."
            with prepare_output(out, source if Path(source).is_dir() else None) as output:
                with timer.stage(Stage.READ) as advance:
                    photos = load_photos(result, source)
                    advance(1)
                written = write_results(result, photos, output, config, timer)
            print_summary(result, written)
            if result.skipped or written.not_drawn:
                raise typer.Exit(SOME_SKIPPED)


def load_photos(result: Result, folder: str) -> Callable[[int], Photo] | None:
    """What loads the photograph of each row; None, and no pictures are drawn, if the images are not there."""
    from blemish.images import ImageSource, as_place, is_set
    from blemish.model import FittedModel

    model = result.model
    assert isinstance(model, FittedModel)
    if not is_set(as_place(folder)):
        return None

    @functools.cache
    def opened() -> tuple[ImageSource, dict[str, int]]:
        source = model.with_roi(None).source(folder)  # masks may be elsewhere, and pictures show whole images
        return source, {name: index for index, name in enumerate(source.names)}

    def load(row: int) -> Photo:
        (source, place), path = opened(), result.paths[row]
        if path not in place:
            raise InputError(f"{shown(path)}: is not in {shown(folder)}; give the folder of the images with --images")
        return source.full(place[path])

    return load
