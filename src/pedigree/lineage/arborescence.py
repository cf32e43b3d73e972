# SPDX-License-Identifier: Apache-2.0
"""The cheapest tree of directed edges from a root.

Source: Chu & Liu 1965; Edmonds 1967.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.float64]


def cheapest(costs: Costs, root: int) -> tuple[float, list[int]]:
    """The spanning arborescence of least cost.

    Args:
        costs: Shape (n, n); ``costs[p, c]`` of the edge from p to c; infinite if there
            is none.
        root: Node without a parent.

    Returns:
        Total cost, infinite if some node cannot be reached, and the parent of each node
        (-1 of the root).
    """
    work = costs.astype(np.float64).copy()
    np.fill_diagonal(work, np.inf)
    work[:, root] = np.inf
    parents = _solve(work, root)
    if parents is None:
        return float("inf"), []
    total = sum(float(costs[p, c]) for c, p in enumerate(parents) if p >= 0)
    return total, parents


def _solve(costs: Costs, root: int) -> list[int] | None:
    n = len(costs)
    best = [-1 if c == root else int(np.argmin(costs[:, c])) for c in range(n)]
    if any(not np.isfinite(costs[p, c]) for c, p in enumerate(best) if c != root):
        return None
    cycle = _cycle(best)
    if not cycle:
        return best
    return _expand(costs, root, best, cycle)


def _expand(
    costs: Costs, root: int, best: list[int], cycle: list[int]
) -> list[int] | None:
    """Contract one cycle, solve the rest, and open the cycle where it is entered."""
    outside = [x for x in range(len(costs)) if x not in set(cycle)]
    k = len(outside)
    small = np.full((k + 1, k + 1), np.inf)
    small[:k, :k] = costs[np.ix_(outside, outside)]
    own = np.array([costs[best[c], c] for c in cycle])
    into = costs[np.ix_(outside, cycle)] - own  # (outside, cycle)
    out = costs[np.ix_(cycle, outside)]
    small[:k, k], small[k, :k] = into.min(axis=1), out.min(axis=0)
    solved = _solve(small, outside.index(root))
    if solved is None:
        return None
    parents = list(best)
    for at, node in enumerate(outside):
        p = solved[at]
        if p == k:
            parents[node] = cycle[int(np.argmin(out[:, at]))]
        elif p >= 0:
            parents[node] = outside[p]
        else:
            parents[node] = -1
    entry = solved[k]
    parents[cycle[int(np.argmin(into[entry]))]] = outside[entry]
    return parents


def _cycle(parents: list[int]) -> list[int]:
    """One cycle of the parent pointers, or empty."""
    for start in range(len(parents)):
        seen: list[int] = []
        node = start
        while node >= 0 and node not in seen:
            seen.append(node)
            node = parents[node]
        if node >= 0:
            return seen[seen.index(node) :]
    return []
