"""Canonical's own Pebble client, ops.pebble.Client, on the real socket of a real container with toy services."""

from __future__ import annotations

import datetime
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Container, until
from ops import pebble
from ops.pebble import (
    APIError,
    ChangeError,
    ChangeID,
    ChangeState,
    CheckLevel,
    CheckStatus,
    Client,
    Identity,
    IdentityAccess,
    LocalIdentity,
    NoticeType,
    ServiceStartup,
    WarningState,
)

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def shared() -> Iterator[Container]:
    box = Container()
    box.service("bind9", critical="yes", description="DNS server")
    box.service("http", requires="bind9 volumes", critical="yes", program={"stopwaitsecs": "4"})
    box.service("probed", probed=True)
    box.service("agent", start="request", binds_to="http", on_check_failure="restart", check="tcp 127.0.0.1 7911")
    box.service("web", start="request", check="http http://127.0.0.1:5249/metrics 200")
    box.service("proxy", condition_path_exists="/var/lib/maas/maas-proxy.conf")
    box.service("waiting", start="request", requires="web")
    box.service("stubborn", "stubborn", start="request", program={"stopwaitsecs": "5"})
    broken = {"command": "/bin/false", "startsecs": "1", "startretries": "0", "autorestart": "false"}
    box.service("broken", start="request", program=broken)
    box.service("first", type="oneshot", program={"command": "/bin/true", "autorestart": "false"})
    box.answer("probed")
    box.start()
    try:
        until(lambda: box.all_("healthy"))
        yield box
        assert "Traceback" not in box.output
    finally:
        box.close()


def client_of(container: Container) -> Client:
    return Client(str(container.paths.pebble_socket))


@pytest.fixture
def client(shared: Container) -> Client:
    return client_of(shared)


def refused(action: Callable[[], object], code: int) -> str:
    """Check that the client gets an error it understands; return its message."""
    with pytest.raises(APIError) as caught:
        action()
    assert (caught.value.code, caught.value.body["type"]) == (code, "error"), caught.value
    return caught.value.message


def test_every_method_of_the_client_is_tried_here() -> None:
    here = Path(__file__).read_text()
    methods = [name for name, found in vars(Client).items() if callable(found) and not name.startswith("_")]
    assert len(methods) > 30
    assert [name for name in methods if f"client.{name}(" not in here] == []


# Looking.


def test_system_info_has_the_version_and_the_boot(shared: Container, client: Client) -> None:
    assert client.get_system_info().version.startswith("maas-init ")
    told = [shared.ask("GET", "/v1/system-info")[1]["result"] for _ in range(2)]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", told[0]["boot-id"])
    assert told[0] == told[1]


def test_services_have_their_startup_and_state(client: Client) -> None:
    services = {service.name: service for service in client.get_services()}
    assert services["http"].startup is ServiceStartup.ENABLED
    assert services["http"].is_running()
    assert services["agent"].startup is ServiceStartup.DISABLED
    assert not services["agent"].is_running()
    assert [service.name for service in client.get_services(["http", "bind9"])] == ["bind9", "http"]
    assert client.get_services(["nonsense"]) == []


def test_plan_shows_how_services_start_and_what_they_need(shared: Container, client: Client) -> None:
    plan = client.get_plan()
    assert plan.services.keys() == {service.name for service in client.get_services()}
    assert plan.services["bind9"].summary == "DNS server"
    assert plan.services["broken"].command == "/bin/false"
    http, agent = plan.services["http"], plan.services["agent"]
    assert (http.startup, http.requires, http.after, http.kill_delay) == ("enabled", ["bind9"], ["bind9"], "4s")
    assert (agent.startup, agent.requires, agent.on_check_failure) == ("disabled", ["http"], {"agent": "restart"})
    assert plan.services["first"].on_success == "ignore"
    assert plan.checks.keys() == shared.status()["services"].keys()
    assert plan.checks["agent"].tcp == {"host": "127.0.0.1", "port": 7911}
    assert plan.checks["web"].http == {"url": "http://127.0.0.1:5249/metrics"}
    assert (plan.checks["probed"].threshold, plan.checks["probed"].period) == (2, "0.1s")
    assert plan.checks["http"].level is CheckLevel.READY
    assert plan.checks["probed"].level is CheckLevel.UNSET


def test_plan_has_one_format(shared: Container) -> None:
    assert shared.ask("GET", "/v1/plan?format=json")[0] == 400
    assert shared.ask("GET", "/v1/plan")[0] == 400


def test_there_is_a_check_for_everything(shared: Container, client: Client) -> None:
    checks = {check.name: check for check in client.get_checks()}
    assert checks.keys() == shared.status()["services"].keys()
    assert {name for name, check in checks.items() if check.status is CheckStatus.UP} >= {"http", "probed", "first"}
    assert checks["web"].status is CheckStatus.INACTIVE
    assert (checks["probed"].failures, checks["probed"].threshold) == (0, 2)
    assert checks["probed"].has_run
    critical = [check.name for check in client.get_checks(level=CheckLevel.READY)]
    assert critical == ["bind9", "http", "volumes"]
    assert client.get_checks(level=CheckLevel.ALIVE) == []
    assert [check.name for check in client.get_checks(names=["http", "web"])] == ["http", "web"]
    assert [check.name for check in client.get_checks(level=CheckLevel.READY, names=["http", "web"])] == ["http"]


def test_checks_run_by_themselves(client: Client) -> None:
    assert client.start_checks(["http", "probed"]) == []
    assert "nonsense" in refused(lambda: client.start_checks(["nonsense"]), 400)
    assert "does not support stopping checks" in refused(lambda: client.stop_checks(["http"]), 501)


def test_there_are_no_warnings_and_no_notices(client: Client) -> None:
    assert client.get_warnings(select=WarningState.ALL) == []
    assert client.ack_warnings(datetime.datetime.now(datetime.timezone.utc)) == 0
    assert client.get_notices(types=[NoticeType.CUSTOM], keys=["example.com/a", "example.com/b"]) == []
    assert "cannot find notice" in refused(lambda: client.get_notice("1"), 404)


# Asking for changes.


def test_start_stop_and_restart_are_done_when_they_return(shared: Container, client: Client) -> None:
    client.start_services(["agent"])
    assert client.get_services(["agent"])[0].is_running()
    client.stop_services(["agent"])
    assert not client.get_services(["agent"])[0].is_running()
    before = shared.pid("http")
    client.restart_services(["http"])
    assert client.get_services(["http"])[0].is_running()
    until(lambda: shared.pid("http") not in (0, before))
    until(lambda: shared.all_("healthy"))


def test_change_has_a_task_for_each_service(client: Client) -> None:
    change = client.get_change(client.start_services(["http", "bind9"]))
    assert (change.kind, change.status, change.ready, change.err) == ("start", "Done", True, None)
    assert [(task.kind, task.summary, task.status) for task in change.tasks] == [
        ("start", "Start http", "Done"),
        ("start", "Start bind9", "Done"),
    ]
    assert [(task.progress.done, task.progress.total) for task in change.tasks] == [(1, 1)] * 2
    assert change.ready_time is not None
    now = datetime.datetime.now(datetime.timezone.utc)
    assert now - datetime.timedelta(minutes=5) < change.spawn_time < change.ready_time < now
    assert len({task.id for task in change.tasks}) == 2


def test_failed_start_is_an_error_with_the_reason_in_its_log(client: Client) -> None:
    with pytest.raises(ChangeError) as caught:
        client.start_services(["broken", "http"])
    client.stop_services(["broken"])
    assert "cannot start broken: " in caught.value.err
    failed, done = caught.value.change.tasks
    assert (caught.value.change.status, failed.status, done.status) == ("Error", "Error", "Done")
    assert len(failed.log) == 1
    assert re.fullmatch(r"\S+Z ERROR cannot start broken: .+", failed.log[0])
    assert done.log == []


def test_client_stops_waiting_at_its_timeout(shared: Container, client: Client) -> None:
    noted = shared.journal().count("started stubborn")
    client.start_services(["stubborn"])
    until(lambda: shared.journal().count("started stubborn") > noted)  # before, it is not stubborn
    with pytest.raises(pebble.TimeoutError):
        client.stop_services(["stubborn"], timeout=0.2)
    (change,) = client.get_changes(service="stubborn")
    assert (change.kind, change.status, change.ready_time, change.tasks[0].status) == ("stop", "Doing", None, "Doing")
    assert client.wait_change(change.id).status == "Done"


def test_changes_are_chosen_by_state_and_service(client: Client) -> None:
    done = client.start_services(["http"])
    unfinished = client.start_services(["waiting"], timeout=0)

    def ids(select: ChangeState, service: str | None = None) -> list[ChangeID]:
        return [change.id for change in client.get_changes(select, service)]

    assert ids(ChangeState.IN_PROGRESS) == [unfinished]
    assert done in ids(ChangeState.READY)
    assert unfinished not in ids(ChangeState.READY)
    assert {done, unfinished} <= set(ids(ChangeState.ALL))
    assert done in ids(ChangeState.ALL, "http")
    assert unfinished not in ids(ChangeState.ALL, "http")
    client.abort_change(unfinished)
    assert ids(ChangeState.IN_PROGRESS) == []


def test_start_that_waits_for_something_else_is_an_error_that_names_it(client: Client) -> None:
    with pytest.raises(ChangeError) as caught:  # not TimeoutError: our patience ends before the client's
        client.start_services(["waiting"])
    client.stop_services(["waiting"])
    assert "waiting is blocked: it needs web (off)" in caught.value.err


def test_aborted_start_is_not_wanted_any_more(shared: Container, client: Client) -> None:
    change_id = client.start_services(["waiting"], timeout=0)
    until(lambda: shared.is_("waiting", "blocked"))
    change = client.abort_change(change_id)
    assert (change.ready, change.status, change.tasks[0].status) == (True, "Error", "Undone")
    assert change.err == "start of waiting was aborted"
    until(lambda: shared.is_("waiting", "off"))
    assert "was aborted" in shared.of("waiting")["why"]
    assert "nothing pending" in refused(lambda: client.abort_change(change_id), 400)


def test_aborted_stop_ends_with_the_service_running(shared: Container, client: Client) -> None:
    noted = shared.journal().count("started stubborn")
    client.start_services(["stubborn"])
    until(lambda: shared.journal().count("started stubborn") > noted)  # before, it is not stubborn
    before = until(lambda: shared.pid("stubborn"))
    change = client.stop_services(["stubborn"], timeout=0)
    until(lambda: shared.of("stubborn")["process"] == "STOPPING")
    client.abort_change(change)
    until(lambda: shared.pid("stubborn") not in (0, before))
    client.stop_services(["stubborn"])


def test_abort_does_not_overrule_who_asked_later(shared: Container, client: Client) -> None:
    first = client.start_services(["waiting"], timeout=0)
    client.start_services(["waiting"], timeout=0)
    client.abort_change(first)
    assert shared.of("waiting")["desired"]["on"] is True
    for change in client.get_changes(service="waiting"):
        client.abort_change(change.id)
    client.stop_services(["waiting"])


def test_change_ends_when_somebody_wants_the_opposite(client: Client) -> None:
    first = client.start_services(["waiting"], timeout=0)
    client.stop_services(["waiting"])
    assert "wants it off (stop asked over the Pebble API)" in str(client.wait_change(first).err)


def test_autostart_starts_what_is_part_of_the_container_and_can_run(client: Client) -> None:
    client.stop_services(["http", "probed"])
    change = client.get_change(client.autostart_services())
    assert (change.kind, change.status) == ("autostart", "Done")
    tasks = {task.summary.removeprefix("Start "): task for task in change.tasks}
    assert tasks.keys() == {"bind9", "http", "probed", "proxy", "first"}
    assert all(service.is_running() for service in client.get_services(["http", "probed"]))
    assert "proxy is passed over: /var/lib/maas/maas-proxy.conf does not exist yet" in tasks["proxy"].log[0]


def test_replan_starts_what_should_run_and_does_not(client: Client) -> None:
    client.stop_services(["http"])
    change = client.get_change(client.replan_services())
    assert change.status == "Done"
    assert {task.summary for task in change.tasks} == {"Start http", "Start proxy"}
    assert client.get_services(["http"])[0].is_running()


@pytest.mark.parametrize("action", ["autostart", "replan"])
def test_autostart_and_replan_take_no_names(shared: Container, action: str) -> None:
    assert shared.ask("POST", "/v1/services", {"action": action, "services": ["http"]})[0] == 400


def test_container_without_services_of_its_own_has_nothing_to_start(container: Container) -> None:
    container.service("agent", start="request")
    container.start()
    until(lambda: container.all_("healthy"))
    client = client_of(container)
    with pytest.raises(APIError) as caught:
        client.autostart_services()
    assert caught.value.body["result"] == {"message": "no default services", "kind": "no-default-services"}
    change = client.get_change(client.replan_services())
    assert (change.summary, change.status, change.tasks) == ("Replan - no services", "Done", [])


def test_unknown_names_are_refused(client: Client) -> None:
    assert "does not exist" in refused(lambda: client.start_services(["nonsense"]), 400)
    assert "cannot find change" in refused(lambda: client.get_change(ChangeID("0")), 404)
    assert "cannot find change" in refused(lambda: client.abort_change(ChangeID("0")), 404)


def test_signal_reaches_the_service(shared: Container, client: Client) -> None:
    # A toy that has not noted its start does not hear yet.
    until(lambda: shared.journal().count("started bind9") > shared.of("bind9")["restarts"])
    client.send_signal(signal.SIGHUP, ["bind9"])
    client.send_signal("SIGUSR1", ["bind9"])
    until(lambda: {"SIGHUP bind9", "SIGUSR1 bind9"} <= set(shared.journal()))
    assert "web" in refused(lambda: client.send_signal("SIGHUP", ["web"]), 400)


# Health.


def health(container: Container, query: str = "") -> bool:
    status, answer = container.ask("GET", f"/v1/health{query}")
    healthy: bool = answer["result"]["healthy"]
    assert status == (200 if healthy else 502)
    return healthy


def test_health_tells_alive_from_ready(container: Container) -> None:
    container.service("regiond", probed=True, critical="yes", start_within="600")
    container.service("extra", probed=True)
    container.answer("extra")
    container.start()
    client = client_of(container)
    until(lambda: container.is_("regiond", "up"))
    assert health(container, "?level=alive"), "what starts is alive"
    assert not health(container, "?level=ready")
    assert client.get_checks(names=["regiond"])[0].status is CheckStatus.DOWN

    container.answer("regiond")
    until(lambda: health(container, "?level=ready"))
    until(lambda: health(container))

    container.answer("extra", yes=False)
    until(lambda: not health(container))
    assert health(container, "?level=ready"), "it is not critical"
    assert not health(container, "?names=extra")
    assert health(container, "?names=regiond&names=volumes")
    check = client.get_checks(names=["extra"])[0]
    assert check.status is CheckStatus.DOWN
    assert check.failures >= check.threshold

    container.answer("regiond", yes=False)
    until(lambda: not health(container, "?level=alive"))
    assert not health(container, "?level=ready")
    container.answer("regiond")
    until(lambda: health(container, "?level=ready"))
    client.stop_services(["regiond"])
    until(lambda: not health(container, "?level=ready"))
    assert health(container, "?level=alive")


def test_health_has_two_levels(shared: Container) -> None:
    assert shared.ask("GET", "/v1/health?level=nonsense")[0] == 400
    assert shared.ask("GET", "/v1/checks?level=nonsense")[0] == 400


# What an init for MAAS does not do.

ROOT_IDENTITY = Identity(IdentityAccess.ADMIN, local=LocalIdentity(0))


@pytest.mark.parametrize(
    "action",
    [
        lambda client: client.exec(["true"]),
        lambda client: client.exec(["cat"], stdin="words", timeout=1),
        lambda client: client.list_files("/"),
        lambda client: client.pull("/etc/passwd"),
        lambda client: client.push("/tmp/file", "words", make_dirs=True),
        lambda client: client.push("/tmp/file", b"words" * 4_000_000),
        lambda client: client.make_dir("/tmp/directory"),
        lambda client: client.remove_path("/tmp/file", recursive=True),
        lambda client: client.add_layer("label", {"services": {}}, combine=True),
        lambda client: client.get_identities(),
        lambda client: client.replace_identities({"root": ROOT_IDENTITY}),
        lambda client: client.remove_identities(["root"]),
        lambda client: client.notify(NoticeType.CUSTOM, "example.com/a", data={"key": "value"}),
    ],
)
def test_what_is_not_supported_is_said(client: Client, action: Callable[[Client], object]) -> None:
    assert "maas-init does not support " in refused(lambda: action(client), 501)
    assert client.get_services(["http"])[0].is_running()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/metrics"),
        ("GET", "/v1/tasks/1/websocket/stdio"),
        ("POST", "/v1/pairing"),
        ("POST", "/v1/checks/refresh"),
    ],
)
def test_what_this_client_does_not_use_is_refused_as_well(shared: Container, method: str, path: str) -> None:
    status, answer = shared.ask(method, path, {} if method == "POST" else None)
    assert (status, answer["type"], answer["status"]) == (501, "error", "Not Implemented")
    assert "maas-init does not support " in answer["result"]["message"]


def test_error_with_files_has_the_kind_that_clients_know(shared: Container) -> None:
    assert shared.ask("GET", "/v1/files?action=list&path=/")[1]["result"]["kind"] == "generic-file-error"
