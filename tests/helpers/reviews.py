"""Operations of a review, with ids and times that tests need not care about."""

from __future__ import annotations

import json
import uuid
from typing import Any

from blemish.review.operations import Operation, parse_operation

TIME = "2031-05-06T07:08:09Z"


def as_json(op: str, *, number: int | None = None, **fields: Any) -> str:
    """The JSON of one operation; equal numbers give equal ids."""
    one = uuid.uuid4() if number is None else uuid.UUID(int=number)
    return json.dumps({"id": str(one), "time": TIME, "op": op, **fields})


def operation(op: str, *, number: int | None = None, **fields: Any) -> Operation:
    """One operation; equal numbers give equal ids."""
    return parse_operation(as_json(op, number=number, **fields))
