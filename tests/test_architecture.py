"""The layout of the package: folders import downwards only, nothing imports in a circle, files and functions stay short."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from helpers import source_tree
from helpers.source_tree import Import, is_private, room

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors", "types"),
    ("config", "runtime"),
    ("images",),
    ("backbones", "features"),
    ("localization",),
    ("descriptors",),
    ("clustering", "regions"),
    ("entries", "results"),
    ("stages",),
    ("model",),
    ("pipeline",),
    ("estimator", "output", "evaluation", "synthetic"),
    ("export", "review", "distributed"),
    ("cli",),
    ("__main__", "__init__"),
)
"""Folders and top-level modules, the lowest layer first. A module imports from its own folder and from lower layers."""

SAME_LAYER = {
    ("runtime", "config"),
    ("features", "backbones"),
    ("evaluation", "output"),
    ("export", "review"),
}
"""The imports within one layer that are allowed: importer, imported."""

ABOVE_ALL = {"__version__"}
"""Names of the package itself that every module may import."""

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

LONG_FUNCTIONS: dict[str, tuple[int, str]] = {
    "blemish.pipeline.run": (120, "the whole method on one page, one paragraph per stage"),
    "blemish.model.prediction.predict": (72, "an inspection on one page, one paragraph per stage"),
}
"""Functions with a limit of their own, in lines without the docstring, and the reason."""

SHORTEST_DOCSTRING = 20
"""Characters below which a folder's docstring cannot describe the folder."""

MODULES = source_tree.modules()
IMPORTS = source_tree.imports(MODULES)
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}


def upward(one: Import) -> bool:
    """Whether an import leaves its folder for one that is not below it."""
    importer, target = room(one.importer), room(one.target)
    if importer == target or (importer, target) in SAME_LAYER or (target == "__init__" and one.name in ABOVE_ALL):
        return False
    return LEVEL.get(target, len(LAYERS)) >= LEVEL.get(importer, len(LAYERS))


def listed(problems: list[str]) -> str:
    return "\n" + "\n".join(f"  {one}" for one in sorted(set(problems)))


def test_every_folder_and_top_level_module_has_a_layer() -> None:
    assert {room(name) for name in MODULES} - set(LEVEL) == set()


def test_imports_that_run_lead_downwards() -> None:
    wrong = [str(one) for one in IMPORTS if not one.typing_only and upward(one)]
    assert not wrong, listed(wrong)


def test_imports_for_type_checkers_lead_downwards() -> None:
    wrong = [str(one) for one in IMPORTS if one.typing_only and upward(one)]
    assert not wrong, listed(wrong)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert source_tree.circles(source_tree.graph(IMPORTS)) == []


def test_what_begins_with_an_underscore_is_imported_by_its_own_folder_only() -> None:
    wrong = [
        str(one)
        for one in IMPORTS
        if room(one.importer) != room(one.target) and (is_private(one.target) or is_private(one.name))
    ]
    assert not wrong, listed(wrong)


@pytest.mark.parametrize("name", [name for name, module in MODULES.items() if module.is_init])
def test_a_folder_describes_itself_and_lists_its_public_names(name: str) -> None:
    module = MODULES[name]
    assert len(module.docstring) >= SHORTEST_DOCSTRING, f"{name} needs a docstring that says what the folder does"
    public = module.public_names()
    assert public is not None, f"{name} needs __all__, written as a list of strings"
    assert len(public) == len(set(public)), f"{name}.__all__ names something twice"


def test_files_are_short() -> None:
    wrong = [
        f"{module.path.name} of {name}: {module.lines} lines"
        for name, module in MODULES.items()
        if module.lines > MAX_FILE_LINES
    ]
    assert not wrong, listed(wrong)


def test_functions_are_short() -> None:
    functions = [one for module in MODULES.values() for one in module.functions()]
    wrong = [
        f"{one.name}: {one.lines} lines"
        for one in functions
        if one.lines > LONG_FUNCTIONS.get(one.name, (MAX_FUNCTION_LINES, ""))[0]
    ]
    assert not wrong, listed(wrong)


def test_every_function_with_a_limit_of_its_own_exists() -> None:
    assert set(LONG_FUNCTIONS) <= {one.name for module in MODULES.values() for one in module.functions()}


@pytest.fixture
def small_package(tmp_path: Path) -> Path:
    """A package with every kind of import, and a circle of three modules."""
    files = {
        "__init__.py": '"""A package."""\n__all__ = ["a"]\n',
        "low/__init__.py": "",
        "low/one.py": "from ..high import two\n",
        "low/_inner.py": "import blemish.low.one\n",
        "high/__init__.py": "from blemish.low._inner import secret as _s\n",
        "high/two.py": """
            from __future__ import annotations
            from typing import TYPE_CHECKING
            import json
            if TYPE_CHECKING:
                from blemish.high.three import Three
            def long():
                '''A docstring
                of two lines.'''
                from blemish.high import three
                return three
            """,
        "high/three.py": "from blemish.low import one\nclass Three:\n    def method(self): pass\n",
    }
    for name, text in files.items():
        path = tmp_path / "blemish" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path / "blemish"


def test_imports_are_read_in_every_form(small_package: Path) -> None:
    found = source_tree.imports(source_tree.modules(small_package))
    assert {(one.importer, one.target, one.name, one.typing_only) for one in found} == {
        ("blemish.low.one", "blemish.high.two", "", False),
        ("blemish.low._inner", "blemish.low.one", "", False),
        ("blemish.high", "blemish.low._inner", "secret", False),
        ("blemish.high.two", "blemish.high.three", "Three", True),
        ("blemish.high.two", "blemish.high.three", "", False),
        ("blemish.high.three", "blemish.low.one", "", False),
    }


def test_a_circle_and_the_longest_chain_are_found(small_package: Path) -> None:
    edges = source_tree.graph(source_tree.imports(source_tree.modules(small_package)))
    assert source_tree.circles(edges) == [["blemish.high.three", "blemish.high.two", "blemish.low.one"]]
    assert source_tree.longest_chain({"a": {"b", "d"}, "b": {"c"}, "d": set()}) == ["a", "b", "c"]
    assert source_tree.longest_chain({"a": {"b", "d"}, "b": {"c"}, "d": set()}, {"b"}) == ["a", "c"]


def test_modules_are_gathered_into_folders(small_package: Path) -> None:
    edges = source_tree.graph(source_tree.imports(source_tree.modules(small_package)))
    assert source_tree.folder_graph(edges) == {"high": {"low"}, "low": {"high"}}


def test_docstrings_do_not_count_as_lines_of_a_function(small_package: Path) -> None:
    found = source_tree.modules(small_package)
    assert {one.name: one.lines for one in found["blemish.high.two"].functions()} == {"blemish.high.two.long": 3}
    assert [one.name for one in found["blemish.high.three"].functions()] == ["blemish.high.three.Three.method"]


def test_public_names_are_read_from_the_source(small_package: Path) -> None:
    found = source_tree.modules(small_package)
    assert found["blemish"].public_names() == ["a"]
    assert found["blemish.low"].public_names() is None
