# SPDX-License-Identifier: Apache-2.0
"""A registry that states more bytes than evidence can tell, which nobody reads.

The API server refuses such evidence whenever it is sent, and whoever sends it again and
again has no room left for the models of others.
"""

import pytest

from artifact_world.registry import Registry, serve
from pedigree import refs
from pedigree.errors import SourceRefused
from pedigree.examine.listing import SIZE_MAX_BYTES, list_model
from pedigree.sources import SourceSettings, open_source

NAME = "org.cncf.model.filepath"
RAW = "application/vnd.cncf.model.weight.v1.raw"


def _stating(sizes: list[int]) -> list[dict[str, object]]:
    return [
        {
            "mediaType": RAW,
            "digest": f"sha256:{number:064x}",
            "size": size,
            "annotations": {NAME: f"{number}.safetensors"},
        }
        for number, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(("layers", "refused"), [(7, False), (9, True)])
def test_stated_sizes_that_no_evidence_can_tell_are_refused(
    layers: int, refused: bool
) -> None:
    sizes = [(1 << 50) - 1] * layers
    assert (sum(sizes) > SIZE_MAX_BYTES) is refused
    with serve(Registry()) as registry:
        registry.push(_stating(sizes))
        ref = refs.parse(f"oci://{registry.host}/org/model:v1")
        source = open_source(ref, SourceSettings())
        if not refused:
            assert list_model(source).manifest.size_bytes == sum(sizes)
            return
        with pytest.raises(SourceRefused) as caught:
            list_model(source)
    assert caught.value.reason == "LimitExceeded"
