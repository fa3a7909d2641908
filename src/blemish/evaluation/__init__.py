"""Scores of the method on labeled images: data sets, metrics, evaluation runs, tables and studies.

The method itself never reads a label; nothing outside this folder and the command line imports it.
"""

from blemish.evaluation.datasets import Layout, load_dataset
from blemish.evaluation.evaluate import Evaluation, evaluate, mean_over_sets, run_and_score
from blemish.evaluation.labeled_set import LabeledSet, is_normal
from blemish.evaluation.masks import Mask, read_mask
from blemish.evaluation.metrics import (
    ConfusionTable,
    ari,
    average_precision,
    clustering_scores,
    confusion_table,
    image_auroc,
    matched_f1,
    nmi,
    purity,
)
from blemish.evaluation.pixel_metrics import PixelScores, pixel_auroc
from blemish.evaluation.scoring import SCORES, RunScores, ScoreSummary, score, summarize

__all__ = [
    "SCORES",
    "ConfusionTable",
    "Evaluation",
    "LabeledSet",
    "Layout",
    "Mask",
    "PixelScores",
    "RunScores",
    "ScoreSummary",
    "ari",
    "average_precision",
    "clustering_scores",
    "confusion_table",
    "evaluate",
    "image_auroc",
    "is_normal",
    "load_dataset",
    "matched_f1",
    "mean_over_sets",
    "nmi",
    "pixel_auroc",
    "purity",
    "read_mask",
    "run_and_score",
    "score",
    "summarize",
]
