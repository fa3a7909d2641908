"""What a person can say about the types of a result: one operation per line of ``review.jsonl``.

A label in an operation is the number of a group: one of the result's own, or one that an earlier operation of the same
log made. Every operation that makes a type reserves its number for good, even if the operation is undone later, so that
a number never means two types.
"""

from __future__ import annotations

import datetime
import json
import unicodedata
import uuid
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)

from blemish.errors import InputError, shown

MAX_LABEL = 99_999
"""Largest number of a group."""

MAX_PARTS = 20
"""Most parts that a type is split into at a time."""

MAX_IMAGES = 1_000_000
"""Most images or regions in one operation."""


def _is_uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("expected a UUID, such as 6fa459ea-ee8a-4ca4-894e-db77e160355e") from None


def _is_time(text: str) -> str:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.utcoffset() != datetime.timedelta(0):
        raise ValueError("expected a time in UTC, such as 2031-05-06T07:08:09Z")
    return text


def _is_name(text: str) -> str:
    # joiners and direction marks belong to the scripts of the world; what breaks a line of a table does not
    if any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text) or not text.strip():
        raise ValueError("expected a name of visible characters on one line")
    return unicodedata.normalize("NFC", text.strip())


def _is_path(value: Any) -> str:
    # a plain check, because text with the odd bytes of a file name is no valid text to pydantic
    if not isinstance(value, str) or not 1 <= len(value) <= 4096:
        raise ValueError("expected the path of an image, of 1 to 4096 characters")
    return value


def _are_distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("expected different values")
    return values


Id = Annotated[str, Field(max_length=45), AfterValidator(_is_uuid)]
Time = Annotated[str, Field(max_length=40), AfterValidator(_is_time)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_is_name)]
Label = Annotated[int, Field(ge=0, le=MAX_LABEL)]
ImagePath = Annotated[str, PlainValidator(_is_path)]
ImagePaths = Annotated[list[ImagePath], Field(max_length=MAX_IMAGES)]
SomeImagePaths = Annotated[ImagePaths, Field(min_length=1)]


class _Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    id: Id
    time: Time


class Rename(_Line):
    """A type gets a name."""

    op: Literal["rename"]
    type: Label
    name: Name


class Merge(_Line):
    """Several types are one; ``into`` is among them, and its number and name stay."""

    op: Literal["merge"]
    types: Annotated[list[Label], Field(min_length=2, max_length=1000), AfterValidator(_are_distinct)]
    into: Label


class Split(_Line):
    """One type is several; the first part keeps the number, each of the others gets the next free one."""

    op: Literal["split"]
    type: Label
    parts: Annotated[list[SomeImagePaths], Field(min_length=2, max_length=MAX_PARTS)]


class RegionPlace(BaseModel):
    """One region: the ``region``-th of an image, counted from 0 in the order of the result."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    image: ImagePath
    region: Annotated[int, Field(ge=0, le=MAX_IMAGES)]


class Move(_Line):
    """Images or single regions belong to another type. A move to its own type confirms an image."""

    op: Literal["move"]
    images: ImagePaths = []
    regions: Annotated[list[RegionPlace], Field(max_length=MAX_IMAGES)] = []
    to: Label


class NewType(_Line):
    """A type without images yet, under a number that is free."""

    op: Literal["new_type"]
    name: Name
    label: Label


class MarkNormal(_Line):
    """Images without a defect."""

    op: Literal["normal"]
    images: SomeImagePaths


class WrongOutline(_Line):
    """Images whose outlines do not show the defect."""

    op: Literal["wrong_outline"]
    images: SomeImagePaths


class Undo(_Line):
    """An earlier operation does not hold."""

    op: Literal["undo"]
    target: Id


class Redo(_Line):
    """An operation that was undone holds again."""

    op: Literal["redo"]
    target: Id


class Start(_Line):
    """The groups that the operations after it speak of; the program writes it, a person never does.

    Attributes:
        paths: all images of the result.
        labels: their groups; -1 is unlike every type.
        normal: the normal group; None if there is none.
        names: names that groups had already, by label.
    """

    op: Literal["start"]
    paths: list[ImagePath]
    labels: list[Annotated[int, Field(ge=-1, le=MAX_LABEL)]]
    normal: Label | None
    names: dict[Annotated[str, Field(pattern="^[0-9]{1,5}$")], Name] = {}


Edit = Rename | Merge | Split | Move | NewType | MarkNormal | WrongOutline
"""An operation that says something about images or types."""

Operation = Edit | Undo | Redo
"""An operation of a person."""

_OPERATION: TypeAdapter[Operation] = TypeAdapter(Annotated[Operation, Discriminator("op")])
_LINE: TypeAdapter[Operation | Start] = TypeAdapter(Annotated[Operation | Start, Discriminator("op")])


def parse_operation(content: bytes | str) -> Operation:
    """One operation from its JSON.

    Raises:
        InputError: it is not JSON, or not an operation; the message says what was expected, in one line.
    """
    found = _parsed(_OPERATION, content)
    _check_parts(found)
    return found


def parse_line(content: bytes | str) -> Operation | Start:
    """One line of a log: an operation, or the groups that the operations after it speak of.

    Raises:
        InputError: it is neither.
    """
    found = _parsed(_LINE, content)
    _check_parts(found)
    return found


def _parsed(adapter: TypeAdapter[Any], content: bytes | str) -> Any:
    try:
        return adapter.validate_python(json.loads(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        # the tag of the operation stands first in the place; list positions help nobody
        place = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(f"not an operation of a review: {shown(place)}: {shown(reason)}"[:500]) from None
    except (ValueError, RecursionError):
        raise InputError("not an operation of a review: it is not JSON") from None


def _check_parts(found: Operation | Start) -> None:
    """Raise InputError where the fields of an operation contradict each other."""
    if isinstance(found, Merge) and found.into not in found.types:
        raise InputError("not an operation of a review: merge: into is not one of the types")
    if isinstance(found, Move) and not (found.images or found.regions):
        raise InputError("not an operation of a review: move: neither images nor regions")
    if isinstance(found, Split):
        paths = [path for part in found.parts for path in part]
        if len(set(paths)) < len(paths):
            raise InputError("not an operation of a review: split: an image is in two parts")
    if isinstance(found, Start) and len(found.paths) != len(found.labels):
        raise InputError("not an operation of a review: start: not as many labels as paths")


def to_line(line: Operation | Start) -> bytes:
    """The line of a log, with its line feed. Odd bytes in paths are escaped, so the line is ASCII."""
    return (json.dumps(line.model_dump(), separators=(",", ":")) + "\n").encode("ascii")
