"""Tables of an evaluation: rows for CSV, a document for JSON and Markdown for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from blemish.errors import shown
from blemish.evaluation.evaluate import Evaluation, mean_over_sets
from blemish.evaluation.scoring import SCORES, ScoreSummary
from blemish.results import Skipped
from blemish.runtime.csv_table import excerpt


def document(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Everything about the evaluations, for JSON."""
    sets = [
        {
            "name": one.name,
            "images": one.images,
            "classes": one.class_counts,
            "unreadable_classes": one.unreadable_classes,
            "n_clusters": one.n_clusters,
            "n_clusters_from_labels": one.n_clusters_from_labels,
            "unannotated": one.unannotated,
            "left_out": len(_left_out(one)),
            "scores": one.summary(),
            "runs": one.runs,
        }
        for one in evaluations
    ]
    return {"sets": sets, "mean": mean_over_sets(evaluations)}


def rows(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """One row per set and seed, without durations, so equal runs give equal rows."""
    return [
        {
            "set": one.name,
            "images": one.images,
            "classes": len(one.class_counts) - len(one.unreadable_classes),
            "n_clusters": one.n_clusters,
            "seed": run.seed,
            **run.scores,
            "groups": run.groups,
            "share_anomalous": run.share_anomalous,
            "skipped": len(run.skipped),
            "left_out": len(run.left_out),
            "ignored_pixels": run.ignored_pixels,
        }
        for one in evaluations
        for run in one.runs
    ]


def markdown(evaluations: Sequence[Evaluation]) -> str:
    """Scores per set and their mean, ranges over the seeds, one confusion table per set, and notes."""
    parts = [_score_table(evaluations)]
    if any(len(one.runs) > 1 for one in evaluations):
        parts.append("Range over the seeds:\n\n" + _range_table(evaluations))
    for one in evaluations:
        parts.append(f"{one.name}, seed {one.runs[0].seed}: images of each class in each group\n\n" + _confusion(one))
    return "\n\n".join([*parts, *_notes(evaluations)]) + "\n"


def _score_table(evaluations: Sequence[Evaluation]) -> str:
    body = [
        [
            one.name,
            str(one.images),
            str(one.n_clusters),
            str(len(one.runs)),
            *map(format_summary, one.summary().values()),
        ]
        for one in evaluations
    ]
    if len(evaluations) > 1:
        mean = mean_over_sets(evaluations).values()
        body.append(["mean", "", "", "", *(_mean_cell(one, len(evaluations)) for one in mean)])
    return table(["set", "images", "groups", "seeds", *SCORES.values()], body)


def _mean_cell(one: ScoreSummary, sets: int) -> str:
    """The mean, with the number of sets if some sets do not have the score."""
    return format_score(one.mean) + (f" ({one.count} sets)" if 0 < one.count < sets else "")


def _range_table(evaluations: Sequence[Evaluation]) -> str:
    def cell(one: ScoreSummary) -> str:
        return f"{format_score(one.low)} to {format_score(one.high)}" if one.count else "–"

    body = [[one.name, *map(cell, one.summary().values())] for one in evaluations]
    return table(["set", *SCORES.values()], body)


def _confusion(one: Evaluation) -> str:
    run = one.runs[0]
    counts = run.confusion.counts.tolist()
    body = [
        [str(label), *(f"[{n}]" if n and column == match else str(n) for column, n in enumerate(row))]
        for label, row, match in zip(run.confusion.classes, counts, run.confusion.matching, strict=True)
    ]
    return table(["class", *run.group_names], body)


def _notes(evaluations: Sequence[Evaluation]) -> list[str]:
    notes = ["[n]: the group that the class is matched with for F1. ±: standard deviation over the seeds."]
    if any(one.n_clusters_from_labels for one in evaluations):
        notes.append("The number of groups is the number of classes; nothing else is taken from the labels.")
    return notes + [f"{one.name}: {note}" for one in evaluations for note in _notes_on(one)]


def _notes_on(one: Evaluation) -> list[str]:
    """What the scores of a set do not include, each file named once."""
    notes = []
    if one.unannotated:
        notes.append(f"{_number(one.unannotated, 'image')} of types without masks: in no pixel score.")
    skipped = {file.path for run in one.runs for file in run.skipped}
    if skipped:
        notes.append(unreadable_note(len(skipped), "score"))
    for label in one.unreadable_classes:
        notes.append(f"no image of the class {excerpt(label)} could be read; the class is not counted.")
    left_out = _left_out(one)
    if left_out:
        named = "".join(f"\n- {excerpt(file.path, 300)}: {file.reason}" for file in left_out)
        notes.append(f"{_number(len(left_out), 'image')} without a usable mask: in no pixel score.\n{named}")
    ignored = max((run.ignored_pixels for run in one.runs), default=0)
    if ignored:
        notes.append(
            f"the masks hold class numbers beside the highest value (255 or 65535), which is read as "
            f'"ignore": {_number(ignored, "pixel")} in no pixel score.'
        )
    return notes


def _left_out(one: Evaluation) -> list[Skipped]:
    return list({file.path: file for run in one.runs for file in run.left_out}.values())


def unreadable_note(count: int, what: str) -> str:
    """A sentence on files that could not be read; ``what`` is the thing that does not include them."""
    return f"{_number(count, 'file')} could not be read and {'is' if count == 1 else 'are'} in no {what}."


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Markdown table with aligned columns, readable in a terminal; the first column is flushed left.

    Control characters are escaped, so that no label or file name can steer a terminal.

    >>> print(table(["set", "F1"], [["a", "0.5"]]))
    | set |  F1 |
    |-----|----:|
    | a   | 0.5 |
    """
    clean = [[shown(cell.replace("\n", " ")).replace("|", "\\|") for cell in row] for row in [head, *body]]
    widths = [max(len(row[i]) for row in clean) for i in range(len(head))]
    lines = [
        "| "
        + " | ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in clean
    ]
    rule = "|" + "|".join("-" * (w + 1) + ":" if i else "-" * (w + 2) for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def format_score(value: float) -> str:
    """Three digits; only a perfect score is shown as 1.000, up to the rounding error of its sum.

    >>> format_score(0.99996), format_score(1.0), format_score(float("nan"))
    ('0.999', '1.000', '–')
    """
    if math.isnan(value):
        return "–"
    return "0.999" if 0.999 < value < 1 - 1e-9 else f"{value:.3f}"


def format_summary(one: ScoreSummary) -> str:
    """The mean, with the standard deviation if there are several values."""
    return format_score(one.mean) + ("" if math.isnan(one.deviation) else f" ± {one.deviation:.3f}")
