"""What a configuration file is, before it is one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ConfigFile:
    """A file to be written: whole, with this mode, or not at all."""

    path: Path
    text: str
    mode: int = 0o644
    keep_existing: bool = False
    """Others write it later: it is only laid where there is nothing."""
