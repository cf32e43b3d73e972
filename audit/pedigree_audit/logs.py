# SPDX-License-Identifier: Apache-2.0
"""One JSON line to standard error for each log record."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from pedigree.ledger.entry import format_time

MESSAGE_MAX_CHARS = 4096


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON, without a line end."""
        line = {
            "time": format_time(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:MESSAGE_MAX_CHARS],
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


def start(level: str, stream: TextIO = sys.stderr) -> None:
    """Send every record of this process to ``stream`` as JSON lines."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "urllib3", "kubernetes"):  # talkative at info
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
