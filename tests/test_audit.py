"""`make audit` against a database of advisories that this test serves: what is known is told, and what is not, too."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]
OLD = "urllib3"
"""Of an old version of this one every database knows something."""


def advisory(name: str, version: str) -> dict[str, Any]:
    """Return one in OSV's form."""
    package = {"name": name, "ecosystem": "PyPI", "purl": f"pkg:pypi/{name}"}
    fixed = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}
    affected = {"package": package, "versions": [version], "ranges": [fixed]}
    return {"id": "TEST-2026-1", "summary": "made up", "modified": "2026-01-01T00:00:00Z", "affected": [affected]}


class Database(ThreadingHTTPServer):
    """Answers about libraries as OSV does; `against` are those of which it knows something."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.against = {OLD}


class Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = asked["package"]["name"], asked["version"]
        assert isinstance(self.server, Database)
        found = {"vulns": [advisory(name, version)]} if name in self.server.against else {}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@pytest.fixture
def database() -> Iterator[Database]:
    with Database() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def audit(port: int) -> tuple[int, str]:
    """Return the exit code and what was said."""
    options = f"--vulnerability-service osv --osv-url http://127.0.0.1:{port}/v1/query"
    environ = os.environ | {"AUDIT_OPTIONS": options}
    for name in ("NO_PROXY", "no_proxy"):
        environ[name] = f"{environ.get(name, '')},127.0.0.1".lstrip(",")
    done = subprocess.run([ROOT / "tests/tools/audit"], env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def locked(file: str) -> list[str]:
    """Return the names of all libraries in a file of requirements."""
    lines = (ROOT / file).read_text().splitlines()
    return [line.partition("==")[0].partition("[")[0] for line in lines if "==" in line and line[0] not in " #"]


def test_libraries_of_which_nothing_is_known_pass(database: Database) -> None:
    code, said = audit(database.server_port)
    assert code == 0, said
    for file in ("requirements.txt", "requirements-build.txt", "requirements-dev.txt"):
        number = len(locked(file))
        assert f"{file}: {number} libraries asked about, 0 without an answer, 0 with known vulnerabilities." in said


def test_what_is_known_against_a_library_fails_and_is_named(database: Database) -> None:
    database.against.add("psutil")
    code, said = audit(database.server_port)
    assert code == 1, said
    assert "requirements.txt: " in said and " 1 with known vulnerabilities." in said
    assert "psutil " in said and ": TEST-2026-1, fixed in 99.0" in said


def test_no_answer_and_a_database_that_knows_nothing_are_not_taken_for_a_clean_one(database: Database) -> None:
    database.against.clear()
    code, said = audit(database.server_port)
    assert code == 2 and "knows of nothing against urllib3" in said
    database.shutdown()
    database.server_close()
    code, said = audit(database.server_port)
    assert code == 2 and "NOT AUDITED: no answer" in said
