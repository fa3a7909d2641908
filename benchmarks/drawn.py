"""Groups and maps where the truth is drawn: every defect on every drawn material and on photographs of textures.

    python -m benchmarks.drawn --data FOLDER [--seeds 2] [--images 100] [--types hole stain] [--preset paper]
        [--set section.key=value] [--write]

Drawn images show whether a setting that helps one set of photographs hurts elsewhere. A seed is the seed of the drawing
and of the run.
"""

from __future__ import annotations

import tempfile
from itertools import chain
from pathlib import Path
from typing import get_args

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from benchmarks._scoring import ESTIMATE_COLUMNS, SCORE_COLUMNS, configuration, estimate_cells, score_cells
from benchmarks._sets import drawn_sets, photograph_sets
from blemish.config.schema import PresetName
from blemish.synthetic.demo import defects

BENCHMARK = Benchmark(
    name="drawn",
    title="Drawn defects",
    text=(
        "Every type of drawn defect on five drawn materials, and on random crops of photographs of textures. The last "
        "two columns have the number of groups estimated from the images alone. The network was trained with defects "
        "drawn by another program on other photographs."
    ),
    columns=(
        Column("set"),
        Column("images", "integer"),
        Column("classes", "integer"),
        *SCORE_COLUMNS,
        *ESTIMATE_COLUMNS,
    ),
)


def main() -> None:
    """Measure every material with every seed."""
    options = parser(__doc__, data=True, settings=True)
    options.add_argument("--seeds", type=int, default=2)
    options.add_argument("--images", type=int, default=100, help="images of each set")
    options.add_argument("--types", nargs="+", default=list(defects()), help="types of defects")
    options.add_argument("--preset", choices=get_args(PresetName), default="default")
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, range(args.seeds))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = configuration(folder / "cache", args.settings, args.preset)
        sets = drawn_sets(folder, args.types, args.images) | photograph_sets(args.data, folder, args.types, args.images)
        for name, draw in sets.items():
            rows = []
            for seed in range(args.seeds):
                data = draw(seed)
                rows.append(score_cells(data, config, [seed]) + estimate_cells(data, config, [seed]))
            # one list per column in place of one per seed
            columns = [list(chain.from_iterable(values)) for values in zip(*rows, strict=True)]
            report.add(name, args.images, len(args.types) + 1, *columns)
    report.end()


if __name__ == "__main__":
    main()
