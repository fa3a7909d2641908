"""Figures of a result: every text is inside, every name is text, groups differ without color, equal results give equal bytes."""

from __future__ import annotations

import dataclasses
import io
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

from blemish.cli.app import app
from blemish.errors import InputError, OutputError
from blemish.output import load_result, write_outputs
from blemish.output.figures import charts, pictures, save_figure, write_figures
from blemish.output.figures.style import HATCHES, MARKERS, turn
from blemish.output.names import file_stems
from blemish.results import Result
from helpers.results import HOSTILE_NAMES, loader, make_result

NAMES = {1: "裂纹 $x_1$ <b>", 2: "a name that is much too long for any legend of any figure at all"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    paths = [*HOSTILE_NAMES, "a/long/way/down/to/the/image-number-0000.png"]
    result = dataclasses.replace(make_result(2, (4, 3), paths=paths), type_names=NAMES)
    root = write_outputs(result, tmp_path_factory.mktemp("figures") / "results", load_image=loader(result)).root
    return root, load_result(root)


def is_cut_off(figure: Figure) -> bool:
    """Whether anything that is drawn reaches beyond the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    needed, size = figure.get_tightbbox(canvas.get_renderer()), figure.bbox_inches
    return bool(
        needed.x0 < -0.01 or needed.y0 < -0.01 or needed.x1 > size.width + 0.01 or needed.y1 > size.height + 0.01
    )


def test_all_figures_are_written_as_png_and_svg(place: tuple[Path, Result], tmp_path: Path) -> None:
    root, result = place
    written = write_figures(result, root, tmp_path / "out")
    names = {"group-0", "group-1", "group-2", "maps", "tsne", "dendrogram", "scores"}
    assert {path.name for path in written} == {f"figure-{name}{end}" for name in names for end in (".png", ".svg")}
    for path in written:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert np.asarray(picture.convert("L")).std() > 5
        else:
            assert "<script" not in path.read_text()
    assert write_figures(result, root, tmp_path / "out") == written


def test_no_text_is_cut_off(place: tuple[Path, Result]) -> None:
    root, result = place
    overlays = pictures.Overlays(root, file_stems(result.paths))
    figures = [
        *(pictures.contact_sheet(result, label, overlays) for label in range(3)),
        pictures.maps_beside_images(result, overlays),
        charts.scatter(result),
        charts.dendrogram(result),
        charts.score_histogram(result),
    ]
    assert [is_cut_off(figure) for figure in figures if figure is not None] == [False] * 7


def test_groups_differ_without_color() -> None:
    for cues in (MARKERS, HATCHES):
        assert len({turn(label, 0, cues) for label in range(len(cues))}) == len(cues)
        assert turn(0, None, cues) == turn(1, 0, cues) != turn(0, 0, cues)


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_equal_results_give_equal_figures(place: tuple[Path, Result], suffix: str) -> None:
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        save_figure(charts.score_histogram(place[1]), suffix, file)
    assert files[0].getvalue() == files[1].getvalue()


def test_descriptors_are_shown_before_the_heads_where_they_are_known() -> None:
    result = make_result(4, (4, 4))
    assert charts.plain_columns(result) is None
    settings = {
        "contrastive": {"enabled": True, "head_weight": 0.7, "n_heads": 2, "dim": 8},
        "descriptor": {"shape_weight": 0.3},
    }
    rows = np.random.default_rng(0).normal(size=(12, 40)).astype(np.float32)
    result = dataclasses.replace(result, info={"settings": settings}, descriptors=rows)
    assert charts.plain_columns(result) == 40 - 16 - 3
    assert len(charts.scatter(result).axes) == 2
    assert charts.plain_columns(dataclasses.replace(result, group_by="image")) is None


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_and_equal_images(n: int) -> None:
    result = make_result(n, (), paths=[f"{i}.png" for i in range(n)])
    result = dataclasses.replace(result, descriptors=np.ones((n, 3), np.float32))
    assert charts.dendrogram(result) is None
    assert not is_cut_off(charts.scatter(result))
    assert not is_cut_off(charts.score_histogram(result))


def test_branches_of_the_dendrogram_have_their_images() -> None:
    result = make_result(40, (30, 20))
    figure = charts.dendrogram(result)
    assert figure is not None
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert len(labels) == charts.LEAVES
    assert sum(int(text.rpartition("(")[2].rstrip(")")) for text in labels) == 90


def test_mistakes_are_one_line(place: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, result = place
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        write_figures(result, root, tmp_path / "file")
    with pytest.raises(InputError, match="overlays"):
        write_figures(result, tmp_path, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = CliRunner().invoke(app, ["figures", str(root), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "pip install 'blemish[figures]'" in done.output
