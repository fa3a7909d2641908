"""Ward's tree for growing numbers of rows: seconds, peak memory, and agreement with SciPy's where its table fits.

    python -m benchmarks.ward_scale [--counts 2000 5000 10000 20000 50000] [--dim 192] [--kind groups] [--threads 1]

Rows: `groups` draws eight stretched groups of unequal size, made non-negative and scaled to length 1 like descriptors;
`noise` draws independent normal numbers, which need more looks at all rows. Each count runs in a process of its own, after
a small tree, so that compiling is not counted. Columns: seconds of `ward_tree`, seconds of `estimate_clusters` and one cut
given the tree, MB of the process before (most of it PyTorch, and the rows) and at its peak, and, up to --exact rows,
SciPy's seconds and the smallest ARI with its cuts into 2 to 12 groups.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

COUNTS = (2000, 5000, 10_000, 20_000, 50_000)
HEAD = ("rows", "tree s", "groups s", "MB before", "MB peak", "SciPy s", "least ARI")


def draw(count: int, dim: int, kind: str, seed: int = 0):  # type: ignore[no-untyped-def]
    """Count x dim float32."""
    import numpy as np

    from blemish.descriptors.vectors import unit_rows

    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.normal(size=(count, dim)).astype(np.float32)
    member = rng.choice(8, count, p=rng.dirichlet(np.ones(8)))
    spread, centers = np.exp(rng.normal(-0.7, 1, (8, dim))), rng.normal(size=(8, dim))
    rows = np.empty((count, dim), np.float32)
    for begin in range(0, count, 5000):  # so that drawing is not what takes the memory
        some = member[begin : begin + 5000]
        rows[begin : begin + 5000] = np.abs(centers[some] + spread[some] * rng.normal(size=(len(some), dim)))
    return unit_rows(rows)


def measure(count: int, dim: int, kind: str, exact: int) -> None:
    """Print one line of the table."""
    import psutil
    from benchmarks.stages import peak_megabytes

    from blemish.clustering import ward as linkage
    from blemish.clustering.methods import estimate_clusters

    dense, linkage.DENSE_ROWS = linkage.DENSE_ROWS, 0
    linkage.ward_tree(draw(300, dim, kind))
    linkage.DENSE_ROWS = dense
    rows = draw(count, dim, kind)
    before, start = psutil.Process().memory_info().rss / 2**20, time.perf_counter()
    tree = linkage.ward_tree(rows)
    grown = time.perf_counter()
    estimate_clusters(rows)
    linkage.cut(tree, 8)
    end = time.perf_counter()
    cells = [f"{count}", f"{grown - start:.1f}", f"{end - grown:.1f}", f"{before:.0f}", f"{peak_megabytes():.0f}"]
    print(*(f"{cell:>10}" for cell in cells + (compare(rows, tree) if count <= exact else ["-", "-"])), flush=True)


def compare(rows, tree) -> list[str]:  # type: ignore[no-untyped-def]
    """Seconds of SciPy's tree, and the smallest ARI between its cuts and ours."""
    import numpy as np
    from scipy.cluster.hierarchy import fcluster, linkage
    from sklearn.metrics import adjusted_rand_score

    from blemish.clustering.ward import cut

    start = time.perf_counter()
    merges = linkage(rows.astype(np.float64), "ward")
    seconds = time.perf_counter() - start
    scores = [adjusted_rand_score(fcluster(merges, k, "maxclust"), cut(tree, k)) for k in range(2, 13)]
    return [f"{seconds:.1f}", f"{min(scores):.4f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--kind", choices=("groups", "noise"), default="groups")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--exact", type=int, default=10_000)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.count:
        measure(args.count, args.dim, args.kind, args.exact)
        return
    print(*(f"{name:>10}" for name in HEAD), flush=True)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    threads = {**os.environ, **dict.fromkeys(names, str(args.threads))}
    for count in args.counts:
        flags = ["--count", count, "--dim", args.dim, "--kind", args.kind, "--exact", args.exact]
        command = [sys.executable, "-m", "benchmarks.ward_scale", *map(str, flags)]
        subprocess.run(command, check=True, env=threads)


if __name__ == "__main__":
    main()
