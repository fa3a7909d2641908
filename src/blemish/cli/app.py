"""The command line: ``blemish run``, ``demo``, ``evaluate``, ``config``. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish import __version__
from blemish.cli.evaluate import add_evaluate
from blemish.cli.options import ConfigFile, Preset, Quiet, RunOptions, Settings, Verbose, takes_run_options
from blemish.cli.shared import SOME_SKIPPED, Bars, Guard, read_settings
from blemish.cli.study import add_study

if TYPE_CHECKING:
    from blemish.config.schema import Config
    from blemish.images.source import ImageSource
    from blemish.output import OutputFolder, OutputPaths
    from blemish.results import Result

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find defects in images of one texture and sort them into types, without labels.",
)

Folder = Annotated[Path, typer.Argument(help="Folder with images of one material.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.", show_default=False)]
Clusters = Annotated[str | None, typer.Option(help="Number of groups, the normal one included, or auto.")]
Maps = Annotated[str | None, typer.Option(help="feature, image or none.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Compute everything; neither read nor keep earlier results.")]
CacheDir = Annotated[str | None, typer.Option(help="Folder where results are kept for later runs.")]


def _work(folder: Path, out: Path, config: Config, quiet: bool) -> tuple[Result, OutputPaths]:
    from blemish.images.source import ImageSource
    from blemish.output import prepare_output
    from blemish.pipeline import run_source

    bars = Bars(quiet)
    opened: list[ImageSource] = []

    def open_source(cfg: Config) -> ImageSource:
        opened.append(ImageSource(folder, cfg.image))
        return opened[0]

    with prepare_output(out, folder) as output:
        result = run_source(open_source, config, bars)
        start = time.perf_counter()
        with bars.stage("Writing results", len(result.paths)) as bar:
            written = write_results(result, opened[0], output, config, lambda _done, _total: bar.advance())
    result.timings["output"] = round(time.perf_counter() - start, 3)
    return result, written


def write_results(
    result: Result,
    source: ImageSource,
    out: OutputFolder,
    config: Config,
    progress: Callable[[int, int], None] | None = None,
) -> OutputPaths:
    """Write all files that the settings ask for into a folder that ``prepare_output`` has claimed."""
    from blemish.output import write_outputs

    return write_outputs(
        result,
        out,
        maps=config.output.maps,
        overlays=config.output.overlays,
        report=config.output.report,
        load_image=source.full,
        progress=progress,
    )


def _summary(result: Result, written: OutputPaths) -> None:
    from blemish.images.loading import shown

    n, bad = len(result.paths), int(result.is_anomalous.sum())
    print(f"{_some(n, 'image')}, {bad} anomalous ({100 * bad / n:.1f} %), {_some(result.n_clusters, 'group')}")
    for label in range(result.n_clusters):
        print(f"  {result.cluster_name(label)}: {_some(int((result.labels == label).sum()), 'image')}")
    if result.threshold_warning:
        print(f"  {result.threshold_warning}")
    for one in result.skipped:
        print(f"skipped: {shown(one.path)}: {shown(one.reason)}", file=sys.stderr)
    for one in written.not_drawn:
        print(f"not drawn: {shown(one.path)}: {shown(one.reason)}", file=sys.stderr)
    if result.skipped:
        print(f"  {_some(len(result.skipped), 'file')} could not be read: left out")
    if written.not_drawn:
        print(f"  {_some(len(written.not_drawn), 'image')} could not be read a second time: no picture")
    if any(found for found, _ in result.info["cache"].values()):
        print(f"  from the cache: {_from_cache(result.info['cache'])}")
    print(f"Results: {shown(written.root)}" + (f"; open {shown(written.report)}" if written.report else ""))


def _some(count: int, noun: str) -> str:
    """Count and noun, in characters that every terminal has.

    >>> _some(1, "image"), _some(0, "file")
    ('1 image', '0 files')
    """
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _from_cache(report: dict[str, list[int]]) -> str:
    """Stages that were not computed, with the share of their entries where it is not all of them.

    >>> _from_cache({"normality": [1, 1], "maps": [3, 8], "groups": [0, 1]})
    'normality, maps (3 of 8)'
    """
    parts = [(kind, found, count) for kind, (found, count) in report.items() if found]
    return ", ".join(kind if found == count else f"{kind} ({found} of {count})" for kind, found, count in parts)


@app.command()
@takes_run_options
def run(
    folder: Folder,
    out: Out,
    *,
    clusters: Clusters = None,
    maps: Maps = None,
    options: RunOptions,
    no_cache: NoCache = False,
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find the defects in a folder of images and sort them into types."""
    with Guard(verbose):
        settings = options.settings(
            clusters=clusters, maps=maps, cache=False if no_cache else None, cache_dir=cache_dir
        )
        result, written = _work(folder, out, settings, quiet)
        _summary(result, written)
        if result.skipped or written.not_drawn:
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
    with Guard(verbose):
        from blemish.synthetic.demo import make_demo

        config = read_settings(None, None, seed=seed)
        result_dir = out / "results"
        drawn = make_demo(out, seed=seed, n_images=images)
        result, written = _work(drawn.images, result_dir, config, quiet)
        _summary(result, written)
        _compare(result, drawn.truth / "labels.csv")


def _compare(result: Result, labels: Path) -> None:
    """How well the groups agree with what was drawn; the run itself never saw it."""
    import csv

    from blemish.evaluation.metrics import nmi

    with labels.open(encoding="utf-8", newline="") as handle:
        truth = {Path(row["path"]).name: row["label"] for row in csv.DictReader(handle)}
    drawn = [truth[Path(path).name] for path in result.paths]
    agreement = nmi(drawn, result.labels.tolist())
    print(f"Against what was drawn (not seen by the run): NMI {agreement:.3f}, {len(set(drawn))} groups drawn")


add_evaluate(app)
add_study(app)


@app.command("config")
def show_config(preset: Preset = None, config: ConfigFile = None, assignments: Settings = None) -> None:
    """Print the settings that a run would use, as TOML."""
    with Guard(False):
        print(read_settings(config, assignments, preset=preset).to_toml(), end="")


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


def main() -> None:
    """Entry point of the command."""
    app()
