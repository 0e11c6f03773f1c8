"""The arrows of imports run one way, and process 1 stays small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import maas_init

PACKAGE = Path(maas_init.__file__).parent

FACTS = {
    "settings",
    "services",
    "health",
    "errors",
    "paths",
    "decide",
    "early",
    "signals",
    "loglines",
    "retry",
    "page",
    "pxe",
    "start_page",
    "status_page",
    "metrics",
    "masks",
    "verbs",
}
HANDS = {
    "backups",
    "files",
    "commands",
    "database",
    "exchange",
    "grpc",
    "probes",
    "supervisor",
    "unixhttp",
    "ports",
    "privileges",
    "confine",
    "log",
    "logs",
    "lastwords",
    "statusfile",
    "certificate",
    "terminal",
    "asking",
    "hooks",
    "surroundings",
    "images",
}
PHASES = {
    *("boot", "configure", "handover", "watch", "stop", "bootstrap", "listen", "postgresql", "report", "reference"),
    *("systemctl", "journalctl", "restore", "temporal", "tls", "units"),
    *("doctor", "preview", "support", "masking", "operate", "completion", "discovery"),
}
TOP = {"life", "cli", "early"}
APART = {"plugin", "output", "supervisord", "bridge"}
"""What runs inside other people's processes: nothing of ours imports it."""

ALLOWED: dict[str, set[str]] = {
    **dict.fromkeys(FACTS, FACTS),
    **dict.fromkeys(HANDS, FACTS | HANDS),
    **dict.fromkeys(PHASES, FACTS | HANDS | PHASES),
    **dict.fromkeys(TOP, FACTS | HANDS | PHASES | TOP),
    "plugin": {"confine", "output", "retry"},
    "supervisord": {"plugin"},
    "output": {"loglines", "masks"},
}


def modules() -> dict[str, Path]:
    """Return every module by its dotted name below the package; a package is called by its own."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] != "bridge":
            found[".".join(part for part in parts if part != "__init__")] = file
    return found


MODULES = modules()


def imports(name: str, tree: ast.AST) -> Iterator[str]:
    """Yield the modules of ours that `name` imports, wherever in its text, but those only for type checkers."""
    package = name.split(".") if MODULES[name].name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = [part for part in package[: len(package) - node.level + 1] if part]
            elif node.module and node.module.partition(".")[0] == "maas_init":
                base = []
            else:
                continue
            path = [*base, *(node.module.split(".") if node.module else [])]
            path = path[1:] if path[:1] == ["maas_init"] else path
            for each in node.names:
                longer = ".".join([*path, each.name])
                yield longer if longer in MODULES else ".".join(path)
        elif isinstance(node, ast.Import):
            assert not [each.name for each in node.names if each.name.startswith("maas_init")], name


GRAPH: Mapping[str, set[str]] = {
    name: {found for found in imports(name, ast.parse(file.read_text())) if found} for name, file in MODULES.items()
}


def family(name: str) -> str:
    return name.partition(".")[0]


def test_every_module_belongs_to_a_layer() -> None:
    assert {family(name) for name in MODULES if name} <= FACTS | HANDS | PHASES | TOP | APART


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name))
def test_no_arrow_runs_back_up(name: str) -> None:
    forbidden = {found for found in GRAPH[name] if family(found) not in ALLOWED[family(name)] | {family(name)}}
    assert not forbidden, f"{name} imports {sorted(forbidden)}"


def test_imports_make_no_circle() -> None:
    # A package and its modules may know each other's names; whole circles between modules may not be.
    left = {name: GRAPH[name] - {name} for name in GRAPH}
    while left:
        free = {name for name, needs in left.items() if not needs & left.keys()}
        assert free, f"these import each other: {sorted(left)}"
        for name in free:
            del left[name]


def test_the_test_sees_imports() -> None:
    assert {"settings", "boot", "configure"} <= GRAPH["life"]
    assert "listen.manager" in GRAPH["listen"]
    assert {"health", "watch", "listen.publish"} <= GRAPH["listen.manager"]
    assert "life" in GRAPH["cli"], "imports inside functions count"


def test_only_the_command_line_reads_the_environment() -> None:
    readers = {
        name
        for name, file in MODULES.items()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv", "environb")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
    }
    assert readers == {"cli", "plugin", "supervisord"}, "the latter two change what services see of it"


def test_process_1_imports_only_the_standard_library() -> None:
    """It lives as long as the container: what it does not import needs no memory and cannot break it."""
    code = (
        "import sys; before = set(sys.modules); import maas_init.cli, maas_init.life\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert "maas_init" in found
    assert found - {"maas_init"} <= set(sys.stdlib_module_names)
    assert not found & {"argparse", "asyncio", "concurrent", "multiprocessing", "xmlrpc"}


def test_what_draws_on_terminals_is_imported_by_nothing_that_stays() -> None:
    code = "import sys, maas_init.listen, maas_init.bootstrap, maas_init.report; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "maas_init.report" in done.stdout.split()
    assert "rich" not in done.stdout.split()


def test_plugin_brings_nothing_into_supervisord() -> None:
    code = (
        "import sys, supervisor.supervisord; before = set(sys.modules); import maas_init.plugin\n"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    packages = {name for name in done.stdout.split() if name.partition(".")[0] not in ("json", "_json", "supervisor")}
    assert packages == {
        "atexit",
        "maas_init",
        *(f"maas_init.{name}" for name in ("plugin", "confine", "output", "loglines", "masks", "retry")),
    }


def test_no_library_is_used_that_is_not_declared() -> None:
    declared = {"supervisor", "psutil", "psycopg", "httpx", "structlog", "h11", "yaml", "rich", "prometheus_client"}
    used = set()
    for file in MODULES.values():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                used |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                used.add(node.module.partition(".")[0])
    assert used - set(sys.stdlib_module_names) <= declared
