"""Ward's tree for growing numbers of rows: seconds, peak memory, and agreement with SciPy's tree.

    python -m benchmarks.ward_scale [--counts 2000 5000 10000 20000 50000] [--columns 192] [--kind groups] [--threads 1]
        [--exact 10000] [--write]

Rows of the kind ``groups`` are eight stretched groups of unequal size, non-negative and of length 1 like descriptors.
Rows of the kind ``noise`` are independent normal numbers, which need more passes over all rows. Each count is measured
in a process of its own, after a small tree, so that compiling is not counted. SciPy keeps a table of all pairs, so it is
run up to ``--exact`` rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

import numpy as np
import numpy.typing as npt

from benchmarks._command import Benchmark, Report, parser
from benchmarks._measure import peak_mb, timed
from benchmarks._results import Column

BENCHMARK = Benchmark(
    name="ward_scale",
    title="Ward linkage against the number of images",
    text=(
        "Exact Ward linkage without a table of all pairs, on one thread. The last column is the least adjusted Rand "
        "index between the cuts of this tree and of SciPy's into 2 to 12 groups."
    ),
    columns=(
        Column("rows", "integer"),
        Column("tree", "number", "s", 1),
        Column("number of groups and cut", "number", "s", 1),
        Column("peak memory of the process", "integer", "MB"),
        Column("of it before", "integer", "MB"),
        Column("SciPy's tree", "number", "s", 1),
        Column("least ARI", "number", digits=4),
    ),
)

COUNTS = (2000, 5000, 10_000, 20_000, 50_000)
WARM_UP = 300
"""Rows of the small tree that compiles the kernels."""

Rows = npt.NDArray[np.float32]


def draw(count: int, columns: int, kind: str, seed: int = 0) -> Rows:
    """Random rows, count x columns."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.normal(size=(count, columns)).astype(np.float32)
    member = rng.choice(8, count, p=rng.dirichlet(np.ones(8)))
    widths, centers = np.exp(rng.normal(-0.7, 1, (8, columns))), rng.normal(size=(8, columns))
    rows = np.empty((count, columns), np.float32)
    for begin in range(0, count, 5000):  # so that drawing is not what takes the memory
        some = member[begin : begin + 5000]
        rows[begin : begin + 5000] = np.abs(centers[some] + widths[some] * rng.normal(size=(len(some), columns)))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def measure(count: int, columns: int, kind: str, exact: bool) -> list[float | None]:
    """The cells of one row but the first."""
    from blemish.clustering import ward
    from blemish.clustering.n_clusters import estimate_clusters

    dense, ward.DENSE_ROWS = ward.DENSE_ROWS, 0  # the small tree takes the way of the large ones
    ward.ward_tree(draw(WARM_UP, columns, kind))
    ward.DENSE_ROWS = dense
    rows = draw(count, columns, kind)
    before = peak_mb()
    grown, tree = timed(lambda: ward.ward_tree(rows))
    chosen, _ = timed(lambda: (estimate_clusters(rows), ward.cut(tree, 8)))
    peak = peak_mb()
    scipy = compare(rows, tree) if exact else (None, None)
    return [round(grown, 2), round(chosen, 2), round(peak), round(before), *scipy]


def compare(rows: Rows, tree: object) -> tuple[float, float]:
    """Seconds of SciPy's tree, and the least adjusted Rand index between its cuts and ours."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from sklearn.metrics import adjusted_rand_score

    from blemish.clustering.ward import cut

    seconds, merges = timed(lambda: linkage(rows.astype(np.float64), "ward"))
    scores = [adjusted_rand_score(fcluster(merges, k, "maxclust"), cut(tree, k)) for k in range(2, 13)]  # type: ignore[arg-type]
    return round(seconds, 2), min(scores)


def main() -> None:
    """Measure every count in a process of its own."""
    options = parser(__doc__)
    options.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    options.add_argument("--columns", type=int, default=192)
    options.add_argument("--kind", choices=("groups", "noise"), default="groups")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--exact", type=int, default=10_000, help="rows up to which SciPy is run")
    options.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.columns, args.kind, args.one <= args.exact)))
        return
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environ = {**os.environ, **dict.fromkeys(names, str(args.threads))}
    report = Report(BENCHMARK, args.write)
    for count in args.counts:
        flags = ["--one", count, "--columns", args.columns, "--kind", args.kind, "--exact", args.exact]
        command = [sys.executable, "-m", "benchmarks.ward_scale", *map(str, flags)]
        done = subprocess.run(command, check=True, env=environ, stdout=subprocess.PIPE, text=True)
        report.add(count, *json.loads(done.stdout))
    report.end()


if __name__ == "__main__":
    main()
