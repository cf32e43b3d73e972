# SPDX-License-Identifier: Apache-2.0
"""Write ``docs/controls.md`` from the data that Pedigree ships.

    .venv/bin/python tools/controls_page.py

A test compares the page with what this writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pedigree.evidence.controls import Catalogue, Guidance, catalogue
from pedigree.evidence.licences import licences

PAGE = Path(__file__).resolve().parent.parent / "docs" / "controls.md"
_HEAD = """\
# Controls: what findings and verdicts are evidence for

Written by `tools/controls_page.py` from `controls.json` and `licences.json` in
`src/pedigree/evidence`; change those. Sources were last looked at on {checked}.

{notice} "Read" says whether the text itself was read (primary) or told by others
(secondary): look the latter up before you quote it.

`pedigree examine --controls` lists controls below findings. `pedigree explain
RemoteCode` says what a finding is evidence for, `pedigree explain LLM04:2026` what
counts for a control.
"""


def page() -> str:
    """The whole page."""
    known = catalogue()
    parts = [
        _HEAD.format(checked=known.checked, notice=known.notice),
        "## Frameworks\n",
        *_table(("framework", "edition", "date", "read", "note"), _frameworks(known)),
        "\n## Controls and what counts for them\n",
        *_table(("control", "framework", "about", "what counts"), _controls(known)),
        "\n## Findings\n",
        *_table(("finding", "kind", "what to do"), _told(known.findings)),
        "\n## Reasons of verdicts\n",
        *_table(("reason", "kind", "what to do"), _told(known.verdicts)),
        "\n## Licences\n",
        "What [licence indicators](claims.md#licences) rest on. Indicators, not legal "
        "advice.\n",
        *_table(
            ("licence", "what stays with derivatives", "asks for", "date", "read"),
            _licences(),
        ),
    ]
    return "\n".join(parts) + "\n"


def _frameworks(known: Catalogue) -> Iterator[Sequence[str]]:
    for item in known.frameworks.values():
        edition = f"[{item.title} {item.version}]({item.url})"
        yield f"`{item.id}`", edition, item.date, item.read, item.note


def _controls(known: Catalogue) -> Iterator[Sequence[str]]:
    for item in known.controls.values():
        kinds = {
            guidance.subject: None
            for guidance in (*known.findings.values(), *known.verdicts.values())
            if item in guidance.controls
        }
        yield f"`{item.id}`", item.framework, item.text, "; ".join(kinds)


def _told(known: Mapping[str, Guidance]) -> Iterator[Sequence[str]]:
    for item in known.values():
        yield f"`{item.reason}`", item.subject, item.advice


def _licences() -> Iterator[Sequence[str]]:
    for item in {licence.id: licence for licence in licences().values()}.values():
        asks = [
            "a copy of the licence" if item.licence_file else "",
            "a notice file" if item.notice else "",
            f"names that begin with {item.name_prefix}" if item.name_prefix else "",
            f"the words {item.attribution}" if item.attribution else "",
        ]
        name = f"[{item.title}]({item.url}) `{item.id}`"
        wanted = ", ".join(filter(None, asks))
        yield name, item.propagation.value, wanted, item.date, item.read


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headings)} |"
    yield "|" + "---|" * len(headings)
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"


if __name__ == "__main__":
    PAGE.write_text(page())
