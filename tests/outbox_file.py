# SPDX-License-Identifier: Apache-2.0
"""What a component wrote into its outbox, read from the file."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def entries_in(path: Path) -> list[dict[str, Any]]:
    """Ledger entries in the order in which they were appended."""
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute("SELECT body FROM entries ORDER BY id").fetchall()
    return [json.loads(row[0]) for row in rows if row[0]]
