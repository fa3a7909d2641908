"""``blemish predict --engine ray``: the images of a folder, inspected by workers of Ray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.cli.merge import load_photos
from blemish.cli.run import print_summary, write_results
from blemish.cli.shared import SOME_SKIPPED
from blemish.errors import ConfigError, shown
from blemish.runtime.progress import StageTimer
from blemish.runtime.terminal import Bars

if TYPE_CHECKING:
    from blemish.config.schema import Config
    from blemish.model import FittedModel

Engine = Annotated[str, typer.Option(help="local, or ray for workers on all cores or on a cluster.")]
Address = Annotated[
    str | None, typer.Option(help="With --engine ray: auto or HOST:PORT of a cluster. Default: this machine alone.")
]


def uses_ray(engine: str, address: str | None, others: bool) -> bool:
    """Whether Ray inspects the images; ``others``: whether --watch or --shard is given.

    Raises:
        ConfigError: the engine is unknown, or the options exclude each other.
    """
    if engine not in ("local", "ray"):
        raise ConfigError(f"--engine {shown(engine)[:40]!r} is not known; choose local or ray")
    if engine == "ray" and others:
        raise ConfigError("--engine ray goes neither with --watch nor with --shard; leave one of them out")
    if engine == "local" and address is not None:
        raise ConfigError("--address is for --engine ray; give both or neither")
    return engine == "ray"


def predict_by_ray(
    model: FittedModel, folder: str, out: Path, config: Config, quiet: bool, address: str | None, threads: int | None
) -> None:
    """Inspect all images of a folder by Ray and write results like those of a run."""
    from blemish.distributed.ray import predict_with_ray
    from blemish.output import prepare_output

    timer = StageTimer(Bars(quiet))
    with prepare_output(out, folder) as output:
        result = predict_with_ray(
            model,
            folder,
            address=address,
            device=config.device,
            threads=threads or 1,
            cache=config.cache,
            progress=Bars(quiet),
        )
        photos = load_photos(result, folder)
        written = write_results(result, photos, output, config, timer)
    print_summary(result, written)
    if result.skipped or written.not_drawn:
        raise typer.Exit(SOME_SKIPPED)
