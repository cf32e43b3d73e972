# SPDX-License-Identifier: Apache-2.0
"""Every service writes lines of one shape."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from pedigree.serving.logs import MESSAGE_MAX_CHARS, QUIET, JsonLines, start_logs


@pytest.fixture
def untouched() -> Iterator[None]:
    """Puts the process's own logging back."""
    root = logging.getLogger()
    names = [logging.getLogger(name) for name in QUIET]
    before = root.handlers[:], root.level, [logger.level for logger in names]
    # Those of the test runner are not to be closed, as they would be if they stood.
    root.handlers[:] = []
    yield
    root.handlers[:], level, levels = before
    root.setLevel(level)
    for logger, old in zip(names, levels, strict=True):
        logger.setLevel(old)


def test_a_log_line_is_one_line_of_json() -> None:
    record = logging.LogRecord(
        "x", logging.INFO, "f", 1, "first\nsecond %s", ("\u2028",), None
    )
    record.fields = {"uid": "u", "level": "not this"}
    line = JsonLines("webhook").format(record)
    assert "\n" not in line
    assert line.isascii()
    parsed = json.loads(line)
    assert parsed["message"] == "first\nsecond \u2028"
    assert parsed["level"] == "info"
    assert parsed["component"] == "webhook"
    assert parsed["logger"] == "x"
    assert parsed["uid"] == "u"
    assert parsed["time"].endswith("Z")


def test_a_log_record_is_one_line_of_json() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines("operator"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning("two\nlines of %s", "text", extra={"fields": {"uri": "file:///x"}})
    (line,) = stream.getvalue().splitlines()
    said = json.loads(line)
    assert said["message"] == "two\nlines of text"
    assert said["uri"] == "file:///x"
    assert said["level"] == "warning"
    assert list(said) == ["time", "level", "component", "logger", "message", "uri"]


@pytest.mark.usefixtures("untouched")
def test_an_exception_adds_its_traceback_and_a_long_message_is_cut() -> None:
    stream = io.StringIO()
    start_logs("audit", "info", stream)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("x").exception("m" * (MESSAGE_MAX_CHARS + 1))
    (line,) = stream.getvalue().splitlines()
    said = json.loads(line)
    assert said["message"] == "m" * MESSAGE_MAX_CHARS
    assert said["traceback"].endswith("ValueError: why")


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("level", ["debug", "info", "error"])
def test_what_is_talkative_says_warnings_only_and_less_when_asked(level: str) -> None:
    stream = io.StringIO()
    start_logs("audit", level, stream)
    for name in ("uvicorn.error", "kopf.activities", "pedigree_audit"):
        logging.getLogger(name).info("info")
        logging.getLogger(name).warning("warning")
    logging.getLogger("urllib3.connectionpool").warning("trying again")
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    found = [(line["logger"], line["message"]) for line in said]
    wanted = [
        ("uvicorn.error", "warning"),
        ("kopf.activities", "warning"),
        ("pedigree_audit", "info"),
        ("pedigree_audit", "warning"),
    ]
    assert found == ([] if level == "error" else wanted)
