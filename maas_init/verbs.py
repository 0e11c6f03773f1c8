"""What can be said to `maas-init`: its verbs, each with its arguments, explained and shown in examples.

The command line, its help, the completion for shells and docs/reference/cli.md are all made from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Argument:
    """One word after the verb, or one option of it."""

    names: tuple[str, ...]
    meaning: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """As argparse has them."""
    services: bool = False
    """Whether its values are names of services."""

    @property
    def is_option(self) -> bool:
        return self.names[0].startswith("-")

    @property
    def choices(self) -> tuple[str, ...]:
        return tuple(self.options.get("choices", ()))


@dataclass(frozen=True)
class Verb:
    """One verb; `examples` maps what can be typed after `maas-init` to what that does."""

    meaning: str
    arguments: tuple[Argument, ...] = ()
    more: str = ""
    """What its help says besides."""
    examples: Mapping[str, str] = field(default_factory=dict)
    internal: bool = False
    """For supervisord, not for people."""


def option(*names: str, meaning: str, **options: Any) -> Argument:
    """Return an option that is given or not, unless `options` say otherwise."""
    return Argument(names, meaning, options or {"action": "store_true"})


AS_JSON = option("--json", meaning="print it as JSON, for programs")
SOME_SERVICES = Argument(
    ("service",),
    "its name in `maas-init status`, for example proxy",
    {"nargs": "+", "metavar": "SERVICE"},
    services=True,
)

VERBS = {
    "run": Verb("be the container's init: configure MAAS, start everything, stop everything (the default)"),
    "status": Verb(
        "show how every service is; exit 0 when the container is healthy or degraded",
        (option("--watch", meaning="show it again whenever something changes, until Ctrl-C"), AS_JSON),
        more="A table with colours where a terminal is (NO_COLOR switches them off), plain lines elsewhere.\n"
        "Exit code: 0 healthy or degraded, 1 anything else.",
        examples={
            "status": "one look",
            "status --watch": "follow a start (with docker exec -it)",
            "status --json": "the whole status file, for programs",
        },
    ),
    "why": Verb(
        "explain the state of one service, or of the container, and how it ended before",
        (
            Argument(
                ("service",), "its name in `maas-init status`, or container", {"metavar": "SERVICE"}, services=True
            ),
        ),
        examples={"why dhcpd": "why DHCP does not run, and who wants it so", "why container": "how it ended before"},
    ),
    "doctor": Verb(
        "look for everything that keeps MAAS from working; name each cause and its remedy",
        (
            option("--all", meaning="show also what is well"),
            option(
                "--dhcp",
                meaning="ask the network which DHCP servers there are: sends one DHCPDISCOVER on each interface",
            ),
            AS_JSON,
        ),
        more="It changes nothing. In a running container it looks at what runs, also when that is unwell or still\n"
        "starting; in a container of its own, before the first start, what needs something running is skipped.\n"
        "Exit code: 0 all is well, 1 the worst is a warning, 2 something is broken.",
        examples={
            "doctor": "what is wrong, and what to do",
            "doctor --all": "every check with what it saw",
            "doctor --dhcp": "also: does another DHCP server answer on this network?",
        },
    ),
    "plan": Verb(
        "show what a start would write, as a diff to what is there; write nothing",
        more="The values of secrets are not shown: where only they differ, that is said in a line.",
        examples={"plan": "before a restart with other settings: what would change?"},
    ),
    "start": Verb(
        "start services and wait until they run",
        (SOME_SERVICES,),
        more="As supervisorctl start: it counts as the operator's wish. Exit code: 0 all run, 1 one does not.",
        examples={"start proxy": "start squid again"},
    ),
    "stop": Verb(
        "stop services and keep them stopped: nothing revives them until they are started",
        (SOME_SERVICES,),
        more="As supervisorctl stop: it counts as the operator's wish. What MAAS looks after itself (proxy, DNS, NTP,\n"
        "DHCP), its monitor asks for again: switch that off in MAAS. Exit code: 0 all are stopped, 1 one is not.",
        examples={"stop apiserver": "stop the newer half of MAAS's API"},
    ),
    "restart": Verb(
        "restart services and wait until they run",
        (SOME_SERVICES,),
        more="Exit code: 0 all run, 1 one does not.",
        examples={"restart rackd": "restart the rack controller; the agent goes with it"},
    ),
    "support-bundle": Verb(
        "collect what helps others to help, without secrets, in one .tar.gz",
        (
            Argument(
                ("file",), "where to write it; standard output when it is not given", {"nargs": "?", "metavar": "FILE"}
            ),
        ),
        more="Status, doctor, logs, last words, configuration, versions, mounts, memory, processes, network.\n"
        "Passwords, keys and the shared secret are replaced by ********. Names and addresses stay: look at it first.",
        examples={"support-bundle > bundle.tar.gz": "from outside: docker exec maas maas-init support-bundle > FILE"},
    ),
    "systemctl": Verb("ask for services in systemd's words (the image's systemctl is this)"),
    "journalctl": Verb("show what services printed (the image's journalctl is this)"),
    "backup": Verb("save the database to a file in /var/lib/maas/backups"),
    "restore": Verb(
        "make the database what it was when a backup was made; stops and starts what uses it",
        (
            Argument(
                ("backup",), "its name or path, or: latest; without it the list", {"nargs": "?", "metavar": "BACKUP"}
            ),
            option("--list", meaning="only show which backups there are"),
            option("--no-backup", meaning="do not save first what is there now"),
        ),
        examples={"restore": "which backups are there?", "restore latest": "go back to the newest"},
    ),
    "settings": Verb("list the environment variables that can be set"),
    "completion": Verb(
        "print what makes a shell complete these verbs (for the image's bash it is installed)",
        (Argument(("shell",), "the shell", {"choices": SHELLS}),),
        examples={"completion zsh > ~/.zfunc/_maas-init": "for zsh, in a directory of its fpath"},
    ),
    "bootstrap": Verb("make database and configuration ready for MAAS (supervisord runs this)", internal=True),
    "discovery": Verb(
        "run what MAAS needs raw sockets for (supervisord runs this)",
        (
            Argument(
                ("command",),
                "ask the one that runs already to run this (the image's sudo and ping do)",
                {"nargs": "...", "metavar": "COMMAND"},
            ),
        ),
        internal=True,
    ),
    "listen": Verb("start, probe and heal the services (supervisord runs this)", internal=True),
    "postgresql": Verb("run the embedded database (supervisord runs this)", internal=True),
    "temporal": Verb(
        "lay Temporal's configuration where the database is reached with TLS (supervisord runs this)", internal=True
    ),
    "tls": Verb("hand the certificate for port 5443 to MAAS (supervisord runs this)", internal=True),
}

DESCRIPTION = "Runs Canonical MAAS in one unprivileged container. Any other command is run as it is."
EXAMPLES = {
    "status": "how is everything?",
    "doctor": "what is wrong, and what to do?",
    "why dhcpd": "why is this one so?",
    "journalctl -u regiond -f": "what does it say?",
}


def parser() -> argparse.ArgumentParser:
    """Return the command line; process 1 does without it."""
    import argparse

    form = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="maas-init",
        description=DESCRIPTION,
        epilog=_examples(EXAMPLES) + "\n`maas-init VERB --help` explains one of them.",
        formatter_class=form,
    )
    top.add_argument("--version", action="version", version=f"maas-init {__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, verb in VERBS.items():
        description = f"{verb.meaning[0].upper()}{verb.meaning[1:]}."
        one = verbs.add_parser(
            name,
            help=verb.meaning,
            description=f"{description}\n\n{verb.more}".rstrip(),
            epilog=_examples(verb.examples) if verb.examples else None,
            formatter_class=form,
        )
        for argument in verb.arguments:
            one.add_argument(*argument.names, help=argument.meaning, **argument.options)
    return top


def _examples(examples: Mapping[str, str]) -> str:
    width = max(map(len, examples))
    return "\n".join(["examples:", *(f"  maas-init {typed:<{width}}   {does}" for typed, does in examples.items()), ""])
