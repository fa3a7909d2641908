"""Slow twins of the scores: loops straight from the definitions, no sorting tricks, no library scores."""

from __future__ import annotations

import itertools
import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

import numpy as np


def slow_nmi(truth: Sequence[Any], predicted: Sequence[Any]) -> float:
    n = len(truth)
    rows, columns, both = Counter(truth), Counter(predicted), Counter(zip(truth, predicted, strict=True))
    if len(rows) == len(columns) == 1:
        return 1.0
    shared = sum(c / n * math.log(n * c / (rows[a] * columns[b])) for (a, b), c in both.items())
    entropy = [-sum(c / n * math.log(c / n) for c in counts.values()) for counts in (rows, columns)]
    return shared / (sum(entropy) / 2)


def slow_ari(truth: Sequence[Any], predicted: Sequence[Any]) -> float:
    """Counts pairs of images that both partitions join or part."""
    together = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for i, j in itertools.combinations(range(len(truth)), 2):
        together[truth[i] == truth[j], predicted[i] == predicted[j]] += 1
    both, only_truth = together[True, True], together[True, False]
    only_predicted, none = together[False, True], together[False, False]
    if only_truth == only_predicted == 0:
        return 1.0
    below = (both + only_truth) * (only_truth + none) + (both + only_predicted) * (only_predicted + none)
    return 2 * (both * none - only_truth * only_predicted) / below


def slow_f1(truth: Sequence[Any], predicted: Sequence[Any]) -> float:
    """Best share of hits over every way to give each cluster a class of its own (or none)."""
    classes, clusters = list(dict.fromkeys(truth)), list(dict.fromkeys(predicted))
    slots: list[Any] = classes + [None] * len(clusters)
    best = 0
    for chosen in itertools.permutations(range(len(slots)), len(clusters)):
        name = {cluster: slots[slot] for cluster, slot in zip(clusters, chosen, strict=True)}
        best = max(best, sum(name[p] is not None and name[p] == t for t, p in zip(truth, predicted, strict=True)))
    return best / len(truth)


def slow_auroc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Share of (positive, negative) pairs in the right order."""
    high = [s for s, p in zip(scores, positive, strict=True) if p]
    low = [s for s, p in zip(scores, positive, strict=True) if not p]
    return sum((a > b) + 0.5 * (a == b) for a in high for b in low) / (len(high) * len(low))


def slow_average_precision(scores: Sequence[float], positive: Sequence[bool]) -> float:
    total, before, area = sum(positive), 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = [p for s, p in zip(scores, positive, strict=True) if s >= threshold]
        recall = sum(called) / total
        area += (recall - before) * sum(called) / len(called)
        before = recall
    return area


def slow_regions(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """8-connected components by flooding."""
    todo = {(int(r), int(c)) for r, c in zip(*np.nonzero(mask), strict=True)}
    regions = []
    while todo:
        queue, region = deque([todo.pop()]), []
        while queue:
            r, c = queue.popleft()
            region.append((r, c))
            for near in itertools.product((r - 1, r, r + 1), (c - 1, c, c + 1)):
                if near in todo:
                    todo.remove(near)
                    queue.append(near)
        regions.append(region)
    return regions


def slow_aupro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], max_fpr: float) -> float:
    """Evaluates the curve at every value that occurs, then adds up trapezoids until the limit."""
    points = [(0.0, 0.0)]
    normal_total = sum(int((mask == 0).sum()) for mask in masks)
    regions = [(m, region) for m, mask in zip(maps, masks, strict=True) for region in slow_regions(mask)]
    for threshold in sorted({float(v) for m in maps for v in m.ravel()}, reverse=True):
        false = sum(int(((m >= threshold) & (mask == 0)).sum()) for m, mask in zip(maps, masks, strict=True))
        shares = [sum(m[p] >= threshold for p in region) / len(region) for m, region in regions]
        points.append((false / normal_total, sum(shares) / len(shares)))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 >= max_fpr:
            break
        if x1 > max_fpr:
            y1 = y0 + (y1 - y0) * (max_fpr - x0) / (x1 - x0)
            x1 = max_fpr
        area += (x1 - x0) * (y0 + y1) / 2
    return area / max_fpr
