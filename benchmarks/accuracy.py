"""`blemish evaluate` and `blemish study`, with the development networks as further backbones.

    python benchmarks/accuracy.py evaluate DATASET... --backbone teacher:resnet50@8 [any option of blemish evaluate]
    python benchmarks/accuracy.py study NAME DATASET --out DIR --backbone teacher:resnet50@8

The names are those of `benchmarks/teachers.py`.
"""

from __future__ import annotations

import typer

from blemish.cli.evaluate import add_evaluate
from blemish.cli.study import add_study
from teachers import load

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
add_evaluate(app, load)
add_study(app, load)

if __name__ == "__main__":
    app()
