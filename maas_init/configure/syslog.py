"""rsyslogd: takes lines from machines and MAAS before regiond has written the real configuration."""

from __future__ import annotations

from textwrap import dedent

from ..paths import Paths
from .file import ConfigFile


def rsyslog_conf(where: Paths) -> ConfigFile:
    """Return the skeleton that regiond replaces."""
    work = where.maas_data / "rsyslog"
    return ConfigFile(
        where.maas_data / "rsyslog.conf",
        dedent(
            f"""\
            # Laid by maas-init until regiond writes the real one.
            $WorkDirectory {work}
            module(load="imuxsock" SysSock.Name="{work}/log.sock")
            module(load="imtcp")
            input(type="imtcp" port="5247")
            module(load="imudp")
            input(type="imudp" port="5247")
            *.* action(type="omjournal")
            """
        ),
        keep_existing=True,
    )
