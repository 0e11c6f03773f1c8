"""The plan: what a start with these settings would write, as a diff to what is there. Nothing is written."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import configure, masking, services
from .bootstrap import configuration, region
from .configure.file import ConfigFile
from .errors import ExitCode, MaasInitError
from .paths import Paths
from .settings import Settings


def main(where: Paths, environ: Mapping[str, str], service_files: tuple[Path, ...]) -> int:
    """Print the differences. Raises SettingsError or ServiceFileError for what a start would refuse, too."""
    settings = Settings.from_environ(environ, where)
    # The start page tells of the present: it is another one all the time.
    ours = configure.planned(settings, where, environ, services.catalogue(settings, *service_files))
    planned = [
        *(file for file in ours if file.path.parent != where.start_page),
        *configuration.planned(settings, where),
        *region.planned_secret(settings, where),
    ]
    secrets = masking.secrets_here(where, environ)
    told = [text for file in planned for text in differences(file, secrets)]
    sys.stdout.writelines(told or [f"nothing would change: {len(planned)} files are as these settings want them\n"])
    return ExitCode.STOPPED


def differences(file: ConfigFile, secrets: list[str]) -> Iterator[str]:
    """Yield the lines of a unified diff from what is there to `file`; none when nothing would be written."""
    present, mode = _present(file.path)
    if (present is not None and file.keep_existing) or (present, mode) == (file.text, file.mode):
        return
    # Masked before they are compared, and again as a whole: a secret of several lines must not slip through in part.
    old, new = masking.masked(present or "", secrets), masking.masked(file.text, secrets)
    if present is not None and mode != file.mode:
        yield f"{file.path}: mode {mode:o} would become {file.mode:o}\n"
    if old == new and present is not None and present != file.text:
        yield f"{file.path}: a secret in it would change\n"
    name = str(file.path)
    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    for line in difflib.unified_diff(before, after, "/dev/null" if present is None else name, name):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _present(path: Path) -> tuple[str | None, int]:
    """Return what a file holds and its mode; None when there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace"), path.stat().st_mode & 0o7777
    except FileNotFoundError:
        return None, 0
    except OSError as error:
        raise MaasInitError(f"cannot compare {path}: {error.strerror}") from error
