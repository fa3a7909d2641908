"""Evaluations as JSON, CSV and Markdown; each file is written whole or not at all, and no foreign file is replaced."""

from __future__ import annotations

import csv
import io
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from blemish import __version__
from blemish.errors import OutputError, shown
from blemish.evaluation.evaluate import SCORES, Evaluation, RunScores, Spread, mean_over_sets
from blemish.output import explain_os_errors, refuse_inside, to_json_types
from blemish.runtime.atomic import write_atomically

if TYPE_CHECKING:
    from blemish.evaluation.studies.run import Findings

SCHEMA = "blemish.evaluation"
SUFFIXES = (".json", ".csv", ".md")


def claim_folder(out: Path, stem: str, sources: Iterable[Path], suffixes: Sequence[str] = SUFFIXES) -> Path:
    """Make the output folder and see that ``stem`` + suffix may be written there, before any work is spent.

    Raises:
        OutputError: a file of that name that is not ours, a folder inside a data set, or no permission.
    """
    for source in sources:
        if source.is_dir():
            refuse_inside(out, source)
    with explain_os_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    present = [out / (stem + suffix) for suffix in suffixes if (out / (stem + suffix)).exists()]
    if present and not _is_ours(out / f"{stem}.json"):
        raise OutputError(f"{shown(present[0])}: is in the way and not ours; move it or choose another folder")
    with explain_os_errors(out), tempfile.TemporaryFile(dir=out):  # a folder may exist and still take no file
        pass
    return out


def _is_ours(file: Path) -> bool:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("schema") == SCHEMA


def write_files(
    out: Path, stem: str, document: dict[str, Any], rows: Sequence[dict[str, Any]], markdown: str
) -> list[Path]:
    """``stem.json``, ``.csv`` and ``.md`` in a folder that :func:`claim_folder` has returned; JSON comes last.

    ``rows`` share their keys, which become the CSV's header; ``nan`` and None become empty cells there and null in
    JSON.
    """
    return [
        _write(out / f"{stem}.md", lambda stream: _text(stream, markdown)),
        _write(out / f"{stem}.csv", lambda stream: _csv(stream, rows)),
        _write(
            out / f"{stem}.json",
            lambda stream: _text(
                stream,
                json.dumps(
                    to_json_types({"schema": SCHEMA, "schema_version": 1, "version": __version__, **document}),
                    indent=2,
                    allow_nan=False,
                )
                + "\n",
            ),
        ),
    ]


def _write(path: Path, writer: Callable[[BinaryIO], object]) -> Path:
    with explain_os_errors(path):
        return write_atomically(path, writer)


def _text(stream: BinaryIO, text: str) -> None:
    stream.write(text.encode("utf-8"))


def _csv(stream: BinaryIO, rows: Sequence[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    _text(stream, text.getvalue())


def _cell(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def document(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Everything about the evaluations, ready for JSON."""
    sets = [
        {
            "name": one.name,
            "images": one.images,
            "classes": one.class_counts,
            "clusters": one.clusters,
            "clusters_from_labels": one.clusters_from_labels,
            "undrawn": one.undrawn,
            "scores": one.summary(),
            "runs": one.runs,
        }
        for one in evaluations
    ]
    return {"sets": sets, "mean": mean_over_sets(evaluations)}


def rows(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """One row per set and seed; equal for equal runs, so without times."""
    return [
        {
            "set": one.name,
            "images": one.images,
            "classes": len(one.class_counts),
            "clusters": one.clusters,
            "seed": run.seed,
            **run.scores,
            "groups": run.groups,
            "share_anomalous": run.share_anomalous,
        }
        for one in evaluations
        for run in one.runs
    ]


def markdown(evaluations: Sequence[Evaluation]) -> str:
    """Tables for people: scores per set and their mean, ranges over seeds, one confusion table per set, what to know."""
    parts = [_score_table(evaluations)]
    if any(len(one.runs) > 1 for one in evaluations):
        parts.append("Range over the seeds:\n\n" + _range_table(evaluations))
    for one in evaluations:
        parts.append(f"{one.name}, seed {one.runs[0].seed}: images of each class in each group\n\n" + _confusion(one))
    return "\n\n".join([*parts, *_notes(evaluations)]) + "\n"


def _score_table(evaluations: Sequence[Evaluation]) -> str:
    body = [
        [one.name, str(one.images), str(one.clusters), str(len(one.runs)), *map(shown_spread, one.summary().values())]
        for one in evaluations
    ]
    if len(evaluations) > 1:
        mean = mean_over_sets(evaluations).values()
        body.append(
            ["mean", "", "", "", *(_mean_cell(one, len(evaluations)) for one in mean)],
        )
    return table(["set", "images", "groups", "seeds", *SCORES.values()], body)


def _mean_cell(one: Spread, sets: int) -> str:
    """A mean that not every set takes part in says so."""
    return shown_score(one.mean) + (f" ({one.count} sets)" if 0 < one.count < sets else "")


def _range_table(evaluations: Sequence[Evaluation]) -> str:
    def cell(one: Spread) -> str:
        return f"{shown_score(one.low)} to {shown_score(one.high)}" if one.count else "–"

    body = [[one.name, *map(cell, one.summary().values())] for one in evaluations]
    return table(["set", *SCORES.values()], body)


def _confusion(one: Evaluation) -> str:
    run: RunScores = one.runs[0]
    counts = run.confusion.counts.tolist()
    body = [
        [
            str(label),
            *(f"[{n}]" if n and column == partner else str(n) for column, n in enumerate(row)),
        ]
        for label, row, partner in zip(run.confusion.classes, counts, run.confusion.matching, strict=True)
    ]
    return table(["class", *run.group_names], body)


def _notes(evaluations: Sequence[Evaluation]) -> list[str]:
    notes = ["[n]: the group that the class is matched with for F1. ±: standard deviation over the seeds."]
    if any(one.clusters_from_labels for one in evaluations):
        notes.append("The number of groups is the number of classes, the one fact taken from the labels.")
    for one in evaluations:
        if one.undrawn:
            notes.append(f"{one.name}: {one.undrawn} images of types without masks are in no pixel score.")
        skipped = {file.path for run in one.runs for file in run.skipped}
        if skipped:
            notes.append(f"{one.name}: {_unread(len(skipped))} in no score.")
    return notes


def _unread(count: int) -> str:
    return "1 file could not be read and is" if count == 1 else f"{count} files could not be read and are"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Markdown table with aligned columns, so that it reads in a terminal, too; the first column is flushed left.

    >>> print(table(["set", "F1"], [["a", "0.5"]]))
    | set |  F1 |
    |-----|----:|
    | a   | 0.5 |
    """
    clean = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [head, *body]]
    widths = [max(len(row[i]) for row in clean) for i in range(len(head))]
    lines = [
        "| "
        + " | ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in clean
    ]
    rule = "|" + "|".join("-" * (w + 1) + ":" if i else "-" * (w + 2) for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def shown_score(value: float) -> str:
    """Three digits; only a perfect score prints as 1.000, perfect up to the rounding of its sum.

    >>> shown_score(0.99996), shown_score(1.0), shown_score(float("nan"))
    ('0.999', '1.000', '–')
    """
    if math.isnan(value):
        return "–"
    return "0.999" if 0.999 < value < 1 - 1e-9 else f"{value:.3f}"


def shown_spread(one: Spread) -> str:
    """Mean, with its standard deviation where there are several values."""
    return shown_score(one.mean) + ("" if math.isnan(one.deviation) else f" ± {one.deviation:.3f}")


def study_document(found: Findings) -> dict[str, Any]:
    """Rows and means of a study, ready for JSON."""
    means = [{**setting, "scores": scores} for setting, scores in found.summary()] if found.scores else []
    return {
        "study": found.study,
        "set": found.data,
        "notes": found.notes,
        "skipped": found.skipped,
        "rows": found.rows,
        "summary": means,
    }


def study_markdown(found: Findings) -> str:
    """One row per setting with the scores over the seeds, or one per image where rows are images."""
    if found.scores:
        head = [*found.keys, *(SCORES[name] for name in found.scores)]
        body = [
            [*(_plain_cell(v) for v in setting.values()), *map(shown_spread, scores.values())]
            for setting, scores in found.summary()
        ]
    else:
        head = list(found.rows[0])
        body = [[_plain_cell(value) for value in row.values()] for row in found.rows]
    notes = [*found.notes]
    if found.skipped:
        notes.append(f"{found.data}: {_unread(len(found.skipped))} in no row.")
    return "\n\n".join([f"Study: {found.study}, set: {found.data}", table(head, body), *notes]) + "\n"


def _plain_cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ("–" if math.isnan(value) else f"{value:.4g}") if isinstance(value, float) else str(value)
