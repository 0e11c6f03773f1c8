"""Where files lie: every path the program uses, below one root that tests may move."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path("/usr/lib/maas-init")
"""What the image brings for us: service files, the capability launcher, the uvloop blocker."""

SKELETON = Path("/usr/share/maas-init/skeleton")
"""A pristine copy of what the packages put below the volumes, laid out from / (an empty volume hides it)."""


@dataclass(frozen=True)
class Paths:
    """All locations, below `root` (/ in the container, a temporary directory in tests)."""

    root: Path = Path("/")

    def at(self, path: str) -> Path:
        """Return the absolute `path` of the container, below the root."""
        return self.root / path.lstrip("/")

    def environment(self) -> dict[str, str]:
        """Return what every program sees: nothing of the container's own environment, where secrets are.

        HOME must be readable or every request to the API server fails; systemd would set it, supervisord does not.
        """
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.maas_data),
            "USER": "maas",
            "LOGNAME": "maas",
            "LANG": "C.UTF-8",
        }

    # Ours. One writer for each file; written whole.

    @property
    def run(self) -> Path:
        """Our state while the container runs; also MAAS's $PEBBLE directory."""
        return self.at("/run/maas-init")

    @property
    def settings(self) -> Path:
        """Settings as PID 1 understood them, for bootstrap and the listener (0600: holds secrets)."""
        return self.run / "settings.json"

    @property
    def supervisord_conf(self) -> Path:
        return self.run / "supervisord.conf"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    @property
    def pebble_socket(self) -> Path:
        """Where MAAS looks when $PEBBLE is our run directory."""
        return self.run / ".pebble.socket"

    @property
    def discovery_socket(self) -> Path:
        """Where what needs raw sockets is asked for (discovery.py)."""
        return self.run / "discovery.sock"

    @property
    def status(self) -> Path:
        """What is going on, as JSON (docs/reference/status.md)."""
        return self.run / "status.json"

    @property
    def health(self) -> Path:
        """One line for healthcheck.sh: level, seconds of uptime when written, summary."""
        return self.run / "health"

    @property
    def start_page(self) -> Path:
        """Directory of what port 5240 shows while MAAS does not answer; nginx looks below its parent."""
        return self.run / "http" / "www" / "maas-init"

    @property
    def status_page(self) -> Path:
        """Directory of what our own port shows: how everything is, for people and for Prometheus."""
        return self.run / "http" / "status"

    @property
    def drop_ins(self) -> Path:
        """Directory of the operator's own service files, and of those that take the place of ours."""
        return self.at("/etc/maas-init/conf.d")

    @property
    def taken_drop_ins(self) -> Path:
        """Directory of copies of these as they were at the start: all of this life of the container goes by them."""
        return self.run / "conf.d"

    @property
    def hooks(self) -> Path:
        """Directory of the operator's programs for moments of the container's life (hooks.py)."""
        return self.at("/etc/maas-init/hooks.d")

    @property
    def progress(self) -> Path:
        """What bootstrap is doing, as JSON; read by the listener."""
        return self.run / "progress.json"

    @property
    def exit_reason(self) -> Path:
        """Why the container ends and with which code, as JSON; read by PID 1."""
        return self.run / "exit.json"

    @property
    def changed(self) -> Path:
        """Files that process 1 wrote anew on SIGHUP, for the listener to have them used."""
        return self.run / "changed.json"

    @property
    def listener_pid(self) -> Path:
        return self.run / "listener.pid"

    @property
    def masks(self) -> Path:
        """What no line of the log may show, as JSON (0600)."""
        return self.run / "masks.json"

    @property
    def postgresql_tls(self) -> Path:
        """Directory of the certificates and the key for connections to the database."""
        return self.run / "postgresql-tls"

    @property
    def temporal_conf_with_tls(self) -> Path:
        """What temporal-server starts from where the database is reached with TLS."""
        return self.run / "temporal" / "production.yaml"

    @property
    def secrets(self) -> Path:
        """Where Compose and Swarm put secrets, each a file."""
        return self.at("/run/secrets")

    @property
    def credentials(self) -> Path:
        """Directory of copies of those that only root may read, each named by its variable; only we may read them."""
        return self.run / "credentials"

    # MAAS's.

    @property
    def maas_data(self) -> Path:
        return self.at("/var/lib/maas")

    @property
    def maas_logs(self) -> Path:
        """Where every service's lines are kept: NAME.log, and NAME.log.1 before it."""
        return self.at("/var/log/maas")

    @property
    def last_words(self) -> Path:
        """How services and the container ended (lastwords.py)."""
        return self.maas_logs / "last-words"

    @property
    def maas_etc(self) -> Path:
        return self.at("/etc/maas")

    @property
    def regiond_conf(self) -> Path:
        return self.maas_etc / "regiond.conf"

    @property
    def rackd_conf(self) -> Path:
        return self.maas_etc / "rackd.conf"

    @property
    def maas_id(self) -> Path:
        """By which name MAAS knows this controller (its system id); MAAS writes it."""
        return self.maas_data / "maas_id"

    @property
    def maas_secret(self) -> Path:
        """What region and rack controllers share; the region writes it when it starts."""
        return self.maas_data / "secret"

    @property
    def temporal_conf(self) -> Path:
        """Written by regiond."""
        return self.maas_data / "temporal" / "production.yaml"

    @property
    def journal(self) -> Path:
        """What bootstrap finished, kept with the data it describes."""
        return self.maas_data / "maas-init" / "bootstrap.json"

    @property
    def backups(self) -> Path:
        """Dumps of the database, kept with MAAS's data."""
        return self.maas_data / "backups"

    @property
    def postgresql(self) -> Path:
        """Everything of the embedded database: data below a directory named by its major version."""
        return self.maas_data / "postgresql"

    @property
    def postgresql_socket(self) -> Path:
        """Directory of the embedded database's Unix socket: PostgreSQL's own default."""
        return self.at("/run/postgresql")

    @property
    def volumes(self) -> tuple[Path, ...]:
        """The image's volumes: they must be writable for MAAS to work."""
        return tuple(map(self.at, ("/etc/maas", "/var/lib/maas", "/var/log/maas", "/tmp/maas")))
