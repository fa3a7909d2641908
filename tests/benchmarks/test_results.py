"""Kept tables of the benchmarks: what is read back, what is refused, and the page that is rendered from them."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import render
from benchmarks._command import command_line, machine
from benchmarks._results import Cell, Column, Machine, ResultsError, Table, load, markdown, save, shown

ROOT = Path(__file__).parents[2]


@pytest.fixture
def table() -> Table:
    return Table(
        title="A title",
        text="One sentence.",
        columns=[
            Column("set"),
            Column("NMI", "spread"),
            Column("time", "number", "s", 1),
            Column("images", "integer"),
            Column("groups", "integers"),
        ],
        rows=[["a|b", [0.9, 0.8], 12.34, 12000, [6, 7]], ["c", None, None, None, None]],
        command="python -m benchmarks.accuracy --data DATA --write",
        version="1.2.3",
        date="2031-05-06",
        machine=Machine("A processor", 2, 8),
        seeds=[0, 1],
    )


def changed(folder: Path, **values: Any) -> None:
    """Replace values in the kept table."""
    path = folder / "accuracy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_table_is_read_back_as_it_was_kept(table: Table, tmp_path: Path) -> None:
    save(table, "accuracy", tmp_path)
    assert load("accuracy", tmp_path) == table
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracy.json"]


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"accuracy\.json is missing: run the benchmark with --write"):
        load("accuracy", tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"text"', '{"title": "x"}'])
def test_a_file_that_is_no_table_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "accuracy.json").write_text(text)
    with pytest.raises(ResultsError, match=r"accuracy\.json.*--write again"):
        load("accuracy", tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": []}, "at least one row"),
        ({"rows": [["a"]]}, "row 1 has 1 values for 5 columns"),
        ({"rows": [["a", [0.5], "fast", 1, [1]]]}, "row 1, time: 'fast' is no number"),
        ({"rows": [["a", 0.5, 1.0, 1, [1]]]}, "row 1, NMI: 0.5 is no spread"),
        ({"rows": [["a", [0.5], 1.0, True, [1]]]}, "row 1, images: True is no integer"),
        ({"columns": []}, "expected columns"),
        ({"columns": [{"name": "x", "kind": "color", "unit": "", "digits": 1}]}, "unknown kind 'color'"),
        ({"machine": {"host": "x"}}, "expected machine"),
        ({"extra": 1}, "expected table"),
    ],
)
def test_a_malformed_table_is_refused_with_the_place(
    values: dict[str, Any], message: str, table: Table, tmp_path: Path
) -> None:
    save(table, "accuracy", tmp_path)
    changed(tmp_path, **values)
    with pytest.raises(ResultsError, match=re.escape(message)):
        load("accuracy", tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        (Column("NMI", "spread"), [0.5], "0.500"),
        (Column("NMI", "spread"), [0.99996, 0.99998], "0.999 ± 0.000"),
        (Column("NMI", "spread"), [1.0, 1.0], "1.000 ± 0.000"),
        (Column("time", "number", "s", 1), 0.96, "1.0"),
        (Column("images", "integer"), 10000, "10 000"),
        (Column("difference", "scientific"), 7.5e-8, "7.5e-08"),
        (Column("set"), None, "–"),
    ],
)
def test_cells_are_shown_with_their_digits_and_never_rounded_up_to_perfect(
    column: Column, value: Cell, text: str
) -> None:
    assert shown(column, value) == text


def test_a_table_is_shown_as_markdown(table: Table) -> None:
    assert markdown(table.columns, table.rows).splitlines() == [
        "| set | NMI | time (s) | images | groups |",
        "|---|---:|---:|---:|---:|",
        "| a\\|b | 0.850 ± 0.071 | 12.3 | 12 000 | 6, 7 |",
        "| c | – | – | – | – |",
    ]


def test_a_section_has_the_command_and_where_it_ran(table: Table) -> None:
    text = render.section(table)
    assert text.startswith("## A title\n\nOne sentence.\n\n| set |")
    assert "\n    python -m benchmarks.accuracy --data DATA --write\n" in text
    assert text.endswith("version 1.2.3 on 2031-05-06: A processor, 2 cores, 8 GB. Seeds: 0, 1.\n")


def test_sections_stand_in_the_order_asked_for_whenever_they_were_measured(table: Table, tmp_path: Path) -> None:
    for name in ("b", "a"):
        save(dataclasses.replace(table, title=f"Table {name}"), name, tmp_path)
    titles = re.findall("^## (.*)", render.page(tmp_path, ("b", "a"), frozenset()), re.MULTILINE)
    assert titles == ["Table b", "Table a"]


def test_a_page_without_one_of_its_tables_is_refused(table: Table, tmp_path: Path) -> None:
    save(table, "a", tmp_path)
    with pytest.raises(ResultsError, match=r"b\.json is missing"):
        render.page(tmp_path, ("a", "b"), frozenset())
    with pytest.raises(ResultsError, match=r"a\.json is in no section"):
        render.page(tmp_path, (), frozenset())
    with pytest.raises(ResultsError, match=r"a\.json exists"):
        render.page(tmp_path, ("a",), frozenset({"a"}))


def test_what_was_not_measured_is_named_with_its_command(table: Table, tmp_path: Path) -> None:
    save(table, "a", tmp_path)
    text = render.page(tmp_path, ("a", "b"), frozenset({"b"}))
    assert text.endswith("## Not measured with this version yet\n\n    python -m benchmarks.b\n")


def test_the_page_in_the_repository_is_what_the_tables_say() -> None:
    assert render.PAGE.read_text(encoding="utf-8") == render.page()


@pytest.mark.parametrize("name", render.SECTIONS)
def test_every_section_has_a_command_that_the_script_runs(name: str) -> None:
    assert importlib.util.find_spec(f"benchmarks.{name}") is not None
    assert re.search(rf'^  "{name} +\|', (ROOT / "benchmarks" / "run_all.sh").read_text(), re.MULTILINE)


def test_a_kept_command_names_no_folder_of_this_machine() -> None:
    words = [
        "/x/benchmarks/reruns.py",
        "--data=/home/me/sets",
        "--sets",
        "magnetic tiles",
        "--cache-dir",
        "/c",
        "--write",
    ]
    assert command_line(words) == "python -m benchmarks.reruns --data DATA --sets 'magnetic tiles' --write"
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        assert " /" not in json.loads(path.read_text())["command"], path.name


def test_the_machine_is_described_in_general_words() -> None:
    import platform

    found = machine()
    assert found.processor
    assert found.cores >= 1
    assert platform.node() not in found.processor
