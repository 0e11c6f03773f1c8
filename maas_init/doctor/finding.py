"""What the doctor finds: a check asks one question and answers in words."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from .patient import Patient


class Level(enum.Enum):
    """How bad it is; the exit code of the worst is part of the interface."""

    OK = "ok"
    SKIPPED = "skipped"
    """It could not be asked: what it asks about is not running, or not part of this container."""
    WARNING = "warning"
    """MAAS runs, and something will go wrong or does not work."""
    FAILURE = "failure"
    """MAAS, or a part of it, cannot work like this."""


@dataclass(frozen=True)
class Finding:
    """An answer: what was seen and, where it is known better than in general, what to do."""

    level: Level
    evidence: str
    remedy: str = ""


def warning(evidence: str, remedy: str = "") -> Finding:
    return Finding(Level.WARNING, evidence, remedy)


def failure(evidence: str, remedy: str = "") -> Finding:
    return Finding(Level.FAILURE, evidence, remedy)


@dataclass(frozen=True)
class Check:
    """One question.

    `look` is named as the check and its docstring is the question. What it returns as text is what it saw, and well.
    It raises MaasInitError for what is broken, and NotNow when it cannot be asked.
    """

    look: Callable[[Patient], str | Finding]
    meaning: str
    """Of an answer that is not ok: what does not work then."""
    remedy: str

    @property
    def name(self) -> str:
        return self.look.__name__.replace("_", "-")

    @property
    def asks(self) -> str:
        return (self.look.__doc__ or "").strip()
