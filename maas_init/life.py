"""The life of the container, from its first instruction to its exit code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from . import handover, hooks, log, loglines, privileges
from .paths import Paths


def live(environ: Mapping[str, str], where: Paths, service_files: tuple[Path, ...]) -> int:
    """Boot, configure, hand over, watch, stop; return the exit code.

    Raises MaasInitError for what the operator has to mend before anything can run.
    """
    began = loglines.now()
    if where.root == Path("/"):
        _become_maas(environ, where)
    # Of ourselves: with the host's process ids, another program is process 1.
    allowed = privileges.Privileges.look(init=Path("/proc/self/status"))
    supervisord = handover.Supervisord(where, allowed, environ)
    # It loads its code now, and so do we.
    from . import boot, configure, services, stop, watch
    from .settings import Settings

    settings = Settings.from_environ(environ, where)
    log.use(settings.log_format, settings.secrets())
    if where.root == Path("/"):
        boot.refuse_root(settings)
    boot.prepare(where, allowed)
    service_files = (*service_files, boot.take_drop_ins(where))
    catalogue = services.catalogue(settings, *service_files)
    with boot.explained():
        configure.everything(settings, where, environ, catalogue)
    hooks.run(where, hooks.CONFIGURED)
    watch.adopt_orphans()
    watch.block_signals()
    supervisord.begin(handover.more_environment(where, environ, catalogue))

    def configure_again() -> list[Path]:
        again = Settings.from_environ(environ, where)
        log.use(again.log_format, again.secrets())
        return configure.everything(again, where, environ, services.catalogue(again, *service_files))

    end = watch.watch(supervisord.pid, where, configure_again)
    stop.bury_the_rest(expected=end.wished)
    return stop.last_words(where, end.status, began)


def _become_maas(environ: Mapping[str, str], where: Paths) -> None:
    """Leave root; who never was root has nothing to leave, and is only told where somebody asked for that."""
    if os.geteuid() == 0 or environ.get("PUID") or environ.get("PGID"):
        from .settings import Settings, given_files

        settings = Settings.from_environ(environ, where)
        log.use(settings.log_format, settings.secrets())
        secrets = [(file, where.credentials / name) for name, file in given_files(environ, where).items()]
        privileges.leave_root(settings.uid, settings.gid, where.volumes, secrets)
