# SPDX-License-Identifier: Apache-2.0
"""A small world for the webhook: objects as the API server would send them.

The approved base is ``llama-a``, the denied one ``gpt2-a``.  Four models are examined:
``good`` descends from the first, ``bad`` from the second, ``stranger`` from neither;
``new`` has not been examined.
"""

from webhook_world.objects import (
    NOW,
    evidence,
    model_deployment,
    namespace,
    policy,
    reference,
    registry,
    uri,
)
from webhook_world.reviews import review, review_body
from webhook_world.world import ENFORCING, Sink, World, world

__all__ = [
    "ENFORCING",
    "NOW",
    "Sink",
    "World",
    "evidence",
    "model_deployment",
    "namespace",
    "policy",
    "reference",
    "registry",
    "review",
    "review_body",
    "uri",
    "world",
]
