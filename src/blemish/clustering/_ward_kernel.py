"""Compiled kernels of `blemish.clustering.ward`, which imports this module (and thereby Numba) for large sets only.

Clusters live in slots, at first one row each; the union of two clusters lives in the lower slot. Every cluster keeps a
short list of candidates for its nearest cluster and a bound: no cluster outside the list is nearer than the bound. Ward's
cost is reducible (Murtagh & Legendre 2014): the union of two clusters that are each other's nearest is never nearer to a
third cluster than the nearer of the two was. Lists and bounds therefore survive merges: candidates are followed to the
unions they are in, and a union has the candidates of both parts and the lower of the two bounds. All clusters have to be
searched again only where the best candidate lies beyond the bound.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from blemish.runtime.jit import jit

STALE = -1
"""In place of the nearest cluster: the list of candidates does not settle which one it is."""

_NEW = -2
"""In place of the nearest cluster: the cluster was just merged and has no list of its own yet."""


class State(NamedTuple):
    """Clusters by slot, M slots, K candidates each.

    Attributes:
        centers: M x D.
        weights: M, number of rows in the cluster.
        into: M, the slot itself, or the slot that it was merged into.
        born: M, number of merges made when the cluster came to be.
        candidates: M x K, slots by rising cost, -1 where there are no more.
        costs: M x K, cost of merging with each candidate.
        seen: M, number of merges made when the costs were up to date.
        bound: M, lower bound on the cost of every cluster outside the candidates.
        nearest: M, slot of the nearest cluster, or `STALE`.
    """

    centers: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]
    into: npt.NDArray[np.int64]
    born: npt.NDArray[np.int64]
    candidates: npt.NDArray[np.int64]
    costs: npt.NDArray[np.float64]
    seen: npt.NDArray[np.int64]
    bound: npt.NDArray[np.float64]
    nearest: npt.NDArray[np.int64]


@jit
def _cost(centers: Any, weights: Any, a: int, b: int) -> Any:
    """Increase of the sum of squares if a and b are merged; (b, a) gives the same bits."""
    total = 0.0
    for x in range(centers.shape[1]):
        step = centers[a, x] - centers[b, x]
        total += step * step
    return weights[a] * weights[b] / (weights[a] + weights[b]) * total


@jit
def _tie(a: int, b: int) -> Any:
    """Order of equal costs.

    It is symmetric, so that candidates of equal cost never chase each other in a circle, and scattered, so that rows on a
    grid merge in many pairs at a time instead of one after the other.
    """
    return ((a ^ b) * 2654435761) & 0xFFFFFFFF


@jit
def _after(of: int, slot: int, cost: float, other: int, other_cost: float) -> Any:
    """Whether candidate `slot` of cluster `of` comes after candidate `other`."""
    return cost > other_cost or (cost == other_cost and _tie(of, slot) > _tie(of, other))


@jit
def _insert(slots: Any, costs: Any, count: int, of: int, slot: int, cost: float) -> Any:
    """Insert a candidate of cluster `of` into its list of `count` sorted candidates; a full list drops its last one.

    Returns the cost of the dropped candidate, infinite if none was dropped.
    """
    at, lost = count, np.inf
    if count == slots.size:
        at = count - 1
        if _after(of, slot, cost, slots[at], costs[at]):
            return cost
        lost = costs[at]
    while at > 0 and _after(of, slots[at - 1], costs[at - 1], slot, cost):
        slots[at], costs[at] = slots[at - 1], costs[at - 1]
        at -= 1
    slots[at], costs[at] = slot, cost
    return lost


@jit
def _write(state: State, i: int, slots: Any, costs: Any, count: int, now: int) -> None:
    """Replace the candidates of i by these."""
    for e in range(slots.size):
        state.candidates[i, e] = slots[e] if e < count else -1
        state.costs[i, e] = costs[e]
    state.seen[i] = now
    state.nearest[i] = slots[0] if count > 0 and costs[0] <= state.bound[i] else STALE


@jit
def _root(into: Any, slot: int) -> Any:
    """The slot of the cluster that now holds the rows of `slot`."""
    while into[slot] != slot:
        into[slot] = into[into[slot]]
        slot = into[slot]
    return slot


@jit
def _refresh(state: State, i: int, part: int, now: int) -> None:
    """Follow the candidates of i to the clusters they are in now. `part` is the slot just merged into i, or i itself."""
    size = state.candidates.shape[1]
    slots, costs, count = np.empty(size, np.int64), np.empty(size), 0
    for e in range(2 * size if part != i else size):
        source = i if e < size else part
        before = state.candidates[source, e % size]
        if before < 0:
            continue
        slot = _root(state.into, before)
        double = slot == i
        for f in range(count):
            double |= slots[f] == slot
        if double:
            continue
        if part == i and slot == before and state.born[slot] <= state.seen[i]:
            cost = state.costs[i, e]
        else:
            cost = _cost(state.centers, state.weights, i, slot)
        state.bound[i] = min(state.bound[i], _insert(slots, costs, count, i, slot, cost))
        count = min(count + 1, size)
    _write(state, i, slots, costs, count, now)


@jit
def _unite(state: State, a: int, b: int, now: int) -> None:
    """Put the union of a and b in slot a."""
    both = state.weights[a] + state.weights[b]
    for x in range(state.centers.shape[1]):
        mean = state.weights[a] * state.centers[a, x] + state.weights[b] * state.centers[b, x]
        state.centers[a, x] = mean / both
    state.weights[a], state.into[b], state.born[a] = both, a, now
    state.bound[a] = min(state.bound[a], state.bound[b])
    state.nearest[a] = state.nearest[b] = _NEW


@jit
def _find_pairs(state: State, live: Any, done: int, force: bool, pairs: Any, costs: Any) -> Any:
    """Record the pairs that are each other's nearest, or the cheapest pair if there is none and `force` is set."""
    first, best = done, -1
    for i in live:
        j = state.nearest[i]
        if j > i and state.nearest[j] == i:
            pairs[done, 0], pairs[done, 1], costs[done] = i, j, state.costs[i, 0]
            done += 1
        if j >= 0 and (best < 0 or state.costs[i, 0] < state.costs[best, 0]):
            best = i
    if done == first and force:
        j = state.nearest[best]
        pairs[done, 0], pairs[done, 1], costs[done] = min(best, j), max(best, j), state.costs[best, 0]
        done += 1
    return done


@jit
def merge_pairs(state: State, live: Any, done: int, force: bool, pairs: Any, costs: Any) -> Any:
    """Merge all pairs that are each other's nearest.

    Args:
        state: changed in place.
        live: slots in use.
        done: number of merges made so far.
        force: whether to merge the cheapest pair if there is no such pair, which happens when ties are cut off by the
            length of the lists.
        pairs: slots of every merge, of which the first one takes the union; written from row ``done`` on.
        costs: cost of every merge; written from row ``done`` on.

    Returns:
        Number of merges made by now.
    """
    first, done = done, _find_pairs(state, live, done, force, pairs, costs)
    for m in range(first, done):
        _unite(state, pairs[m, 0], pairs[m, 1], m + 1)
    for m in range(first, done):
        _refresh(state, pairs[m, 0], pairs[m, 1], done)
    for i in live:
        j = state.nearest[i]
        if j >= 0 and (state.into[j] != j or state.born[j] > state.seen[i]):
            _refresh(state, i, i, done)
    return done


@jit
def take_nearest(
    state: State, queries: Any, live: Any, squares: Any, weights: Any, products: Any, rounding: float, now: int
) -> None:
    """Find new candidates from the inner products with all clusters.

    Args:
        state: changed in place.
        queries: Q slots.
        live: L slots in use.
        squares: L, squared lengths of their centers.
        weights: L, their weights.
        products: Q x L, inner products of the centers; overwritten.
        rounding: largest error of twice a product, as a share of the sum of the two squared lengths; the bound allows for
            it. 0: the cluster that comes out as nearest is taken as the nearest.
        now: number of merges made so far.
    """
    size = state.candidates.shape[1]
    slots, costs = np.empty(size, np.int64), np.empty(size)
    exact_slots, exact_costs = np.empty(size, np.int64), np.empty(size)
    for q in range(queries.size):
        i, row, square = queries[q], products[q], 0.0
        for x in range(state.centers.shape[1]):
            square += state.centers[i, x] ** 2
        own = state.weights[i]
        for x in range(row.size):  # a separate loop becomes vector instructions
            least = (1 - rounding) * (square + squares[x]) - 2 * row[x]
            row[x] = least * (own * weights[x] / (own + weights[x]))
        count, limit = 0, np.inf
        for x in range(row.size):
            if row[x] <= limit and live[x] != i:
                _insert(slots, costs, count, i, live[x], row[x])
                count = min(count + 1, size)
                if count == size:
                    limit = costs[size - 1]
        for e in range(count):  # products cancel for close clusters: use differences
            cost = _cost(state.centers, state.weights, i, slots[e])
            _insert(exact_slots, exact_costs, e, i, slots[e], cost)
        state.bound[i] = limit
        _write(state, i, exact_slots, exact_costs, count, now)
        if rounding == 0:
            state.nearest[i] = exact_slots[0]
