# SPDX-License-Identifier: Apache-2.0
"""One JSON line to standard error for each log record."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

_MESSAGE_MAX_CHARS = 4096


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object; ``extra={"fields": {...}}`` adds to it."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON, without a line end."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:_MESSAGE_MAX_CHARS],
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line |= fields
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def start(level: str, stream: TextIO = sys.stderr) -> None:
    """Send every record of this process to ``stream`` as JSON lines."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # kopf says much at info about watch streams; its warnings are wanted.
    logging.getLogger("kopf").setLevel(max(logging.WARNING, root.level))
    logging.getLogger("urllib3").setLevel(logging.ERROR)
