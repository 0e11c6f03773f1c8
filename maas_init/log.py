"""One line for each event, on standard error: time, level, event name, facts as key=value.

Events are named in the past tense (`noun.happened`); facts are keys, not sentences. PID 1 keeps to the standard
library and calls `info`, `warning` and `error`; bootstrap and the listener take a structlog logger from `bound`,
which prints the same line.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import structlog


def line(level: str, event: str, facts: MutableMapping[str, Any]) -> str:
    """Return the one form in which events are printed."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    shown = " ".join(f"{key}={_shown(value)}" for key, value in facts.items())
    return f"{stamp} {level:<7} maas-init {event} {shown}".rstrip()


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    text = str(value)
    plain = text and text.isprintable() and not any(sign in text for sign in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more: no reason for an init to die
        print(text, file=sys.stderr, flush=True)


def info(event: str, **facts: Any) -> None:
    _say(line("info", event, facts))


def warning(event: str, **facts: Any) -> None:
    _say(line("warning", event, facts))


def error(event: str, **facts: Any) -> None:
    _say(line("error", event, facts))


def bound(**facts: Any) -> structlog.typing.FilteringBoundLogger:
    """Return a structlog logger that prints the same lines, with `facts` on each."""
    import structlog

    def render(_: Any, method: str, event: MutableMapping[str, Any]) -> str:
        exception = event.pop("exception", None)
        text = line(method, event.pop("event"), event)
        return f"{text}\n{exception}" if exception else text

    structlog.configure(
        processors=[structlog.processors.format_exc_info, render],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**facts)
    return logger
