"""Studies on a labeled set: each part of the method is varied, and the results are tabulated and drawn."""

from blemish.evaluation.studies.figures import draw_figure
from blemish.evaluation.studies.registry import STUDIES, Study, find_study, run_study
from blemish.evaluation.studies.runner import PictureRow, StudyResult, StudyRunner, TitledPicture
from blemish.evaluation.studies.tables import study_document, study_markdown

__all__ = [
    "STUDIES",
    "PictureRow",
    "Study",
    "StudyResult",
    "StudyRunner",
    "TitledPicture",
    "draw_figure",
    "find_study",
    "run_study",
    "study_document",
    "study_markdown",
]
