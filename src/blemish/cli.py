"""The command line: ``blemish run``, ``blemish demo``, ``blemish config``. Heavy imports happen inside the commands."""

from __future__ import annotations

import os
import sys
import time
import traceback
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blemish import __version__
from blemish.errors import BlemishError

if TYPE_CHECKING:
    from blemish.config import Config
    from blemish.pipeline import Advancing
    from blemish.results import Result

OK, UNEXPECTED, USAGE, SOME_SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find defects in images of one texture and sort them into types, without labels.",
)

Folder = Annotated[Path, typer.Argument(help="Folder with images of one material.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.", show_default=False)]
Clusters = Annotated[str | None, typer.Option(help="Number of groups, the normal one included, or auto.")]
Backbone = Annotated[str | None, typer.Option(help="embedded, or timm:MODEL.")]
Size = Annotated[int | None, typer.Option(help="Side in pixels that images are scaled to.")]
Preset = Annotated[str | None, typer.Option(help="default, or paper: the published values.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML or YAML file with settings.")]
Maps = Annotated[str | None, typer.Option(help="feature, image or none.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Any setting: section.key=value. Repeatable.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of the computation.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an unexpected error.")]


class _Bars:
    """Progress on stderr: bars with time left on a terminal, one line per stage elsewhere, nothing when quiet."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def stage(self, name: str, total: int) -> AbstractContextManager[Advancing]:
        return _Bar(name, total, self.quiet)


class _Bar:
    def __init__(self, name: str, total: int, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, quiet=quiet)
        if not console.is_terminal:
            if not quiet:
                print(f"{name} ({total})", file=sys.stderr, flush=True)
            console.quiet = True
        columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console)
        self.task = self.bar.add_task(name, total=total)

    def __enter__(self) -> _Bar:
        self.bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bar.stop()

    def advance(self, n: int = 1) -> None:
        self.bar.advance(self.task, n)


def _settings(config_file: Path | None, assignments: list[str] | None, **flags: Any) -> Config:
    """Flag, then environment, then file, then default."""
    from blemish._config_sources import gather, parse_value

    if isinstance(flags.get("clusters"), str):
        flags["clusters"] = parse_value(flags["clusters"])
    return gather(flags, assignments or [], config_file, os.environ)


def _work(folder: Path, out: Path, config: Config, quiet: bool) -> Result:
    from blemish.outputs import prepare_output, write_outputs
    from blemish.pipeline import run_source
    from blemish.report import write_report
    from blemish.source import ImageSource

    bars = _Bars(quiet)
    prepare_output(out, folder)
    opened: list[ImageSource] = []

    def open_source(cfg: Config) -> ImageSource:
        opened.append(ImageSource(folder, cfg.image))
        return opened[0]

    result = run_source(open_source, config, bars)
    start = time.perf_counter()
    with bars.stage("Writing results", len(result.paths)) as bar:
        load = opened[0].full
        write_outputs(
            result,
            out,
            maps=config.output.maps,
            overlays=config.output.overlays,
            load_image=load,
            progress=lambda _done, _total: bar.advance(),
        )
        if config.output.report:
            write_report(result, out, load)
    result.timings["output"] = round(time.perf_counter() - start, 3)
    return result


def _summary(result: Result, out: Path) -> None:
    n, bad = len(result.paths), int(result.is_anomalous.sum())
    print(f"{n} images, {bad} anomalous ({100 * bad / n:.1f} %), {result.n_clusters} groups")
    for label in range(result.n_clusters):
        print(f"  {result.cluster_name(label)}: {int((result.labels == label).sum())} images")
    for one in result.skipped:
        print(f"skipped: {one.path}: {one.reason}", file=sys.stderr)
    if result.skipped:
        print(f"  {len(result.skipped)} files could not be read and were skipped")
    report = out / "report.html"
    print(f"Results: {out}" + (f"; open {report}" if report.exists() else ""))


@app.command()
def run(
    folder: Folder,
    out: Out,
    clusters: Clusters = None,
    backbone: Backbone = None,
    size: Size = None,
    preset: Preset = None,
    seed: Seed = None,
    device: Device = None,
    config: ConfigFile = None,
    maps: Maps = None,
    assignments: Settings = None,
    threads: Threads = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find the defects in a folder of images and sort them into types."""
    flags = {
        "clusters": clusters,
        "backbone": backbone,
        "size": size,
        "preset": preset,
        "seed": seed,
        "device": device,
        "maps": maps,
    }
    with _Guard(verbose):
        settings = _settings(config, assignments, **flags)
        _use_threads(threads)
        result = _work(folder, out, settings, quiet)
        _summary(result, out)
        if result.skipped:
            raise typer.Exit(SOME_SKIPPED)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the images and the results.")] = Path("blemish-demo"),
    images: Annotated[int, typer.Option(min=4, help="How many images are drawn.")] = 60,
    seed: Annotated[int, typer.Option(help="Seed of the drawing and of the run.")] = 0,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Draw a small set of textures with defects and run the real job on it."""
    with _Guard(verbose):
        from blemish.synth import make_demo

        config = _settings(None, None, seed=seed)
        result_dir = out / "results"
        drawn = make_demo(out, seed=seed, n_images=images)
        result = _work(drawn.images, result_dir, config, quiet)
        _summary(result, result_dir)
        _compare(result, drawn.truth / "labels.csv")


def _compare(result: Result, labels: Path) -> None:
    """How well the groups agree with what was drawn; the run itself never saw it."""
    import csv

    from blemish.metrics import nmi

    with labels.open(encoding="utf-8", newline="") as handle:
        truth = {Path(row["path"]).name: row["label"] for row in csv.DictReader(handle)}
    drawn = [truth[Path(path).name] for path in result.paths]
    agreement = nmi(drawn, result.labels.tolist())
    print(f"Against what was drawn (not seen by the run): NMI {agreement:.3f}, {len(set(drawn))} groups drawn")


@app.command("config")
def show_config(preset: Preset = None, config: ConfigFile = None, assignments: Settings = None) -> None:
    """Print the settings that a run would use, as TOML."""
    with _Guard(False):
        print(_settings(config, assignments, preset=preset).to_toml(), end="")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"blemish {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _use_threads(threads: int | None) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)


class _Guard:
    """Turns errors into one line on stderr and an exit code."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, typer.Exit):
            return
        if isinstance(error, KeyboardInterrupt):
            print("blemish: interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        if isinstance(error, BlemishError):
            print(f"blemish: {error}", file=sys.stderr)
            raise typer.Exit(USAGE) from None
        if isinstance(error, Exception):
            if self.verbose:
                traceback.print_exception(error)
            hint = "" if self.verbose else " (--verbose shows where)"
            print(f"blemish: unexpected {type(error).__name__}: {error}{hint}", file=sys.stderr)
            raise typer.Exit(UNEXPECTED) from None


def main() -> None:
    """Entry point of the command."""
    app()
