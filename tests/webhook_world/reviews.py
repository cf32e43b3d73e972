# SPDX-License-Identifier: Apache-2.0
"""Questions, as an API server asks them."""

import json
import uuid
from typing import Any

Object = dict[str, Any]


def review(
    operation: str = "CREATE",
    obj: Object | None = None,
    old: Object | None = None,
    /,
    **request: Any,
) -> Object:
    """An AdmissionReview about a ModelDeployment.

    Args:
        operation: ``CREATE``, ``UPDATE``, ``DELETE`` ...
        obj: The new object.
        old: The stored object.
        request: Further fields of the request, or others in place of the usual ones.
    """
    about = obj or old or {"metadata": {}}
    metadata = about["metadata"]
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": str(uuid.uuid4()),
            "kind": {
                "group": "pedigree.dev",
                "version": "v1alpha1",
                "kind": "ModelDeployment",
            },
            "resource": {
                "group": "pedigree.dev",
                "version": "v1alpha1",
                "resource": "modeldeployments",
            },
            "name": metadata.get("name", ""),
            "namespace": metadata.get("namespace", ""),
            "operation": operation,
            "userInfo": {"username": "jane", "groups": ["system:authenticated"]},
            "object": obj,
            "oldObject": old,
            "dryRun": False,
            **request,
        },
    }


def review_body(*args: Any, **kwargs: Any) -> bytes:
    """The same, as the body of a call."""
    return json.dumps(review(*args, **kwargs)).encode()
