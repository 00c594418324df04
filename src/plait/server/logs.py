"""Log lines as JSON on standard error, without anything a user sent."""

from __future__ import annotations

import json
import logging
import sys
import traceback
import warnings
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("plait.serve")
OWN = ("plait.serve", "uvicorn.error")  # what these say holds nothing of a request


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        if record.name == LOGGER.name:
            line["event"] = record.msg
            line |= getattr(record, "fields", {})
        else:
            line["event"] = "library"
            line["source"] = f"{record.name}:{record.lineno}"
            if record.name in OWN:
                line["message"] = record.getMessage().strip()
        if record.exc_info and record.exc_info[0]:
            # An error's text may quote the request, so its kind and place have to do.
            frames = traceback.extract_tb(record.exc_info[2])
            line["error"] = record.exc_info[0].__name__
            line["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
        return json.dumps(line)


def log(event: str, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """One line."""
    LOGGER.log(level, event, extra={"fields": fields}, exc_info=error)


def set_up(level: str) -> None:
    """Send every logger's lines to standard error as JSON; warnings of libraries, which quote images, nowhere."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    LOGGER.setLevel(level.upper())
    warnings.simplefilter("ignore")
