"""A shard: one of several equal parts of a folder's images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from blemish.errors import ConfigError, shown

MAX_SHARDS = 10**6
"""Most parts of a folder."""


@dataclass(frozen=True)
class Shard:
    """Part ``index`` of ``count``: every count-th file of the sorted folder, beginning with file ``index``.

    Attributes:
        index: 1 to count.
        count: number of parts.
    """

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard that a text such as ``2/8`` names.

        Raises:
            ConfigError: the text names none.

        >>> Shard.parse("2/8")
        Shard(index=2, count=8)
        """
        found = re.fullmatch(r"\s*(\d{1,7})\s*/\s*(\d{1,7})\s*", text, re.ASCII)
        if found is None or not 1 <= int(found[1]) <= int(found[2]) <= MAX_SHARDS:
            raise ConfigError(f"--shard {shown(text)[:40]!r} is no part of a whole; write i/n, for example 2/8")
        return cls(int(found[1]), int(found[2]))

    def note(self) -> dict[str, Any]:
        """What ``run.json`` says about the shard."""
        return {"shard": {"index": self.index, "count": self.count}}
