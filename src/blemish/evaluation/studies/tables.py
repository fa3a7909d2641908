"""Tables of a study: a document for JSON and Markdown for people."""

from __future__ import annotations

import math
from typing import Any

from blemish.evaluation.scoring import SCORES
from blemish.evaluation.studies.runner import Cell, StudyResult
from blemish.evaluation.tables import format_summary, table, unreadable_note
from blemish.runtime.csv_table import excerpt


def study_document(found: StudyResult) -> dict[str, Any]:
    """Rows and means of a study, for JSON."""
    means = [{**setting, "scores": scores} for setting, scores in found.summary()] if found.scores else []
    return {
        "study": found.study,
        "set": found.data,
        "notes": found.notes,
        "skipped": found.skipped,
        "left_out": found.left_out,
        "rows": found.rows,
        "summary": means,
    }


def study_markdown(found: StudyResult) -> str:
    """One row per setting with its scores over the seeds, or one row per image if the rows are images."""
    if found.scores:
        head = [*found.keys, *(SCORES[name] for name in found.scores)]
        body = [
            [*map(_format_cell, setting.values()), *map(format_summary, scores.values())]
            for setting, scores in found.summary()
        ]
    else:
        head = list(found.rows[0])
        body = [[_format_cell(value) for value in row.values()] for row in found.rows]
    notes = [*found.notes]
    if found.skipped:
        notes.append(f"{found.data}: {unreadable_note(len(found.skipped), 'row')}")
    if found.left_out:
        named = "".join(f"\n- {excerpt(file.path, 300)}: {file.reason}" for file in found.left_out)
        notes.append(f"{found.data}: images without a usable mask, in no pixel score: {len(found.left_out)}\n{named}")
    return "\n\n".join([f"Study: {found.study}, set: {found.data}", table(head, body), *notes]) + "\n"


def _format_cell(value: Cell) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ("–" if math.isnan(value) else f"{value:.4g}") if isinstance(value, float) else str(value)
