"""``blemish fit``, ``predict``, ``update`` and ``rename``: learn once from a set, and inspect further images with what was learned."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blemish.cli.engine import Address, Engine, predict_by_ray, uses_ray
from blemish.cli.options import Quiet, RunOptions, Settings, Verbose, takes_run_options
from blemish.cli.run import (
    CacheDir,
    Folder,
    GroupBy,
    Maps,
    NClusters,
    NoCache,
    Normal,
    Out,
    Review,
    Types,
    print_summary,
    read_knowledge,
    write_results,
)
from blemish.cli.shared import SOME_SKIPPED, Guard, counted, read_settings
from blemish.errors import ConfigError, InputError, OutputError, shown
from blemish.runtime.progress import Stage, StageTimer
from blemish.runtime.terminal import Bars, print_error

if TYPE_CHECKING:
    from blemish.config.schema import Config
    from blemish.distributed import Shard
    from blemish.images import Photo
    from blemish.model import FittedModel
    from blemish.results import Result

ModelFolder = Annotated[
    Path, typer.Argument(help="Folder of a fitted model, or results that hold one.", show_default=False)
]
ImageFolder = Annotated[
    str,
    typer.Argument(
        help="Folder, tar file or address with images of the same material, or a CSV or Parquet file with the column "
        "path.",
        show_default=False,
    ),
]

Roi = Annotated[
    str | None,
    typer.Option(help="Mask of the region of interest, or a folder of masks, if it is not where it was at the fit."),
]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
Threads = Annotated[int | None, typer.Option(help="Number of threads.")]

WATCH_FILE = "watch.jsonl"
"""Where ``predict --watch`` appends one line per image."""


def add_model(app: typer.Typer) -> None:
    """Add the commands to the application."""
    _add_fit(app)
    _add_predict(app)
    _add_update(app)
    _add_rename(app)


def _add_fit(app: typer.Typer) -> None:
    @app.command()
    @takes_run_options
    def fit(
        folder: Folder,
        model: Annotated[Path, typer.Option("--model", help="Folder for the model.", show_default=False)],
        *,
        n_clusters: NClusters = None,
        group_by: GroupBy = None,
        review: Review = None,
        normal: Normal = None,
        types: Types = None,
        options: RunOptions,
        no_cache: NoCache = False,
        cache_dir: CacheDir = None,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        """Learn a model from a folder of images, without writing results."""
        with Guard(verbose):
            config = options.settings(
                n_clusters=n_clusters, group_by=group_by, cache=False if no_cache else None, cache_dir=cache_dir
            )
            check_model_folder(model)
            from blemish.images import ImageSource
            from blemish.pipeline import run

            knowledge, also = read_knowledge(review, normal, types)
            source = ImageSource(folder, config.image, also=also)
            result = run(source, config, progress=Bars(quiet), knowledge=knowledge)
            assert result.model is not None
            size = save_model(result.model, model)  # type: ignore[arg-type]
            print(
                f"{len(result.paths)} images, {int(result.is_anomalous.sum())} anomalous, {result.n_clusters} groups\n"
                f"Model: {shown(model)} ({size / 1e6:.1f} MB)"
            )
            if result.skipped:
                raise typer.Exit(SOME_SKIPPED)


def check_model_folder(folder: Path) -> None:
    """Raise OutputError before the work if a model cannot be saved there."""
    from blemish.model import holds_model

    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{shown(folder)}: is not a folder; choose another one with --model")
    if folder.is_dir() and any(folder.iterdir()) and not holds_model(folder):
        raise OutputError(f"{shown(folder)}: is not empty and holds no model; choose another folder with --model")
    parent = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not os.access(parent, os.W_OK):
        raise OutputError(f"{shown(folder)}: cannot be written; check its permissions or choose another folder")


def save_model(model: FittedModel, folder: Path) -> int:
    """Save a model and return its size in bytes."""
    try:
        model.save(folder)
    except OSError as error:
        raise OutputError(f"{shown(folder)}: cannot be written ({error.strerror}); choose another folder") from error
    return sum(len(content) for content in model.files().values())


def _add_predict(app: typer.Typer) -> None:
    @app.command()
    def predict(
        model: ModelFolder,
        folder: ImageFolder,
        out: Out,
        *,
        maps: Maps = None,
        roi: Roi = None,
        device: Device = None,
        assignments: Settings = None,
        threads: Threads = None,
        no_cache: NoCache = False,
        cache_dir: CacheDir = None,
        shard: Annotated[
            str | None, typer.Option(help="Inspect one part of the folder only: i/n, for example 2/8.")
        ] = None,
        watch: Annotated[
            bool, typer.Option("--watch", help=f"Inspect images as they appear, one line each in {WATCH_FILE}.")
        ] = False,
        idle: Annotated[
            float | None, typer.Option(min=0.0, help="With --watch: end after so many seconds without a new image.")
        ] = None,
        engine: Engine = "local",
        address: Address = None,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        """Inspect further images of the material that a model was fitted to."""
        with Guard(verbose):
            config = _own_settings(
                read_settings(
                    None,
                    assignments,
                    threads=threads,
                    device=device,
                    maps=maps,
                    cache=False if no_cache else None,
                    cache_dir=cache_dir,
                )
            )
            from blemish.distributed import Shard
            from blemish.model import FittedModel

            part = Shard.parse(shard) if shard is not None else None
            fitted = _placed(FittedModel.load(model), roi)
            if watch and part:
                raise ConfigError("--watch and --shard exclude each other; give one of them")
            if uses_ray(engine, address, watch or part is not None):
                predict_by_ray(fitted, folder, out, config, quiet, address, threads)
            elif watch:
                _watch(fitted, Path(folder), out, config, idle, quiet)
            else:
                _predict(fitted, folder, out, config, quiet, part)


def _placed(model: FittedModel, roi: str | None) -> FittedModel:
    """The model with another place of the region of interest, if one is given.

    Raises:
        ConfigError: the model was fitted without a region.
    """
    if roi is None:
        return model
    if model.config.image.roi is None:
        raise ConfigError("the model was fitted without a region of interest; fit another model with --roi")
    return model.with_roi(roi)


def _own_settings(config: Config) -> Config:
    """The settings, if none of them contradicts the model's.

    Raises:
        ConfigError: a setting was given that the model has fixed.
    """
    own = {"device", "output", "cache"}
    default = type(config)().model_dump()
    fixed = [name for name, value in config.model_dump().items() if name not in own and value != default[name]]
    if fixed:
        raise ConfigError(
            f"{fixed[0]} is decided when a model is fitted; only device, output and cache can be set here. Fit another model"
        )
    return config


def _predict(model: FittedModel, folder: str, out: Path, config: Config, quiet: bool, shard: Shard | None) -> None:
    """Inspect all images of a folder and write results like those of a run."""
    from blemish.output import prepare_output

    timer = StageTimer(Bars(quiet))
    with prepare_output(out, folder) as output:
        result, photos = _inspected(model, folder, config, quiet, shard, timer)
        result.timings.update(timer.timings)
        if shard is not None:
            result.info.update(shard.note())
        written = write_results(result, photos, output, config, timer)
    print_summary(result, written)
    if result.skipped or written.not_drawn:
        raise typer.Exit(SOME_SKIPPED)


def _inspected(
    model: FittedModel, folder: str, config: Config, quiet: bool, shard: Shard | None, timer: StageTimer
) -> tuple[Result, Callable[[int], Photo] | None]:
    """The result, and what loads the photograph of each row. A shard may have no readable image, a whole set may not."""
    from blemish.images import NothingReadableError
    from blemish.model.prediction import nothing_found

    try:
        with timer.stage(Stage.READ) as advance:
            source = model.source(folder, shard=(shard.index, shard.count) if shard else None)
            advance(1)
        result = model.predict(source, device=config.device, cache=config.cache, progress=Bars(quiet))
    except NothingReadableError as error:
        if shard is None:
            raise
        return nothing_found(model, folder, error.skipped), None
    return result, source.full


def _watch(model: FittedModel, folder: Path, out: Path, config: Config, idle: float | None, quiet: bool) -> None:
    """Inspect images as they appear in a folder; one line of JSON each is appended to a file."""
    from blemish.backbones import load_backbone
    from blemish.model.watch import Watcher, watch
    from blemish.output import refuse_inside
    from blemish.runtime.device import choose_device

    if not folder.is_dir():
        raise InputError(f"{shown(folder)}: is not a folder; give the folder that images appear in")
    refuse_inside(out, folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
        known = frozenset(_watched(out / WATCH_FILE))
        stream = open(out / WATCH_FILE, "a", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    except OSError as error:
        raise OutputError(f"{shown(out)}: cannot be written ({error.strerror}); choose another folder") from error
    network = load_backbone(model.config.backbone.name, choose_device(config.device))
    if not quiet:
        print_error(
            f"Watching {shown(folder)}; {len(known)} images are in {shown(out / WATCH_FILE)} already. Ctrl-C ends."
        )
    with stream:
        for path in watch(Watcher(folder, known=known), idle=idle):
            start, name = time.perf_counter(), path.relative_to(folder).as_posix()
            for record in _records(model, path, name, config.device, network):
                record["milliseconds"] = round(1000 * (time.perf_counter() - start), 1)
                stream.write(json.dumps(record, ensure_ascii=True) + "\n")
                stream.flush()
                if not quiet:
                    print(f"{shown(name)}: {record.get('group_name') or shown(record.get('error', ''))}", flush=True)


def _records(model: FittedModel, path: Path, name: str, device: str, network: Any) -> Iterator[dict[str, Any]]:
    """What is said about one file; a file that cannot be read gets the reason."""
    from blemish.model.records import image_records

    try:
        result = model.predict([path], device=device, backbone=network)
    except InputError as error:
        yield {"path": name, "error": str(error)}
        return
    for record in image_records(result):
        yield record | {"path": name}


def _watched(path: Path) -> Iterator[str]:
    """Paths of the images that an earlier watch has written; a line that was cut short is ignored."""
    if not path.exists():
        return
    with open(path, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("path"), str):
                yield record["path"]


def _add_update(app: typer.Typer) -> None:
    @app.command()
    def update(
        model: ModelFolder,
        folder: ImageFolder,
        *,
        roi: Roi = None,
        device: Device = None,
        threads: Threads = None,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        """Fold further images into a model: more examples of its types, and new types."""
        with Guard(verbose):
            config = read_settings(None, None, threads=threads, device=device)
            from blemish.model import FittedModel, model_folder
            from blemish.model import update as fold

            fitted = _placed(FittedModel.load(model), roi)
            result = fitted.predict(folder, device=config.device, progress=Bars(quiet))
            found = fold(fitted, result)
            save_model(found.model, model_folder(model))
            print(f"{counted(len(result.paths), 'image')}, {found.added} added as examples")
            if found.moved:
                print(f"  {counted(found.moved, 'earlier image')} moved to another type; types with a name keep theirs")
            for label in found.new_types:
                members = counted(int((found.labels == label).sum()), "image")
                print(f"  new: {found.model.group_name(label)} (number {label}, {members} of these)")
            print(f"  {counted(found.pending, 'image')} unlike every type, kept until there are more of the kind")
            if result.skipped:
                raise typer.Exit(SOME_SKIPPED)


def _add_rename(app: typer.Typer) -> None:
    @app.command()
    def rename(
        model: ModelFolder,
        names: Annotated[list[str], typer.Argument(help="LABEL=NAME, for example 2=scratch.", show_default=False)],
        verbose: Verbose = False,
    ) -> None:
        """Give names to the groups of a model; later results show them."""
        with Guard(verbose):
            from blemish.model import FittedModel, model_folder

            fitted = FittedModel.load(model).renamed(dict(map(_name, names)))
            save_model(fitted, model_folder(model))
            for label, name in enumerate(fitted.names):
                print(f"{label}: {shown(name) if name is not None else fitted.group_name(label)}")


def _name(text: str) -> tuple[int, str]:
    """Label and name from ``LABEL=NAME``."""
    label, equals, name = text.partition("=")
    if not equals or not label.strip().isdecimal() or not name.strip() or len(name) > 200:
        raise ConfigError(f"{shown(text)[:200]!r} is no name of a group; write LABEL=NAME, for example 2=scratch")
    return int(label), name.strip()
