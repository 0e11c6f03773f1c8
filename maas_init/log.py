"""One line for each event, on standard error: time, level, event name, facts as key=value.

Events are named in the past tense (`noun.happened`); facts are keys, not sentences. Process 1 and the listener, which
must be quick to start and small, keep to the standard library and call `info`, `warning` and `error`; bootstrap takes a
structlog logger from `bound`. Both print the same line; our plug-in in supervisord hands it on.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
from collections import deque
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from . import loglines
from .loglines import Record
from .masks import Masks

if TYPE_CHECKING:
    import structlog

_form = "console"
_masks = Masks()

recent: deque[Record] = deque(maxlen=40)
"""What this process told last; kept while it runs."""


def use(form: str, secrets: Iterable[str] = ()) -> None:
    """Print in this form (one of loglines.FORMATS) from now on, and none of these values."""
    global _form, _masks
    _form, _masks = form, Masks(secrets)


def record(level: str, event: str, facts: Mapping[str, Any]) -> Record:
    """Return the one form in which events are told."""
    shown = " ".join(f"{key}={_shown(value)}" for key, value in facts.items())
    return Record(loglines.now(), level, "maas-init", f"{event} {shown}".rstrip())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    text = str(value)
    plain = text and text.isprintable() and not any(sign in text for sign in ' "=')
    return text if plain else json.dumps(text, ensure_ascii=False)


def _say(told: Record, *, keep: bool = True) -> None:
    """Print now or, when the reader is too slow, never: an init must not wait for anybody's reading."""
    told = told._replace(message=_masks.hide(told.message))
    if keep:
        recent.append(told)
    text = loglines.render(told, _form).encode("utf-8", "replace")
    poll = select.poll()
    poll.register(sys.stderr, select.POLLOUT)
    with contextlib.suppress(OSError):  # nobody listens any more
        for start in range(0, len(text), select.PIPE_BUF):
            if poll.poll(0):
                os.write(sys.stderr.fileno(), text[start : start + select.PIPE_BUF])


def info(event: str, **facts: Any) -> None:
    _say(record("info", event, facts))


def warning(event: str, **facts: Any) -> None:
    _say(record("warning", event, facts))


def error(event: str, **facts: Any) -> None:
    _say(record("error", event, facts))


def quote(event: str, **facts: Any) -> None:
    """Tell another program's words, which are not kept among what this one told."""
    _say(record("info", event, facts), keep=False)


def bound(**facts: Any) -> structlog.typing.FilteringBoundLogger:
    """Return a structlog logger that prints the same lines, with `facts` on each."""
    import structlog

    def render(_: Any, method: str, event: MutableMapping[str, Any]) -> str:
        exception = event.pop("exception", None)
        text = loglines.render(record(method, event.pop("event"), event)).rstrip("\n")
        return f"{text}\n{exception}" if exception else text

    structlog.configure(
        processors=[structlog.processors.format_exc_info, render],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**facts)
    return logger
