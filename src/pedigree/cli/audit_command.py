# SPDX-License-Identifier: Apache-2.0
"""``pedigree audit``: query, verify and export the audit ledger.

The ledger is read from the audit service, from its file, or from an export.  ``verify``
recomputes every hash from the entries here; only ``--trust-server`` leaves that to the
service.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from pedigree.errors import ConfigError, LedgerError, quote

if TYPE_CHECKING:
    from rich.table import Table

    from pedigree.ledger.chain import ChainReport, Record
    from pedigree.ledger.reader import Source

FILTERS = {
    "kind": "Admission or Judgement",
    "namespace": "of the object",
    "name": "of the object",
    "uid": "of the object",
    "decision": "Allow, Warn, Hold or Deny",
    "result": "of the verdict: Pass, Warn, Fail, Unknown, Pending or Error",
    "reason": "of the verdict, such as LineageDenied",
    "user": "who asked, for admissions",
    "digest": "a model has this digest or root digest",
    "ancestor": "a model descends from this reference",
    "since": "decided then or later: 2026-11-23 or 2026-11-23T04:05:06Z",
    "until": "decided before then",
}
PIPED_WIDTH = 160
"""Columns of the table where there is no terminal to ask."""
_DESCRIPTION = """\
Query, verify and export the audit ledger, read from the audit service, from its file or
from an export. verify recomputes every hash here; only --trust-server leaves that to
the service.
"""
_EPILOG = """\
exit codes: 0 intact or answered, 1 the ledger is broken, 2 wrong usage,
3 the ledger cannot be reached or read
"""


def register(subparsers: Any) -> None:
    """Add the command and its three verbs."""
    parser = subparsers.add_parser(
        "audit",
        help="query, verify and export the audit ledger",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    query = _verb(verbs, "query", "find entries", _query)
    for name, meaning in FILTERS.items():
        short = ("-n",) if name == "namespace" else ()
        query.add_argument(*short, f"--{name}", help=meaning)
    query.add_argument(
        "--order", choices=("asc", "desc"), default="desc", help="default: newest first"
    )
    query.add_argument("--limit", type=_positive, default=50, help="default: 50")
    verify = _verb(verbs, "verify", "recompute the hash chain", _verify)
    verify.add_argument(
        "--known-head",
        metavar="ENTRIES:sha256:HEX",
        help="a head kept elsewhere; without one, missing newest entries can go "
        "unnoticed",
    )
    verify.add_argument(
        "--trust-server",
        action="store_true",
        help="only ask the service whether its ledger is intact",
    )
    export = _verb(verbs, "export", "write every record as a line of JSON", _export)
    export.add_argument(
        "-o", "--output", type=Path, help="file to write; default: standard output"
    )


def _verb(verbs: Any, name: str, meaning: str, work: Any) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = verbs.add_parser(
        name, help=meaning, description=meaning, epilog=_EPILOG
    )
    place = verb.add_mutually_exclusive_group()
    place.add_argument("--url", help="audit service; default: $PEDIGREE_AUDIT_URL")
    place.add_argument("--db", type=Path, help="the service's ledger.db, read only")
    place.add_argument("--file", help="an export, or - for standard input")
    verb.add_argument(
        "--ca-file",
        type=Path,
        help="who signed the service's certificate; default: $PEDIGREE_AUDIT_CA_FILE",
    )
    verb.add_argument(
        "--token-file", type=Path, help="bearer token; default: $PEDIGREE_TOKEN_FILE"
    )
    verb.add_argument("--json", action="store_true", help="one JSON document")
    verb.set_defaults(run=run, work=work)
    return verb


def run(args: argparse.Namespace) -> int:
    """Do the verb that was asked for."""
    code: int = args.work(args)
    return code


def _query(args: argparse.Namespace) -> int:
    from pedigree.ledger.facets import Filters
    from pedigree.ledger.reader import first

    try:
        filters = Filters(**{name: getattr(args, name) for name in FILTERS})
    except LedgerError as error:
        raise ConfigError(error.message) from error
    with _source(args) as source:
        found = source.find(filters, newest_first=args.order == "desc")
        records, more = first(found, args.limit)
    if args.json:
        items = [record.to_dict() for record in records]
        _print_json("audit-query", {"items": items, "more": more})
    else:
        _print_records(records, more=more)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from pedigree.ledger.chain import Head
    from pedigree.ledger.reader import ServiceSource, verify

    try:
        known = None if args.known_head is None else Head.parse(args.known_head)
    except LedgerError as error:
        raise ConfigError(error.message) from error
    with _source(args) as source:
        if not args.trust_server:
            report = verify(source, *([known] if known else []))
        elif isinstance(source, ServiceSource):
            report = source.server_report(known)
        else:
            raise ConfigError("--trust-server needs --url, a file has nobody to ask")
    if args.json:
        said = report.to_dict() | {"recomputed": not args.trust_server}
        _print_json("audit-verify", said)
    else:
        _print_report(report, known=known is not None, trusted=args.trust_server)
    return 0 if report.ok else 1


def _export(args: argparse.Namespace) -> int:
    from pedigree.ledger.chain import ChainVerifier
    from pedigree.ledger.reader import checked

    with _source(args) as source, _output(args.output) as stream:
        claims = source.claims()
        verifier = ChainVerifier(*claims.heads)
        for record in checked(source.records(), verifier):
            stream.write(record.to_line() + b"\n")
    report = verifier.finish()
    if args.json and args.output is not None:
        _print_json("audit-export", report.to_dict())
    else:
        _say(f"exported {report.entries} entries, head {verifier.head}", sys.stderr)
    if report.first_bad is not None:
        _say(f"stopped there: {_fault(report)}", sys.stderr)
    return 0 if report.ok else 1


@contextmanager
def _source(args: argparse.Namespace) -> Iterator[Source]:
    """Where to read from.

    Raises:
        ConfigError: Nowhere was named.
        LedgerError: The export cannot be opened.
    """
    from pedigree.ledger.reader import ExportSource, FileSource, ServiceSource
    from pedigree.ledger.transport import Endpoint

    if args.db is not None:
        yield FileSource(args.db)
    elif args.file == "-":
        yield ExportSource(sys.stdin.buffer)
    elif args.file is not None:
        with _opened(Path(args.file), "rb") as stream:
            yield ExportSource(stream)
    elif url := args.url or os.environ.get("PEDIGREE_AUDIT_URL"):
        yield ServiceSource(
            Endpoint(
                url.rstrip("/"),
                args.token_file or _path("PEDIGREE_TOKEN_FILE"),
                args.ca_file or _path("PEDIGREE_AUDIT_CA_FILE"),
            )
        )
    else:
        raise ConfigError(
            "no ledger was named",
            hint="give --url, --db or --file, or set PEDIGREE_AUDIT_URL",
        )


@contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with _opened(path, "xb") as stream:
            yield stream


@contextmanager
def _opened(path: Path, mode: Literal["rb", "xb"]) -> Iterator[BinaryIO]:
    try:
        stream: BinaryIO = path.open(mode)
    except OSError as error:
        raise LedgerError(
            f"{quote(str(path))} cannot be opened: {error.strerror}",
            reason="LedgerUnreadable",
        ) from error
    with stream:
        yield stream


def _path(variable: str) -> Path | None:
    text = os.environ.get(variable)
    return Path(text) if text else None


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("wanted a number from 1")
    return number


def _print_json(command: str, document: dict[str, Any]) -> None:
    whole = {"schema": f"pedigree.dev/{command}/v1"} | document
    _say(json.dumps(whole, indent=2))


def _print_report(report: ChainReport, *, known: bool, trusted: bool) -> None:
    who = "the service says" if trusted else "recomputed here"
    head = f"{report.entries}:{report.head}"
    if report.first_bad is not None:
        _say(f"BROKEN    {_fault(report)}")
        _say(f"intact    the {report.entries} entries before it ({who})")
        return
    _say(f"intact    {report.entries} entries ({who})")
    _say(f"head      {head}")
    if not known:
        _say(
            "note      keep this head elsewhere and give it as --known-head later:\n"
            "          without one, newest entries that were cut off are not missed"
        )


def _fault(report: ChainReport) -> str:
    bad = report.first_bad
    return "" if bad is None else f"entry {bad.seq}: {bad.reason}: {bad.message}"


def _print_records(records: list[Record], *, more: bool) -> None:
    from rich.console import Console

    if not records:
        _say("no entry matches")
        return
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    Console(highlight=False, width=width).print(_table(records))
    if more:
        _say("there are more; narrow the filters or raise --limit", sys.stderr)


def _table(records: list[Record]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("SEQ", justify="right", no_wrap=True)
    for title in ("TIME", "KIND", "DECISION"):
        table.add_column(title, no_wrap=True)
    for title in ("OBJECT", "REASON", "BASE", "USER"):
        table.add_column(title, overflow="fold")
    for record in records:
        table.add_row(*(_plain(cell) for cell in _cells(record.to_dict())))
    return table


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    from pedigree.ledger.facets import facets_of

    entry = record["entry"]
    facets = facets_of(entry)
    about = "/".join(part for part in (facets.namespace, facets.name) if part)
    why = facets.reason or entry.get("basis", "")
    return (
        str(record["seq"]),
        facets.time[:19] + "Z",
        facets.kind,
        facets.decision,
        about,
        why,
        ", ".join(sorted(facets.ancestors)),
        facets.user or entry["component"],
    )


def _plain(text: str) -> str:
    """Text without control characters or markup: others wrote it, a terminal obeys."""
    from rich.markup import escape

    return escape(
        "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


def _say(text: str, stream: Any = None) -> None:
    (stream or sys.stdout).write(f"{text}\n")
