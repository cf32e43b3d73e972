# SPDX-License-Identifier: Apache-2.0
"""Headers that two readers understand differently.

The attacker shows the gate one model and the server another: with two equal keys one
reader takes the first and another the last; one skips white space or unknown members
that another trips over.  safetensors 0.8.0 accepts most of these.
"""

from __future__ import annotations

import pytest

from artifact_world.weights import file_of
from pedigree.errors import ArtifactError
from pedigree.limits import DEFAULT
from pedigree.tensors.header import parse_header

F32 = '{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
U8 = '{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f'{{"a":{F32},"a":{U8}}}', "DuplicateKey"),
        (f'{{"a":{F32},"\\u0061":{U8}}}', "DuplicateKey"),
        (f'{{"a":{F32},"a":{F32}}}', "DuplicateKey"),
        (f'{{"__metadata__":{{"k":"1","k":"2"}},"a":{F32}}}', "DuplicateKey"),
        (f'{{"__metadata__":{{}},"__metadata__":{{}},"a":{F32}}}', "DuplicateKey"),
        (f'{{"a":{F32[:-1]},"dtype":"I32"}}}}', "DuplicateKey"),
        (f' {{"a":{F32}}}', "MalformedHeader"),
        (f'\n{{"a":{F32}}}', "MalformedHeader"),
        (f'\t{{"a":{F32}}}', "MalformedHeader"),
        (f'\ufeff{{"a":{F32}}}', "MalformedHeader"),
        (f'{{"a":{F32[:-1]},"offset":0}}}}', "UnknownField"),
        (f'{{"__metadata__":null,"a":{F32}}}', "MalformedMetadata"),
        (f'{{"a\\u0000b":{F32}}}', "MalformedName"),
    ],
)
def test_a_header_with_two_meanings_is_refused(text: str, reason: str) -> None:
    data = file_of(text.encode(), bytes(4))
    with pytest.raises(ArtifactError) as caught:
        parse_header(data, path="m", file_size=len(data), limits=DEFAULT)
    assert caught.value.reason == reason
