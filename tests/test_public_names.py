"""The public names of the package and of its folders, written down: a name that comes or goes is a decision.

``python tests/test_public_names.py`` prints the list of the present source in the form of ``PUBLIC``.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

from helpers import source_tree

PUBLIC: dict[str, list[str] | None] = {
    "blemish": ["BlindAnomalyClustering", "Config", "Result", "run"],
    "blemish.backbones": ["Backbone", "load_backbone"],
    "blemish.cli": None,
    "blemish.clustering": None,
    "blemish.config": None,
    "blemish.descriptors": None,
    "blemish.evaluation": None,
    "blemish.evaluation.studies": None,
    "blemish.features": None,
    "blemish.images": None,
    "blemish.localization": None,
    "blemish.output": None,
    "blemish.output.report": None,
    "blemish.runtime": [],
    "blemish.synthetic": None,
}
"""Folder -> the names that its ``__init__.py`` lists in ``__all__``."""


def written() -> dict[str, list[str] | None]:
    """Folder -> names in ``__all__``, as the source has them."""
    found = source_tree.modules()
    return {name: module.public_names() for name, module in found.items() if module.is_init}


def test_folders_list_the_names_written_here() -> None:
    assert written() == PUBLIC


@pytest.mark.parametrize(("folder", "name"), [(folder, name) for folder in PUBLIC for name in PUBLIC[folder] or ()])
def test_every_public_name_exists_and_has_a_docstring(folder: str, name: str) -> None:
    found = getattr(importlib.import_module(folder), name)
    assert not callable(found) or (found.__doc__ or "").strip()


if __name__ == "__main__":
    print("PUBLIC: dict[str, list[str] | None] = {")
    for folder, names in written().items():
        shown = "None" if names is None else "[" + ", ".join(f'"{name}"' for name in names) + "]"
        print(f'    "{folder}": {shown},')
    print("}")
