# SPDX-License-Identifier: Apache-2.0
"""One file or folder of a model that has several variants.

Repositories of GGUF files hold one model in many precisions; a server loads one of
them.  ``#path`` in a reference says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from pedigree.errors import SourceRefused, quote
from pedigree.ranges import FileEntry, ModelSource, RangeSource, WrappedSource

_SPLIT = re.compile(r"(?P<stem>.+)-\d{5}-of-(?P<count>\d{5})(?P<suffix>\.[a-z]+)")
_WEIGHTS = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx")


class WithinSource(WrappedSource):
    """A source of which only a part is the model.

    Of a folder: its files, with paths from there.  Of a file: it, the other parts of
    the split set it belongs to, and what lies beside it and holds no weights.

    Args:
        source: The source.
        within: Path of the file or folder.

    Raises:
        SourceRefused: There is neither (``NotFound``).
    """

    def __init__(self, source: ModelSource, within: str) -> None:
        super().__init__(source)
        self._paths = dict(_chosen(source.files(), within))
        if not self._paths:
            raise SourceRefused(
                f"{quote(str(source.ref))} has no file or folder {quote(within)}",
                reason="NotFound",
                hint="name one that is there, after '#'",
            )
        self._entries = tuple(
            replace(entry, path=path)
            for path, entry in sorted(
                (inner, entry)
                for entry in source.files()
                for inner, outer in self._paths.items()
                if outer == entry.path
            )
        )

    def files(self) -> tuple[FileEntry, ...]:
        """The files of the part, sorted by path."""
        return self._entries

    def open(self, path: str) -> RangeSource:
        """Ranged reads of one file of the part."""
        return self._source.open(self._paths[path])


def _chosen(entries: tuple[FileEntry, ...], within: str) -> Iterator[tuple[str, str]]:
    """Path in the part and path in the source of each file of the part."""
    paths = [entry.path for entry in entries]
    folder = within + "/"
    if within not in paths:
        for path in paths:
            if path.startswith(folder):
                yield path.removeprefix(folder), path
        return
    parent, _, name = within.rpartition("/")
    wanted = _split_set(name)
    for path in paths:
        above, _, own = path.rpartition("/")
        if above != parent:
            continue
        if own == name or _split_set(own) == wanted or not own.endswith(_WEIGHTS):
            yield own, path


def _split_set(name: str) -> tuple[str, str, str]:
    """What all parts of a split set share; a name of its own for other files."""
    found = _SPLIT.fullmatch(name)
    if found is None:
        return (name, "", "")
    return (found["stem"], found["count"], found["suffix"])
