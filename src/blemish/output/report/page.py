"""The page of the report, made from its data alone: one HTML text that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from blemish.output.colors import UNSORTED_COLOR, cluster_color, heat_table, hex_color
from blemish.output.report.data import ReportData

SCRIPTS = (
    "text.js",
    "store.js",
    "operations.js",
    "words.js",
    "dom.js",
    "pictures.js",
    "cards.js",
    "gallery.js",
    "viewer.js",
    "threshold.js",
    "tree.js",
    "scatter.js",
    "review.js",
    "keys.js",
    "main.js",
)
"""Parts of the page's script, in the order in which they run; they share one scope."""

COLORS = 21
"""Colors of types that differ; further types repeat them, and their numbers tell them apart."""


def render(data: ReportData, *, pictures: Mapping[str, bytes] | None = None, library: str | None = None) -> str:
    """HTML of a report.

    Styles, script and data are inline. Every text is escaped, and a content security policy admits no script but the
    page's own, by its hash, and the chart library.

    Args:
        data: of the report.
        pictures: content of the pictures that go into the page, by their names in the data; None if the page finds its
            pictures, and the chart library, in the folder beside it.
        library: the chart library, if it goes into the page.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    script, inert = page_script(), None if library is None else as_inline_script(library)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["text"] = lambda key, **values: page_texts()[key].format(**values)
    template = environment.from_string(_resource("report.html"))
    return template.render(
        data=data,
        style=Markup(_resource("report.css")),
        script=Markup(script),
        policy=_policy(script, inert),
        library=None if inert is None else Markup(inert),
        warnings=warnings(data),
        report=Markup(as_json_script(data.to_json())),
        page=Markup(as_json_script(json.dumps(_page(pictures), ensure_ascii=False))),
    )


def warnings(data: ReportData) -> list[str]:
    """What a reader must know before acting on the page, in sentences."""
    texts, found = page_texts(), list(data.warnings)
    for key, amount in (
        ("borderline", data.needs_check),
        ("skipped", len(data.skipped)),
        ("not_drawn", data.not_drawn),
    ):
        if amount:
            found.append(texts[f"{key}_one" if amount == 1 else f"{key}_other"].format(n=amount))
    found += [
        texts["single_image_type"].format(name=group.name.capitalize())
        for group in data.groups
        if group.count == 1 and group.label >= 0 and not group.normal
    ]
    return found


def as_json_script(text: str) -> str:
    """JSON that can stand inside a script element: no character in it can end the element."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def as_inline_script(text: str) -> str:
    """A script that can stand inside a script element; its string literals and patterns keep their meaning."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def page_texts() -> dict[str, str]:
    """All texts of the page by key; ``{name}`` stands for a value."""
    texts: dict[str, str] = json.loads(_resource("texts.json"))
    return texts


@cache
def page_script() -> str:
    """The page's script."""
    return '"use strict";\n(() => {\n' + "\n".join(_resource(f"js/{name}") for name in SCRIPTS) + "})();\n"


def _resource(name: str) -> str:
    return (files("blemish.output.report") / name).read_text(encoding="utf-8")


def _page(pictures: Mapping[str, bytes] | None) -> dict[str, Any]:
    """What the script needs besides the data: texts, colors, and the pictures that are in the page."""
    embedded = None if pictures is None else {name: _data_uri(name, content) for name, content in pictures.items()}
    return {
        "texts": page_texts(),
        "palette": [hex_color(cluster_color(rank, None)) for rank in range(COLORS)],
        "other_color": hex_color(UNSORTED_COLOR),
        "heat": [hex_color(tuple(row)) for row in heat_table(64).tolist()],
        "pictures": embedded,
    }


def _data_uri(name: str, content: bytes) -> str:
    kind = "png" if name.endswith(".png") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _policy(script: str, library: str | None) -> str:
    """Content security policy: the page's own scripts by hash, pictures beside or inside the page, nothing else."""
    sources = [_hash(script), "'self'" if library is None else _hash(library)]
    return (
        "default-src 'none'; img-src 'self' data: blob:; style-src 'unsafe-inline'; "
        f"script-src {' '.join(sources)}; connect-src 'self'; base-uri 'none'; form-action 'none'"
    )


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"
