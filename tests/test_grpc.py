"""gRPC's health check, put to a real gRPC server that demands a certificate as Temporal does."""

from __future__ import annotations

import asyncio
import http.server
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from test_probes import Answers, serving

from maas_init import probes
from maas_init.health import Result
from maas_init.paths import Paths

HEALTH = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING, UNKNOWN = b"\x08\x01", b"\x08\x02", b""


@pytest.fixture
def where(tmp_path: Path) -> Paths:
    """A root with the three files that MAAS makes of its cluster's certificate."""
    paths = Paths(tmp_path)
    directory = paths.at("/var/lib/maas/certificates")
    directory.mkdir(parents=True)
    make_pair(directory, "authority", "/CN=maas-ca")
    make_pair(directory, "cluster", "/CN=maas", "-addext", "subjectAltName=DNS:maas", by="authority")
    (directory / "cluster.crt").rename(directory / "cluster.pem")
    (directory / "authority.crt").rename(directory / "cacerts.pem")
    return paths


def make_pair(directory: Path, name: str, subject: str, *more: str, by: str = "") -> None:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    signer = ["-CA", f"{by}.crt", "-CAkey", f"{by}.key"] if by else []
    made = ["-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.crt"]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *made, *signer, *more], cwd=directory, check=True, capture_output=True
    )


class Method(grpc.GenericRpcHandler):  # type: ignore[misc]  # it has no types
    """Answers the health check with what `answer` makes of the question."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self._answer = answer

    def service(self, asked: Any) -> Any:
        method = grpc.unary_unary_rpc_method_handler(lambda question, _: self._answer(question))
        return method if asked.method == HEALTH else None


@contextmanager
def front_end(where: Paths, *methods: Method) -> Iterator[int]:
    directory = where.at("/var/lib/maas/certificates")
    key, certificate, authority = (
        (directory / name).read_bytes() for name in ("cluster.key", "cluster.pem", "cacerts.pem")
    )
    credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, methods)
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


def ask(where: Paths, port: int, within: float = 5.0, probe: probes.Temporal | None = None) -> Result:
    question = probes.Question(("127.0.0.1", str(port)), within)
    return asyncio.run(probes.run(probe or probes.Temporal(where), "temporal", question))


def test_front_end_that_serves_is_well_and_is_asked_about_by_the_name_its_clients_use(where: Paths) -> None:
    asked: list[bytes] = []

    def answer(question: bytes) -> bytes:
        asked.append(question)
        return SERVING

    with front_end(where, Method(answer)) as port:
        result = ask(where, port)
    assert (result.ok, result.detail) == (True, "its front end is serving")
    name = probes.TEMPORAL_FRONTEND.encode()
    assert asked == [b"\x0a" + bytes([len(name)]) + name]


def test_sessions_are_gone_on_with_and_new_certificates_are_used(where: Paths) -> None:
    probe = probes.Temporal(where)
    with front_end(where, Method(lambda _: SERVING)) as port:
        assert ask(where, port, probe=probe).ok
        assert probe._peer
        first = probe._peer.session
        assert first
        assert ask(where, port, probe=probe).ok
    peer = probe._peer
    os.utime(where.at("/var/lib/maas/certificates/cluster.pem"), (1, 1))
    with front_end(where, Method(lambda _: SERVING)) as port:
        assert ask(where, port, probe=probe).ok
    assert probe._peer is not peer


@pytest.mark.parametrize(("answer", "told"), [(NOT_SERVING, "NOT_SERVING"), (UNKNOWN, "UNKNOWN")])
def test_front_end_that_is_there_and_does_not_serve_is_not_well(where: Paths, answer: bytes, told: str) -> None:
    with front_end(where, Method(lambda _: answer)) as port:
        result = ask(where, port)
    assert (result.ok, result.detail) == (False, f"temporal 127.0.0.1 {port}: its front end says {told}")


def test_answer_of_several_frames_is_understood_as_no_health_check(where: Paths) -> None:
    with front_end(where, Method(lambda _: bytes(40_000))) as port:
        result = ask(where, port)
    assert not result.ok
    assert "the answer is none of a health check" in result.detail


def test_server_without_a_health_check_refuses_the_question(where: Paths) -> None:
    with front_end(where) as port:
        result = ask(where, port)
    assert not result.ok
    assert "it refused the question" in result.detail


def test_front_end_that_hangs_is_not_waited_for(where: Paths) -> None:
    ended = threading.Event()

    def answer(_: bytes) -> bytes:
        ended.wait()
        return SERVING

    with front_end(where, Method(answer)) as port:
        result = ask(where, port, within=0.5)
        ended.set()
    assert not result.ok
    assert "no answer within 0.5 s" in result.detail


@pytest.mark.parametrize("wrong", ["missing", "of another key"])
def test_without_a_certificate_that_can_be_used_its_metrics_must_do(
    where: Paths, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = where.at("/var/lib/maas/certificates")
    if wrong == "missing":
        (directory / "cluster.pem").unlink()
    else:
        make_pair(directory, "other", "/CN=maas")
        (directory / "other.crt").rename(directory / "cluster.pem")
    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    monkeypatch.setattr(probes.Temporal, "METRICS", (f"http://127.0.0.1:{server.server_port}/200", "200"))
    with serving(server):
        answered = ask(where, 1)
    assert answered.ok
    assert answered.detail.startswith("its metrics answer; MAAS's certificate in")
    assert not ask(where, 1).ok, "and they are gone now"


def test_certificate_of_another_cluster_is_refused(where: Paths) -> None:
    """As after a reset of the database: the files are old, Temporal's clients cannot connect either."""
    directory = where.at("/var/lib/maas/certificates")
    with front_end(where, Method(lambda _: SERVING)) as port:
        make_pair(directory, "other", "/CN=other-ca")
        (directory / "other.crt").rename(directory / "cacerts.pem")
        result = ask(where, port)
    assert not result.ok
    assert "certificate verify failed" in result.detail
