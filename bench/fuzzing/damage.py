# SPDX-License-Identifier: Apache-2.0
"""Ways to damage the files of a model, some of which leave files that can be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random

from bench.fuzzing.mutate import Mutator
from bench.fuzzing.target import JSON, Frame, Target
from bench.fuzzing.weights import HEADER

Files = dict[str, bytes]
"""Contents by name."""
_LENGTHS = (0, 1, 8, 255, 2**16, 2**31, 2**32 - 1, 2**32, 2**40, 2**63, 2**64 - 1)
_HEAD = 2048
"""Bytes at both ends of a file in which lengths, offsets and counts are."""
_SUFFIXES = (".safetensors", ".bin", ".gguf", ".json", ".pt", ".onnx", ".txt", "")


def _text(name: str) -> Frame | None:
    if name.endswith(".json"):
        return JSON
    return HEADER if name.endswith(".safetensors") else None


def flip(files: Files, other: Files, random: Random) -> None:
    """Some bits of a file."""
    name = _any(files, random)
    made = bytearray(files[name])
    for _ in range(random.choice((1, 1, 4, 64, 1024))):
        if made:
            made[random.randrange(len(made))] ^= 1 << random.randrange(8)
    files[name] = bytes(made)


def cut(files: Files, other: Files, random: Random) -> None:
    """A file ends early."""
    name = _any(files, random)
    files[name] = files[name][: random.randrange(len(files[name]) + 1)]


def splice(files: Files, other: Files, random: Random) -> None:
    """Bytes come in or go out, so that all behind them is elsewhere."""
    name = _any(files, random)
    data, at = files[name], random.randrange(len(files[name]) + 1)
    count = random.choice((1, 4, 32, 4096))
    if random.random() < 0.5:
        files[name] = data[:at] + random.randbytes(count) + data[at:]
    else:
        files[name] = data[:at] + data[at + count :]


def exchange(files: Files, other: Files, random: Random) -> None:
    """Two blocks of a file change places."""
    name = _any(files, random)
    made, size = bytearray(files[name]), random.choice((64, 512, 8192, 65536))
    if len(made) < 2 * size:
        return flip(files, other, random)
    first, second = (random.randrange(len(made) // size) * size for _ in range(2))
    held = made[first : first + size]
    made[first : first + size] = made[second : second + size]
    made[second : second + size] = held
    files[name] = bytes(made)
    return None


def length(files: Files, other: Files, random: Random) -> None:
    """A number near the beginning or the end of a file is another one."""
    name = _any(files, random)
    made, width = bytearray(files[name]), random.choice((2, 4, 8))
    near = min(_HEAD, len(made))
    at = random.randrange(near + 1)
    if random.random() < 0.3:
        at = len(made) - at
    value = random.choice(_LENGTHS) % (1 << 8 * width)
    made[at : at + width] = value.to_bytes(width, "little")
    files[name] = bytes(made)


def header(files: Files, other: Files, random: Random) -> None:
    """JSON says something else and stays JSON."""
    names = [name for name in files if _text(name) is not None]
    if not names:
        return length(files, other, random)
    name = random.choice(sorted(names))
    words = (b"dtype", b"shape", b"F32", b"BF16", b"I32", b"weight_map", b"bits")
    frame = _text(name)
    target = Target(name, len, list, words, frame, bytes_max=len(files[name]) + 4096)
    changed = Mutator(target, random).changed_json(files[name])
    if changed is None:
        return flip(files, other, random)
    files[name] = changed
    return None


def relabel(files: Files, other: Files, random: Random) -> None:
    """Two tensors of a header change names, shapes or places."""
    names = [name for name in files if name.endswith(".safetensors")]
    if not names:
        return exchange(files, other, random)
    name = random.choice(sorted(names))
    before, text, after = HEADER[0](files[name])
    tensors = json.loads(text)
    first, second = random.sample(sorted(tensors.keys() - {"__metadata__"}), 2)
    field = random.choice(("dtype", "shape", "data_offsets", ""))
    if field:
        one, two = tensors[first], tensors[second]
        one[field], two[field] = two[field], one[field]
    else:
        tensors[first], tensors[second] = tensors[second], tensors[first]
    files[name] = HEADER[1](before, json.dumps(tensors).encode(), after)
    return None


def graft(files: Files, other: Files, random: Random) -> None:
    """A stretch of another model's file at the same place."""
    name = _any(files, random)
    donor = other.get(name) or other[_any(other, random)]
    size = min(len(donor), len(files[name]))
    begin = random.randrange(size + 1)
    end = random.randrange(begin, size + 1)
    files[name] = files[name][:begin] + donor[begin:end] + files[name][end:]


def replace(files: Files, other: Files, random: Random) -> None:
    """A whole file of another model under the name of one of this."""
    files[_any(files, random)] = other[_any(other, random)]


def add(files: Files, other: Files, random: Random) -> None:
    """A whole file of another model beside those of this."""
    name = _any(other, random)
    files[random.choice((name, "consolidated.safetensors", "b.gguf", "x.bin"))] = other[
        name
    ]


def rename(files: Files, other: Files, random: Random) -> None:
    """A file has another name, or none at all any more."""
    name = _any(files, random)
    data = files.pop(name)
    if random.random() < 0.7:
        files[name.partition(".")[0] + random.choice(_SUFFIXES)] = data


def _any(files: Mapping[str, bytes], random: Random) -> str:
    """A file, more likely a large one."""
    names = sorted(files)
    return random.choice([*names, max(names, key=lambda name: len(files[name]))])


KINDS: dict[str, Callable[[Files, Files, Random], None]] = {
    "flip": flip,
    "cut": cut,
    "splice": splice,
    "exchange": exchange,
    "length": length,
    "header": header,
    "relabel": relabel,
    "graft": graft,
    "replace": replace,
    "add": add,
    "rename": rename,
}
"""Each changes ``files`` in place and may take from ``other``."""
FROM_OTHERS = frozenset({"graft", "replace", "add"})
"""Those after which a model may rightly look like the other one too."""
