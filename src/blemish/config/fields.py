"""Field types and the base class that all sections of settings share."""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationInfo, field_validator

MAX_WIDTH = 16384
"""Largest width of a layer: a matrix between two such layers takes 1 GiB."""

MAX_COUNT = 10**6
"""Largest number of samples, training steps and groups. Samples are limited by the data as well."""

MAX_PIXELS = 4096
"""Largest number of pixels in a training step of a contrastive head: all pairs of them are computed."""

MAX_IMAGES = 1000
"""Largest number of images that a training step of a contrastive head draws from."""

MAX_SIGMA = 1000.0
"""Largest standard deviation of a blur, in cells. Kernels are much smaller, so that beyond it nothing changes."""


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd")
    return value


def _kinds(annotation: Any) -> set[Any]:
    """The types and literal values in an annotation."""
    parts = get_args(annotation)
    return {annotation} if not parts else set().union(*(_kinds(part) for part in parts))


def _listed(value: Any) -> Any:
    """A list of numbers, from one number or from text with commas or blanks."""
    if isinstance(value, str) and value != "none":
        return [part for part in value.replace(",", " ").split() if part]
    return (value,) if isinstance(value, int) else value


def _known_strides(value: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if value is not None and (not value or any(s not in (1, 2, 4, 8, 16, 32, 64) for s in value)):
        raise ValueError("give one or more of 1, 2, 4, 8, 16, 32, 64")
    return None if value is None else tuple(sorted(set(value)))


def _odd_sides(value: tuple[int, ...] | None) -> tuple[int, ...] | None:
    if value is not None and (not value or any(side < 3 or side > 255 or side % 2 == 0 for side in value)):
        raise ValueError("give one or more odd numbers from 3 to 255")
    return value


def _known_home(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain a null character")
    try:
        Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError("names a user who has no home folder; write the whole path") from error
    return value


Odd = Annotated[int, AfterValidator(_odd)]
Strides = Annotated[tuple[int, ...] | None, BeforeValidator(_listed), AfterValidator(_known_strides)]
Windows = Annotated[tuple[int, ...] | None, BeforeValidator(_listed), AfterValidator(_odd_sides)]
Folder = Annotated[str, AfterValidator(_known_home)]


class Section(BaseModel):
    """Base of all sections: frozen; unknown keys, NaN, and ``true`` in place of a number are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = _kinds(cls.model_fields[str(info.field_name)].annotation)
        if isinstance(value, bool) and bool not in kinds:
            raise ValueError("must not be true or false")
        # TOML and the command line have no null
        return None if value == "none" and NoneType in kinds else value
