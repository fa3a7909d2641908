"""Reads the package's source with ``ast``: its modules, what each one imports and how long its functions are."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "blemish"
ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / PACKAGE


@dataclass(frozen=True)
class Import:
    """One name that a module imports from another module of the package.

    Attributes:
        importer: module with the import statement.
        target: module that the statement names.
        name: what is taken from the target; empty where the module itself is imported.
        line: line of the statement.
        typing_only: the statement stands under ``if TYPE_CHECKING``.
    """

    importer: str
    target: str
    name: str
    line: int
    typing_only: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target}" + (f" ({self.name})" if self.name else "")


@dataclass(frozen=True)
class Function:
    """A function or method with its number of lines, docstring left out."""

    name: str
    lines: int


@dataclass(frozen=True)
class Module:
    """One source file.

    Attributes:
        name: dotted name; that of a folder's ``__init__.py`` is the name of the folder.
        path: the file.
    """

    name: str
    path: Path

    @property
    def folder(self) -> str:
        """First part below the package: a folder's name, or the module's own name where it is in no folder."""
        return room(self.name)

    @property
    def is_init(self) -> bool:
        return self.path.name == "__init__.py"

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    def public_names(self) -> list[str] | None:
        """The value of ``__all__``; None where the module has none or does not write it as a list of strings."""
        for node in self.tree.body:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            if any(isinstance(one, ast.Name) and one.id == "__all__" for one in targets):
                try:
                    return list(ast.literal_eval(node.value))  # type: ignore[attr-defined]
                except ValueError:
                    return None
        return None

    def functions(self) -> list[Function]:
        """All functions and methods, nested ones included."""
        return list(_functions(self.tree, self.name))


def _functions(node: ast.AST, prefix: str) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        name = f"{prefix}.{child.name}" if hasattr(child, "name") else prefix
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield Function(name, child.end_lineno - child.lineno + 1 - _docstring_lines(child))  # type: ignore[operator]
        yield from _functions(child, name)


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(node, clean=False) is None:
        return 0
    return node.body[0].end_lineno - node.body[0].lineno + 1  # type: ignore[operator]


def room(module: str) -> str:
    """The part of a module's name that the layers are made of.

    >>> room("blemish.images.decoding.loading"), room("blemish.pipeline"), room("blemish")
    ('images', 'pipeline', '__init__')
    """
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def is_private(name: str) -> bool:
    """Whether a module or something in it is private to its folder.

    >>> is_private("blemish.localization._fca_kernel"), is_private("blemish.__main__"), is_private("run")
    (True, False, False)
    """
    return any(part.startswith("_") and not part.endswith("__") for part in name.split("."))


def modules(source: Path = SOURCE) -> dict[str, Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        name = ".".join([source.name, *parts])
        found[name] = Module(name, path)
    return found


def imports(found: Mapping[str, Module]) -> list[Import]:
    """Every import between the modules, in functions too; one for each imported name."""
    return [one for module in found.values() for one in _imports(module, module.tree, found, typing_only=False)]


def _imports(module: Module, node: ast.AST, known: Mapping[str, Module], *, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            for target, name in _targets(module, child, known):
                yield Import(module.name, target, name, child.lineno, typing_only)
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            for statement in child.body:
                holder = ast.Module([statement], [])
                yield from _imports(module, holder, known, typing_only=True)
            for statement in child.orelse:
                holder = ast.Module([statement], [])
                yield from _imports(module, holder, known, typing_only=typing_only)
        else:
            yield from _imports(module, child, known, typing_only=typing_only)


def _is_type_checking(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


def _targets(
    module: Module, node: ast.Import | ast.ImportFrom, known: Mapping[str, Module]
) -> Iterator[tuple[str, str]]:
    """Module and name for each name of the statement that belongs to the package."""
    if isinstance(node, ast.Import):
        yield from ((_longest_known(one.name, known), "") for one in node.names if _is_ours(one.name, known))
        return
    origin = _absolute(module, node)
    if not _is_ours(origin, known):
        return
    for one in node.names:
        whole = f"{origin}.{one.name}"
        yield (whole, "") if whole in known else (_longest_known(origin, known), one.name)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = module.name.split(".") if module.is_init else module.name.split(".")[:-1]
    parts = package[: len(package) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _is_ours(name: str, known: Mapping[str, Module]) -> bool:
    return name.split(".")[0] in {one.split(".")[0] for one in known}


def _longest_known(name: str, known: Mapping[str, Module]) -> str:
    while name not in known:
        name = name.rpartition(".")[0]
    return name


def graph(edges: Iterable[Import]) -> dict[str, set[str]]:
    """Module -> modules that it imports when it runs; imports for type checkers are left out."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for one in edges:
        if not one.typing_only and one.importer != one.target:
            found[one.importer].add(one.target)
    return dict(found)


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others (Tarjan's algorithm); empty if none do."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in sorted(edges.get(node, ())):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            place = stack.index(node)
            group = stack[place:]
            del stack[place:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in order:
            visit(node)
    return sorted(found)


def longest_chain(edges: Mapping[str, set[str]], not_counted: Collection[str] = ()) -> list[str]:
    """The longest way down from one module to another; its length is the number of import levels.

    Modules of ``not_counted`` are passed through without being part of the way, such as an ``__init__.py`` that only
    re-exports. A module of a circle is not entered twice, so with circles the length is a lower bound.
    """
    best: dict[str, list[str]] = {}

    def chain(node: str, above: frozenset[str]) -> list[str]:
        if node not in best:
            below = [chain(other, above | {node}) for other in sorted(edges.get(node, ())) if other not in above]
            best[node] = [node] * (node not in not_counted) + max(below, key=len, default=[])
        return best[node]

    return max((chain(node, frozenset()) for node in sorted(edges)), key=len, default=[])


def folder_graph(edges: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """As :func:`graph`, between folders and top-level modules."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for importer, targets in edges.items():
        found[room(importer)] |= {room(target) for target in targets} - {room(importer), "__init__"}
    return dict(found)
