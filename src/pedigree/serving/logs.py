# SPDX-License-Identifier: Apache-2.0
"""Logs of the services: one JSON object per line on standard error."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

MESSAGE_MAX_CHARS = 4096
QUIET = {
    "asyncio": logging.WARNING,
    "kopf": logging.WARNING,
    "kubernetes": logging.WARNING,
    "urllib3": logging.ERROR,
    "uvicorn": logging.WARNING,
}
"""Least level of what is talkative: a line per watch, connection and request says
nothing new, and whoever made a request says that it failed."""


class JsonLines(logging.Formatter):
    """One line of JSON per record: time, level, component, logger, message.

    ``extra={"fields": {...}}`` adds to them and replaces none; an exception adds its
    ``traceback``.

    Args:
        component: Which service writes.
    """

    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds; without a line end."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "component": self._component,
            "logger": record.name,
            "message": record.getMessage()[:MESSAGE_MAX_CHARS],
        }
        fields = getattr(record, "fields", None)
        if isinstance(fields, dict):
            line |= {key: value for key, value in fields.items() if key not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        # ASCII: there are line ends that only some readers know, such as U+2028.
        return json.dumps(line, ensure_ascii=True, default=str)


def start_logs(component: str, level: str, stream: TextIO | None = None) -> None:
    """Send every record of this process to a stream as JSON lines.

    Args:
        component: Which service writes.
        level: Least level: debug, info, warning or error.
        stream: Default standard error.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(component))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, logging.getLogger().level))
