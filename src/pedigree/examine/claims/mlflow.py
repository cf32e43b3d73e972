# SPDX-License-Identifier: Apache-2.0
"""``MLmodel``: what MLflow writes beside a model that it has logged.

Only the flavour of transformers names models.  With an adapter (``peft_adaptor``) the
source is the adapter's base; else it is what was loaded and logged, perhaps the model
itself, so that it is no claim of descent.
"""

from __future__ import annotations

from pedigree.examine.claims.fields import Field
from pedigree.examine.claims.nodes import declared_in, member, pairs_in
from pedigree.tensors.remarks import Declared

MLMODEL = "MLmodel"


def mlflow_declarations(text: bytes) -> list[Declared]:
    """What an ``MLmodel`` file declares.

    Args:
        text: The whole file.

    Raises:
        ArtifactError: It is not YAML (``MalformedDeclaration``).
    """
    pairs = pairs_in(text, path=MLMODEL, what="MLflow description")
    flavour = member(pairs, "flavors", "transformers")
    adapted = any(key == "peft_adaptor" for key, _ in flavour)
    fields = {
        "source_model_name": Field.BASE_MODEL if adapted else Field.SOURCE_URI,
        "source_model_revision": Field.BASE_REVISION,
        "pipeline_model_type": Field.ARCHITECTURE,
    }
    if not adapted:
        del fields["source_model_revision"]
    found = list(declared_in(flavour, fields, MLMODEL))
    if any(item.field == Field.BASE_MODEL for item in found):
        found.append(Declared(Field.RELATION.value, "adapter", MLMODEL))
    return found
