# SPDX-License-Identifier: Apache-2.0
"""A family tree as lines of text, as DOT and as JSON values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pedigree.lineage.tree import Edge, Family, Tree, significance


def lines(tree: Tree) -> list[str]:
    """Lines for people: one model each, indented under its parent.

    ``->`` is an edge that a mark orients, ``--`` one that runs this way because the
    tree is then shortest.  A merged model stands under its main parent.
    """
    said: list[str] = []
    for family in tree.families:
        note = _note(family)
        said.append(family.root + (f"  ({note})" if note else ""))
        said.extend(_below(family.root, _main(tree.edges), "", {family.root}))
    said.extend(
        f"{a} and {b} were trained apart from one initialisation"
        for a, b in tree.shared_init
    )
    return said


def dot(tree: Tree) -> str:
    """The graph in the DOT language; dashed edges are not oriented by a mark."""
    body = ["digraph lineage {", "  rankdir=TB;", "  node [shape=box];"]
    body.extend(
        f"  {_quoted(name)};" for family in tree.families for name in family.members
    )
    for edge in tree.edges:
        label = edge.relation
        if edge.share is not None:
            label += f" {edge.share:.2f}"
        style = "" if edge.directed else ", style=dashed"
        body.append(
            f"  {_quoted(edge.parent)} -> {_quoted(edge.child)} "
            f"[label={_quoted(label)}{style}];"
        )
    body.extend(
        f"  {_quoted(a)} -> {_quoted(b)} "
        '[dir=none, style=dotted, label="one initialisation"];'
        for a, b in tree.shared_init
    )
    return "\n".join([*body, "}"]) + "\n"


def document(tree: Tree) -> dict[str, object]:
    """JSON values, camelCase."""
    return {
        "families": [
            {
                "root": family.root,
                "rooted": family.rooted,
                "members": list(family.members),
            }
            for family in tree.families
        ],
        "edges": [_edge_document(edge) for edge in tree.edges],
        "sharedInit": [[a, b] for a, b in tree.shared_init],
    }


def _edge_document(edge: Edge) -> dict[str, object]:
    return {
        "parent": edge.parent,
        "child": edge.child,
        "relation": edge.relation,
        "directed": edge.directed,
        "evidence": edge.evidence,
        "log10P": round(edge.log10_p, 2),
        "distance": None if edge.distance is None else round(edge.distance, 4),
        "share": edge.share,
    }


def _note(family: Family) -> str:
    if len(family.members) == 1:
        return "no relatives here"
    return "" if family.rooted else "nothing tells who came first; the most central"


def _main(edges: Sequence[Edge]) -> Mapping[str, list[Edge]]:
    """Edges by parent; of a merged model the one of the largest share."""
    best: dict[str, Edge] = {}
    for edge in edges:
        other = best.get(edge.child)
        if other is None or (edge.share or 0.0) > (other.share or 0.0):
            best[edge.child] = edge
    children: dict[str, list[Edge]] = {}
    for edge in best.values():
        children.setdefault(edge.parent, []).append(edge)
    return children


def _below(
    name: str, children: Mapping[str, list[Edge]], indent: str, seen: set[str]
) -> Iterator[str]:
    own = [edge for edge in children.get(name, []) if edge.child not in seen]
    for at, edge in enumerate(own):
        seen.add(edge.child)
        last = at == len(own) - 1
        arrow = "->" if edge.directed else "--"
        share = "" if edge.share is None else f" {edge.share:.2f}"
        moved = "" if edge.distance is None else f", moved {edge.distance:.1%}"
        yield (
            f"{indent}{'`' if last else '|'}{arrow} {edge.child}  "
            f"{edge.relation}{share}{moved}, {significance(edge)}"
        )
        deeper = indent + ("   " if last else "|  ")
        yield from _below(edge.child, children, deeper, seen)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
