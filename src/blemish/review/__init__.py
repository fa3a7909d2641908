"""Review of a result by a person: the operations, the log that keeps them, a local server, and their effect."""

from blemish.review.corrections import corrected, start_of
from blemish.review.knowledge import knowledge, read_knowledge
from blemish.review.load import kept_review, load_corrected, open_session, with_review
from blemish.review.log import REVIEW_FILE, ReviewLog, read_log
from blemish.review.operations import Operation, parse_operation
from blemish.review.replay import Reviewed, replay
from blemish.review.session import Session
from blemish.review.told import read_normal, read_types

__all__ = [
    "REVIEW_FILE",
    "Operation",
    "ReviewLog",
    "Reviewed",
    "Session",
    "corrected",
    "kept_review",
    "knowledge",
    "load_corrected",
    "open_session",
    "parse_operation",
    "read_knowledge",
    "read_log",
    "read_normal",
    "read_types",
    "replay",
    "start_of",
    "with_review",
]
