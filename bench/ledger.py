# SPDX-License-Identifier: Apache-2.0
"""How fast the ledger appends and verifies, next to bare SQLite in the same run.

Rounds of the ledger and of bare inserts (same file system, same durability, same
batches, same bytes) take turns, so that a busy machine slows both.  Prints JSON.

    python bench/ledger.py [--entries N] [--rounds N]
"""

import argparse
import json
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from audit_world.entries import NOW, admission
from pedigree.ledger.chain import ChainVerifier
from pedigree.ledger.entry import encode
from pedigree.ledger.outbox import Outbox
from pedigree.ledger.reader import FileSource
from pedigree_audit import query
from pedigree_audit.ledger import Ledger


def timed(work: Callable[[], object]) -> float:
    """Seconds that some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def ledger_append(path: Path, batches: list[list[dict[str, Any]]]) -> float:
    """Seconds to append batches to a new ledger."""
    ledger = Ledger(path)

    def work() -> None:
        for batch in batches:
            ledger.append(batch, producer="bench", now=NOW)

    seconds = timed(work)
    ledger.close()
    return seconds


def bare_append(path: Path, batches: list[list[bytes]]) -> float:
    """Seconds to insert the same bytes into a bare table."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE t (seq INTEGER PRIMARY KEY, body BLOB)")

    def work() -> None:
        for batch in batches:
            database.execute("BEGIN IMMEDIATE")
            for body in batch:
                database.execute("INSERT INTO t (body) VALUES (?)", (body,))
            database.execute("COMMIT")

    seconds = timed(work)
    database.close()
    return seconds


def outbox_append(path: Path, entries: list[dict[str, Any]]) -> list[float]:
    """Seconds of each append to a new outbox."""
    outbox = Outbox(path)
    seconds = [timed(lambda entry=entry: outbox.append(entry)) for entry in entries]  # type: ignore[misc]
    outbox.close()
    return seconds


def chain_only(path: Path) -> None:
    """Recompute the chain as ``pedigree audit verify --db`` does."""
    verifier = ChainVerifier()
    for record in FileSource(path).records():
        verifier.feed(record)
    assert verifier.finish().ok


def rate(count: int, seconds: list[float]) -> dict[str, float]:
    """Items per second over rounds."""
    rates = sorted(count / value for value in seconds)
    return {
        "median": round(statistics.median(rates)),
        "least": round(rates[0]),
        "most": round(rates[-1]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    entries = [admission(number) for number in range(args.entries)]
    bodies = [encode(entry) for entry in entries]
    found: dict[str, list[float]] = {}
    outbox_s: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(args.rounds):
            folder = Path(name, str(number))
            folder.mkdir()
            for size in (128, 1):
                few = slice(None) if size > 1 else slice(500)
                ours = [list(batch) for batch in split(entries[few], size)]
                bare = [list(batch) for batch in split(bodies[few], size)]
                path = folder / f"ledger{size}.db"
                for key, seconds in (
                    (f"append{size}", ledger_append(path, ours)),
                    (f"bare{size}", bare_append(folder / f"bare{size}.db", bare)),
                ):
                    found.setdefault(key, []).append(seconds)
            path = folder / "ledger128.db"
            whole = timed(lambda path=path: query.verify(path))  # type: ignore[misc]
            found.setdefault("verify", []).append(whole)
            chain = timed(lambda path=path: chain_only(path))  # type: ignore[misc]
            found.setdefault("chain", []).append(chain)
            outbox_s += outbox_append(folder / "outbox.db", entries[:1000])
    micros = sorted(value * 1e6 for value in outbox_s)
    report = {
        "schema": "pedigree.dev/bench-ledger/v1",
        "machine": {
            "cpus": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2),
            "python": platform.python_version(),
            "sqlite": sqlite3.sqlite_version,
        },
        "entries": args.entries,
        "rounds": args.rounds,
        "entryBytes": round(statistics.mean(map(len, bodies))),
        "perSecond": {
            "ledgerAppendBatch128": rate(args.entries, found["append128"]),
            "bareSqliteBatch128": rate(args.entries, found["bare128"]),
            "ledgerAppendSingle": rate(min(500, args.entries), found["append1"]),
            "bareSqliteSingle": rate(min(500, args.entries), found["bare1"]),
            "verifyChainAndIndex": rate(args.entries, found["verify"]),
            "verifyChainOffline": rate(args.entries, found["chain"]),
        },
        "outboxAppendMicroseconds": {
            "p50": round(statistics.median(micros)),
            "p99": round(micros[int(len(micros) * 0.99)]),
            "most": round(micros[-1]),
        },
    }
    print(json.dumps(report, indent=2))


def split(items: list[Any], size: int) -> list[list[Any]]:
    """Items in batches of at most ``size``."""
    return [items[first : first + size] for first in range(0, len(items), size)]


if __name__ == "__main__":
    main()
