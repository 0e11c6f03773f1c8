"""The life of the container, from its first instruction to its exit code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from . import handover, log, loglines, privileges
from .paths import Paths


def live(environ: Mapping[str, str], where: Paths, service_files: Path) -> int:
    """Boot, configure, hand over, watch, stop; return the exit code.

    Raises MaasInitError for what the operator has to mend before anything can run.
    """
    began = loglines.now()
    if where.root == Path("/"):
        privileges.leave_root()
    allowed = privileges.Privileges.look()
    supervisord = handover.Supervisord(where, allowed, environ)
    # It loads its code now, and so do we.
    from . import boot, configure, stop, watch
    from .settings import Settings

    settings = Settings.from_environ(environ)
    log.use(settings.log_format)
    boot.prepare(where, allowed)
    with boot.explained():
        configure.everything(settings, where, environ, service_files)
    watch.block_signals()
    supervisord.begin()

    def configure_again() -> list[Path]:
        return configure.everything(Settings.from_environ(environ), where, environ, service_files)

    end = watch.watch(supervisord.pid, where, configure_again)
    stop.bury_the_rest(expected=end.wished)
    return stop.last_words(where, end.status, began)
