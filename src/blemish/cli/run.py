"""``blemish run``: find the defects in a folder of images and write everything that was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.cli.options import Quiet, RunOptions, Verbose, takes_run_options
from blemish.cli.shared import SOME_SKIPPED, Guard, counted
from blemish.errors import ConfigError, shown
from blemish.runtime.progress import Stage, StageTimer
from blemish.runtime.terminal import Bars, print_error

if TYPE_CHECKING:
    from blemish.clustering import Knowledge
    from blemish.config.schema import Config
    from blemish.images import Photo
    from blemish.output import OutputFolder, OutputPaths
    from blemish.results import Result

Folder = Annotated[
    str,
    typer.Argument(
        help="Folder, tar file or address such as s3://BUCKET/PREFIX with images of one material, or a CSV or Parquet "
        "file with the column path.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.", show_default=False)]
GroupBy = Annotated[str | None, typer.Option(help="What groups are made of: defect, image, or auto.")]
NClusters = Annotated[str | None, typer.Option(help="Number of groups, including the normal group, or auto.")]
Maps = Annotated[str | None, typer.Option(help="Anomaly maps to write: feature, image or none.")]
Report = Annotated[str | None, typer.Option(help="Pictures of the report: folder, or single for one file.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither read nor store intermediate results.")]
CacheDir = Annotated[str | None, typer.Option(help="Folder for intermediate results.")]

Review = Annotated[
    Path | None,
    typer.Option(
        help="Review of an earlier run to respect: a results folder, or its review.jsonl.", show_default=False
    ),
]

Normal = Annotated[
    Path | None,
    typer.Option(
        help="Images known to be normal: a folder, or a list of paths in the input folder.", show_default=False
    ),
]
Types = Annotated[
    Path | None,
    typer.Option(help="Types of some images: a CSV file with the columns path and type.", show_default=False),
]


def add_run(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command()
    @takes_run_options
    def run(
        folder: Folder,
        out: Out,
        *,
        n_clusters: NClusters = None,
        group_by: GroupBy = None,
        maps: Maps = None,
        report: Report = None,
        review: Review = None,
        normal: Normal = None,
        types: Types = None,
        options: RunOptions,
        no_cache: NoCache = False,
        cache_dir: CacheDir = None,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        """Find the defects in a folder of images and sort them into types."""
        with Guard(verbose):
            config = options.settings(
                n_clusters=n_clusters,
                group_by=group_by,
                maps=maps,
                report=report,
                cache=False if no_cache else None,
                cache_dir=cache_dir,
            )
            knowledge, also = read_knowledge(review, normal, types)
            result, written = run_and_write(folder, out, config, quiet, knowledge, also)
            print_summary(result, written)
            _print_review(result, written, knowledge)
            if result.skipped or written.not_drawn:
                raise typer.Exit(SOME_SKIPPED)


def read_knowledge(
    review: Path | None, normal: Path | None, types: Path | None
) -> tuple[Knowledge | None, Path | None]:
    """What is known of images before a run, None if nothing is; and the folder of normal images to read with them."""
    from blemish import review as reviews

    if review is not None and types is not None:
        raise ConfigError("--review and --types both say which image is of which type; give one of them")
    knowledge = reviews.read_knowledge(review) if review is not None else None
    if types is not None:
        knowledge = reviews.read_types(types)
    if normal is not None and normal.is_dir():
        return knowledge, normal
    return (knowledge if normal is None else reviews.read_normal(normal, knowledge)), None


def _print_review(result: Result, written: OutputPaths, knowledge: Knowledge | None) -> None:
    """Print what the run did with a review, and what the folder still has of one."""
    from blemish.review import kept_review

    if knowledge is not None:
        missing = knowledge.missing(result.paths)
        print(f"  {counted(len(knowledge.placed) - len(missing), 'known image')} respected")
        if missing:
            print(f"  {counted(len(missing), 'known image')} not among the images, such as {shown(missing[0])}")
    kept = kept_review(written.root, result)
    if kept:
        print(f"  {kept}")


def run_and_write(
    folder: str | Path,
    out: Path,
    config: Config,
    quiet: bool,
    knowledge: Knowledge | None = None,
    also: Path | None = None,
) -> tuple[Result, OutputPaths]:
    """Run the method on a folder and write all outputs, with progress on stderr; ``also`` holds known normal images."""
    from blemish.images import ImageSource
    from blemish.output import prepare_output
    from blemish.pipeline import run

    timer = StageTimer(Bars(quiet))
    with prepare_output(out, folder) as output:
        with timer.stage(Stage.READ) as advance:
            source = ImageSource(folder, config.image, also=also)
            advance(1)
        result = run(source, config, progress=Bars(quiet), knowledge=knowledge)
        result.timings.update(timer.timings)
        written = write_results(result, source.full, output, config, timer)
    result.timings.update(timer.timings)
    return result, written


def write_results(
    result: Result,
    load_image: Callable[[int], Photo] | None,
    out: OutputFolder,
    config: Config,
    timer: StageTimer,
) -> OutputPaths:
    """Write all files that the settings ask for into a folder that ``prepare_output`` has claimed, as a stage of its own."""
    from blemish.output import write_outputs

    with timer.stage(Stage.OUTPUT, len(result.paths)) as advance:
        return write_outputs(
            result,
            out,
            maps=config.output.maps,
            overlays=config.output.overlays,
            report=config.output.report,
            report_mode=config.output.report_mode,
            model=config.output.model,
            load_image=load_image,
            progress=lambda _done, _total: advance(1),
        )


def print_summary(result: Result, written: OutputPaths) -> None:
    """Print what was found, how many files were skipped, and where the results are. The log has named the files."""
    n, anomalous = len(result.paths), int(result.is_anomalous.sum())
    share = 100 * anomalous / max(n, 1)
    print(f"{counted(n, 'image')}, {anomalous} anomalous ({share:.1f} %), {counted(result.n_clusters, 'group')}")
    groups, needs_check = result.groups, result.needs_check
    for label in result.group_numbers:
        members = groups == label
        check = f", {(members & needs_check).sum()} to check" if (members & needs_check).any() else ""
        print(f"  {result.cluster_name(label)}: {counted(int(members.sum()), 'image')}{check}")
    if result.group_by_reason:
        print(f"  {result.group_by_reason}")
    for warning in (result.n_clusters_warning, result.threshold_warning, result.drift_warning):
        if warning:
            print(f"  {warning}")
    for note in result.input_notes:
        print(f"  {note}")
    for one in written.not_drawn:
        print_error(f"not drawn: {shown(one.path)}: {shown(one.reason)}")
    if result.skipped:
        print(f"  {counted(len(result.skipped), 'file')} could not be read and were left out")
    if written.not_drawn:
        print(f"  {counted(len(written.not_drawn), 'image')} could not be read again and have no overlay")
    if any(found for found, _ in result.info["cache"].values()):
        print(f"  from the cache: {_from_cache(result.info['cache'])}")
    print(f"Results: {shown(written.root)}" + (f"; open {shown(written.report)}" if written.report else ""))


def _from_cache(report: dict[str, list[int]]) -> str:
    """The stages that came from the cache, with the number of entries where not all of them did.

    >>> _from_cache({"localization": [1, 1], "maps": [3, 8], "groups": [0, 1]})
    'localization, maps (3 of 8)'
    """
    parts = [(kind, found, count) for kind, (found, count) in report.items() if found]
    return ", ".join(kind if found == count else f"{kind} ({found} of {count})" for kind, found, count in parts)
