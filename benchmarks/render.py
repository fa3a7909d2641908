"""Render docs/benchmarks.md from benchmarks/results/*.json.

    python -m benchmarks.render [--check]

The page depends on the JSON files alone. With ``--check`` nothing is written, and the command fails if the page is not
what the files say.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from benchmarks._results import RESULTS, ResultsError, Table, load, markdown

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

SECTIONS = (
    "accuracy",
    "drawn",
    "views",
    "regions",
    "several_defects",
    "fitted_model",
    "prediction_time",
    "review",
    "anomaly_decision",
    "moved_threshold",
    "reject_bins",
    "known_normal",
    "defaults",
    "networks",
    "scale",
    "gpu",
    "backbone_speed",
    "stages",
    "reruns",
    "memory",
    "large_images",
    "report",
    "busy",
    "kills",
    "hostile",
    "fca_speed",
    "kernels",
    "ward_scale",
    "vae_sampling",
)
"""The tables in the order of the page; each is measured by the command of its name."""

NOT_MEASURED: frozenset[str] = frozenset(SECTIONS) - {
    "fitted_model",
    "hostile",
    "kills",
    "known_normal",
    "large_images",
    "moved_threshold",
    "prediction_time",
    "reject_bins",
    "report",
    "review",
    "scale",
    "several_defects",
    "views",
}
"""Tables that this version has not measured yet. The page names their commands; a name leaves with its JSON file."""

LINE = 120
"""Most characters of a line of text."""

INTRODUCTION = """\
# Benchmarks

This page is rendered by `python -m benchmarks.render` from `benchmarks/results/*.json`; each section ends with the
command that measures its table again. Commands run from the root of the repository. `DATA` is a folder with the image
sets that [`benchmarks/_sets.py`](../benchmarks/_sets.py) lists. [`benchmarks/run_all.sh`](../benchmarks/run_all.sh) has
all commands with their durations.

"a ± b" is the mean and the standard deviation over the seeds. Labels are read after a run only, to score it; where a
table does not say otherwise, the one fact taken from them is the number of groups.
"""


def page(folder: Path = RESULTS, sections: Sequence[str] = SECTIONS, left_out: frozenset[str] = NOT_MEASURED) -> str:
    """The whole page.

    Raises:
        ResultsError: a table is missing, is not one, or is in the folder and in no section.
    """
    present = {path.stem for path in folder.glob("*.json")}
    if unknown := sorted(present - set(sections)):
        raise ResultsError(f"{unknown[0]}.json is in no section: add its name to SECTIONS in benchmarks/render.py")
    if measured := sorted(present & left_out):
        raise ResultsError(f"{measured[0]}.json exists: take its name out of NOT_MEASURED in benchmarks/render.py")
    parts = [section(load(name, folder)) for name in sections if name not in left_out]
    if left_out:
        commands = "\n".join(f"    python -m benchmarks.{name}" for name in sections if name in left_out)
        parts.append(f"## Not measured with this version yet\n\n{commands}\n")
    return "\n".join([INTRODUCTION, *parts])


def section(table: Table) -> str:
    """One section: title, text, table, command and origin."""
    one = table.machine
    origin = f"Measured with version {table.version} on {table.date}: {one.processor}, {one.cores} cores, {one.memory_gb} GB."
    seeds = f" Seeds: {', '.join(map(str, table.seeds))}." if table.seeds else ""
    parts = [
        f"## {table.title}",
        textwrap.fill(table.text, LINE, break_long_words=False, break_on_hyphens=False),
        markdown(table.columns, table.rows),
        f"    {table.command}",
        origin + seeds,
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Write the page, or compare it."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--check", action="store_true", help="compare only")
    args = options.parse_args()
    try:
        text = page()
    except ResultsError as error:
        sys.exit(f"error: {error}")
    if args.check:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit("error: docs/benchmarks.md is not up to date: run python -m benchmarks.render")
        return
    PAGE.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
