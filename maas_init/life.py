"""The life of the container, from its first instruction to its exit code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from . import boot, configure, handover, log, loglines, privileges, stop, watch
from .paths import Paths
from .settings import Settings


def live(environ: Mapping[str, str], where: Paths, service_files: Path) -> int:
    """Boot, configure, hand over, watch, stop; return the exit code.

    Raises MaasInitError for what the operator has to mend before anything can run.
    """
    began = loglines.now()
    settings = Settings.from_environ(environ)
    log.use(settings.log_format)
    if where.root == Path("/"):
        privileges.leave_root()
    allowed = boot.prepare(where)
    with boot.explained():
        configure.everything(settings, where, environ, service_files)
    watch.block_signals()
    supervisord = handover.start_supervisord(where, allowed, environ)

    def configure_again() -> list[Path]:
        return configure.everything(Settings.from_environ(environ), where, environ, service_files)

    end = watch.watch(supervisord, where, configure_again)
    stop.bury_the_rest(expected=end.wished)
    return stop.last_words(where, end.status, began)
