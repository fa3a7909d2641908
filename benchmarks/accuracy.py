"""`blemish evaluate`, with the development networks as further backbones: `--backbone teacher:resnet50@8`.

    python benchmarks/accuracy.py DATASET... [--backbone teacher:resnet50@8] [any option of blemish evaluate]

The names are those of `benchmarks/teachers.py`.
"""

from __future__ import annotations

import typer

from blemish._evaluate_cli import add_evaluate
from teachers import load

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
add_evaluate(app, load)

if __name__ == "__main__":
    app()
