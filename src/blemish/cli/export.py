"""``blemish export``: results in the format of another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blemish.cli.options import Verbose
from blemish.cli.shared import SOME_SKIPPED, Guard, counted
from blemish.errors import ConfigError, shown
from blemish.runtime.terminal import print_error

Results = Annotated[
    Path, typer.Argument(help="Folder that blemish run wrote; for onnx also that of a model.", show_default=False)
]
To = Annotated[
    str,
    typer.Option(
        "--to",
        help="csv, parquet, coco, cvat, labelstudio, yolo, mvtec, sorted, fiftyone or maps; onnx for the model.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder for the export, for onnx a file. Default: RESULTS/export/FORMAT.")
]
Images = Annotated[str | None, typer.Option("--images", help="Folder of the images, if they have been moved.")]
Link = Annotated[bool, typer.Option("--link", help="Make hard links to the images in place of copies.")]


def add_export(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command()
    def export(
        results: Results,
        to: To,
        out: Out = None,
        images: Images = None,
        link: Link = False,
        verbose: Verbose = False,
    ) -> None:
        """Write results in the format of another program."""
        with Guard(verbose):
            if to == "onnx":
                _export_model(results, out, images, link)
                return
            from blemish.export import export_result

            exported = export_result(results, to, out, images=images, link=link)
            for one in exported.skipped:
                print_error(f"not exported: {shown(one.path)}: {shown(one.reason)}")
            regions, files = counted(exported.regions, "region"), counted(len(exported.files), "file")
            print(f"{regions}, {files}: {shown(exported.root)}")
            if exported.skipped:
                print(f"  {counted(len(exported.skipped), 'image')} missing or changed, left out")
                raise typer.Exit(SOME_SKIPPED)


def _export_model(folder: Path, out: Path | None, images: str | None, link: bool) -> None:
    """Write the model of a folder as an ONNX file."""
    if out is None:
        raise ConfigError("--to onnx needs the name of a file; give it with --out, for example --out model.onnx")
    if images is not None or link:
        raise ConfigError("--images and --link are for images, and --to onnx exports the model; leave them out")
    from blemish.export.onnx import OPSET, export_onnx
    from blemish.model import FittedModel

    written = export_onnx(FittedModel.load(folder), out)
    print(
        f"{shown(written.path)}: {written.bytes / 1e6:.1f} MB, opset {OPSET}, equal to PyTorch within {written.difference:.1g}"
    )
