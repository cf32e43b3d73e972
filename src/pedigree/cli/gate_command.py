# SPDX-License-Identifier: Apache-2.0
"""``pedigree gate``: the webhook's answer before anything is pushed.

Reads manifests, policies and known models from files, examines the models, and judges
them with the function that the webhook and the operator call.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedigree.cli.failure import (
    EXIT_NEGATIVE,
    EXIT_NO_ANSWER,
    EXIT_NOTHING_TO_CHECK,
    EXIT_OK,
)
from pedigree.cli.far import add_options
from pedigree.cli.findings import finding_dicts
from pedigree.cli.models import source_settings
from pedigree.cli.progress import stage_progress
from pedigree.cli.render import (
    counted,
    human_bytes,
    print_json,
    print_lines,
    print_table,
)
from pedigree.cli.signers import add_trust_options, trust_of
from pedigree.errors import ConfigError, quote
from pedigree.evidence import match_to_dict
from pedigree.policy.subject import NAMESPACE_LABEL
from pedigree.policy.verdict import Action, Reason, Result

if TYPE_CHECKING:
    from pedigree.cli.gate_facts import Gatherer
    from pedigree.cli.manifests import Document
    from pedigree.evidence import Finding
    from pedigree.policy.facts import ModelFacts
    from pedigree.policy.references import Reference
    from pedigree.policy.rules import BrokenPolicy, Policy
    from pedigree.policy.subject import Subject
    from pedigree.policy.verdict import Verdict
    from pedigree.registry import ReferenceSet

SCHEMA = "pedigree.dev/gate/v1"
_DESCRIPTION = """\
Say what the webhook would say of a manifest, before anything is pushed: the models are
examined here and judged as in the cluster.
"""
_EPILOG = """\
exit codes: 0 everything is admitted (perhaps with warnings), 1 something is denied or
held, 2 wrong usage, 3 no verdict was possible, 4 there is no ModelDeployment
"""


def register(subparsers: Any) -> None:
    """Add the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "gate",
        help="say what the webhook would say of a manifest",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_manifests(parser)
    _add_surroundings(parser)
    add_trust_options(parser)
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def _add_manifests(parser: argparse.ArgumentParser) -> None:
    """What is judged, and by what."""
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        required=True,
        metavar="FILE",
        help="manifest with ModelDeployments, or - for standard input; repeatable",
    )
    parser.add_argument(
        "--policy",
        action="append",
        required=True,
        metavar="FILE",
        help="manifest with ClusterLineagePolicies and LineagePolicies; repeatable",
    )


def _add_surroundings(parser: argparse.ArgumentParser) -> None:
    """What a cluster would know besides."""
    parser.add_argument(
        "--reference-models",
        action="append",
        default=[],
        metavar="FILE",
        help="manifest with ReferenceModels, read from their sources; repeatable",
    )
    parser.add_argument(
        "--registry", type=Path, metavar="DIR", help="registry of known models"
    )
    parser.add_argument(
        "-n",
        "--namespace",
        default="default",
        metavar="NAME",
        help="namespace of objects that name none; default: default",
    )
    parser.add_argument(
        "--namespace-labels",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="labels of the namespace, for policies that select by them; repeatable",
    )
    parser.add_argument(
        "--no-match",
        choices=[str(Action.DENY), str(Action.ALLOW)],
        default=str(Action.DENY),
        help="what happens to what no cluster policy covers; default: Deny",
    )
    parser.add_argument(
        "--mount",
        action="append",
        default=[],
        metavar="/PATH=DIR",
        help="read file:///PATH/... from DIR here; repeatable",
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """One object and its verdict."""

    subject: Subject
    facts: dict[str, ModelFacts]
    verdict: Verdict
    licence: dict[str, list[Finding]]
    """What the licences of the bases ask for, by model; never part of the verdict."""

    @property
    def exit_code(self) -> int:
        """Exit code of this object alone."""
        if self.verdict.action in (Action.ALLOW, Action.WARN):
            return EXIT_OK
        is_error = self.verdict.result is Result.ERROR
        return EXIT_NO_ANSWER if is_error else EXIT_NEGATIVE


def run(args: argparse.Namespace) -> int:
    """Judge every ModelDeployment of the manifests."""
    from pedigree.cli.gate_facts import Gatherer, Mount

    started = time.perf_counter()
    deployments, policies, models = _inputs(args)
    now = datetime.now(UTC)
    with stage_progress() as report:

        def progress(label: str) -> Any:
            if report is None:
                return None
            return lambda stage, done, total: report(f"{stage} {label}", done, total)

        mounts = [Mount.parse(text) for text in args.mount]
        gatherer = Gatherer(
            source_settings(args), mounts, now, progress, trust=trust_of(args)
        )
        judged: list[Judged] = []
        known: dict[str, Reference] = {}
        if deployments:
            known, fingerprints = gatherer.references(args.registry, models)
            judged = [
                _judge(item, args, gatherer, policies, known, fingerprints, now)
                for item in deployments
            ]
    seconds = time.perf_counter() - started
    if args.json:
        print_json(
            {
                "schema": SCHEMA,
                "allowed": all(item.exit_code == EXIT_OK for item in judged),
                "objects": [_object_dict(item) for item in judged],
                "policies": len(policies),
                "references": len(known),
                "noMatch": args.no_match,
                "bytesRead": gatherer.bytes_read,
                "seconds": round(seconds, 4),
            }
        )
    else:
        _print(judged, len(known), gatherer.bytes_read, seconds)
    return _exit_code(judged)


def _exit_code(judged: Sequence[Judged]) -> int:
    """A denial outweighs a missing verdict: it stands whatever the other would be."""
    if not judged:
        return EXIT_NOTHING_TO_CHECK
    codes = {item.exit_code for item in judged}
    for code in (EXIT_NEGATIVE, EXIT_NO_ANSWER):
        if code in codes:
            return code
    return EXIT_OK


def _inputs(
    args: argparse.Namespace,
) -> tuple[list[Document], list[Policy | BrokenPolicy], list[Document]]:
    """ModelDeployments, policies and ReferenceModels; each from its own files."""
    from pedigree.cli.manifests import check_model_fields, read_manifests
    from pedigree.policy.rules import load_policy

    def read(paths: Sequence[str], *kinds: str) -> Iterator[Document]:
        for path in paths:
            for document in read_manifests(path):
                if document.kind in kinds:
                    yield document

    deployments = list(read(args.filename, "ModelDeployment"))
    policies = []
    for item in read(args.policy, "ClusterLineagePolicy", "LineagePolicy"):
        _default_namespace(item, args.namespace)
        policies.append(load_policy(item.obj))
    if not policies:
        raise ConfigError(
            f"{', '.join(map(quote, args.policy))} holds no policy",
            hint="give a file with a ClusterLineagePolicy or LineagePolicy",
        )
    for item in deployments:
        _default_namespace(item, args.namespace)
        check_model_fields(item)
    return deployments, policies, list(read(args.reference_models, "ReferenceModel"))


def _default_namespace(document: Document, namespace: str) -> None:
    """What kubectl does with an object that names no namespace."""
    metadata = document.obj.get("metadata")
    if document.kind != "ClusterLineagePolicy" and isinstance(metadata, dict):
        metadata.setdefault("namespace", namespace)


def _judge(
    document: Document,
    args: argparse.Namespace,
    gatherer: Gatherer,
    policies: Sequence[Policy | BrokenPolicy],
    known: dict[str, Reference],
    fingerprints: ReferenceSet,
    now: datetime,
) -> Judged:
    from pedigree.policy.evaluate import judge
    from pedigree.policy.licensing import licence_findings
    from pedigree.policy.subject import subject_from_model_deployment

    labels = _labels(args.namespace_labels)
    metadata = document.obj.get("metadata")
    namespace = metadata.get("namespace") if isinstance(metadata, dict) else None
    if isinstance(namespace, str):
        labels = {NAMESPACE_LABEL: namespace, **labels}
    subject = subject_from_model_deployment(document.obj, labels)
    facts = gatherer.facts(subject, fingerprints)
    verdict = judge(
        subject,
        facts,
        policies,
        known,
        no_match=Action(args.no_match),
        now=now,
        trusted_signers=gatherer.trusted_signers,
    )
    licence = {
        name: licence_findings(known_facts.evidence, known)
        for name, known_facts in facts.items()
        if known_facts.evidence is not None
    }
    return Judged(subject, facts, verdict, licence)


def _labels(texts: Sequence[str]) -> dict[str, str]:
    labels = {}
    for text in ",".join(texts).split(",") if texts else ():
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"label is {quote(text)}, wanted KEY=VALUE")
        labels[key] = value
    return labels


def _object_dict(judged: Judged) -> dict[str, Any]:
    subject = judged.subject
    return {
        "kind": subject.kind,
        "namespace": subject.namespace,
        "name": subject.name,
        "verdict": judged.verdict.to_dict(),
        "models": [
            {
                "name": model.name,
                "uri": model.uri,
                **_model_dict(judged.facts.get(model.name)),
                "licence": finding_dicts(judged.licence.get(model.name, [])),
            }
            for model in subject.models
        ],
    }


def _model_dict(facts: ModelFacts | None) -> dict[str, Any]:
    evidence = facts.evidence if facts is not None else None
    lineage = evidence.lineage if evidence is not None else None
    matches = lineage.matches if lineage is not None else ()
    return {
        "digest": str(evidence.digest) if evidence is not None else "",
        "ancestors": [match_to_dict(match) for match in matches],
    }


def _print(
    judged: Sequence[Judged], references: int, bytes_read: int, seconds: float
) -> None:
    for item in judged:
        subject, verdict = item.subject, item.verdict
        print_lines(
            f"{verdict.action}: {subject.namespace}/{subject.name}: {verdict.reason}",
            f"  {verdict.message}",
        )
        if verdict.causes:
            print_table(
                ("action", "reason", "field", "policy", "rule", "message"),
                [
                    (
                        str(cause.action),
                        str(cause.reason),
                        cause.field,
                        cause.policy or "-",
                        cause.rule or "-",
                        cause.message if number else "(the sentence above)",
                    )
                    for number, cause in enumerate(verdict.causes)
                ],
            )
        print_lines(
            *(
                f"  licence {finding.severity}: {quote(name, 80)}: {finding.message}"
                for name, findings in item.licence.items()
                for finding in findings
            )
        )
    if not judged:
        print_lines("the manifests hold no ModelDeployment: nothing was checked")
        return
    if not references and any(
        item.verdict.reason is Reason.POLICY_INVALID for item in judged
    ):
        print_lines(
            "hint: give the policies' reference models, --reference-models FILE"
        )
    print_lines(
        f"{counted(len(judged), 'object')}, {counted(references, 'reference')}, "
        f"{human_bytes(bytes_read)} read, {seconds:.2f} s"
    )
