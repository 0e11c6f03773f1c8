"""Discovery runs for others what needs raw sockets: with their streams, for as long as they live, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from harness import GENEROUS, MAAS_INIT, can_connect, until

from maas_init import discovery, probes
from maas_init.errors import MaasInitError
from maas_init.paths import Paths

pytestmark = pytest.mark.process

SAYS = '#!/bin/sh\nprintf \'<%s>\' "${0##*/}" "$@"\ncat\necho told >&2\nexit 7\n'
STAYS = "#!/bin/sh\n: > {begun}/$$\nexec sleep 1000\n"
DEAF = "#!/bin/sh\ntrap '' TERM\n: > {begun}/$$\nexec sleep 1000\n"

NETMON = ("/usr/sbin/maas-netmon", "eth0")
BEACONS = ("/usr/lib/maas/beacon-monitor", "br-1.100")
SCAN = ("nmap", "-e", "eth0", "-sn", "-n", "-oX", "-", "-PR", "192.0.2.0/24")
PING = ("ping", "-c", "1", "192.0.2.1")
PING_SCAN = (
    *("ping", "-r", "-I", "eth0", "192.0.2.1", "-c", "3", "-w", "1", "-i", "0.2", "-D", "-O", "-n"),
    *("-p", "687474703a2f2f6d6161732e696f2f20"),
)
OF_MAAS = [
    *(NETMON, BEACONS, ("maas-netmon", "bond0:1"), SCAN, (*SCAN[:3], "--max-rate", "9", *SCAN[3:])),
    *(PING, ("ping", "-c", "1", "-I", "eth0", "2001:db8::1"), PING_SCAN),
]
REFUSED = [
    *(("id",), ("sh", "-c", "id"), ("tcpdump", "-i", "eth0"), ("/usr/bin/../bin/id",)),
    *(("maas-netmon",), ("maas-netmon", ""), ("maas-netmon", "eth0", "eth1"), ("maas-netmon", "-h")),
    *(("beacon-monitor", "../eth0"), ("beacon-monitor", "a b"), ("beacon-monitor", "sixteen-letters.")),
    *(
        ("nmap",),
        ("nmap", "192.0.2.1"),
        (*SCAN, "--script=x"),
        (*SCAN, "192.0.2.0/24"),
        ("nmap", "--script", *SCAN[2:]),
    ),
    *((*SCAN[:2], "-oN", *SCAN[3:]), (*SCAN[:6], "/etc/maas/x", *SCAN[7:]), (*SCAN[:-1], "example.com")),
    (*SCAN[:3], "--max-rate", "x", *SCAN[3:]),
]
OTHER_PINGS = [
    *(("ping",), ("ping", "192.0.2.1"), ("ping", "-c", "2", "192.0.2.1"), ("ping", "-c", "1", "example.com")),
    *(("ping", "-6", "-N", "name", "::1"), ("ping", "-c", "1", "-I", "-f", "192.0.2.1"), (*PING_SCAN, "-f")),
    *(PING_SCAN[:-2], (*PING_SCAN[:6], "300", *PING_SCAN[7:]), ("ping", "a b", "*", "")),
]


class Works:
    """A discovery of our own, with stand-ins for the programs."""

    def __init__(self, root: Path) -> None:
        self.where = Paths(root)
        self.environ = {"PATH": os.environ["PATH"], "MAAS_INIT_ROOT": str(root)}
        self.begun = root / "begun"
        self.begun.mkdir()
        self.where.run.mkdir(parents=True)
        self.program(SAYS)
        self.server: subprocess.Popen[bytes] | None = None

    def program(self, text: str) -> None:
        """Have all programs be this."""
        for path, _ in discovery.COMMANDS.values():
            file = self.where.at(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("{begun}", str(self.begun)))
            file.chmod(0o755)

    def serve(self, *before: str) -> None:
        self.server = subprocess.Popen([*before, MAAS_INIT, "discovery"], env=self.environ)
        until(lambda: can_connect(self.where.discovery_socket))

    def connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.where.discovery_socket))
        return connection

    def end(self) -> None:
        if self.server:
            self.server.kill()
            self.server.wait()

    def client(self, words: Sequence[str], stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        command = [str(MAAS_INIT), "discovery", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environ, text=True, stdin=pipe, stdout=stdout, stderr=pipe)

    def ask(self, words: Sequence[str], stdin: str = "") -> tuple[int, str, str]:
        with self.client(words) as client:
            said = client.communicate(stdin)
        return client.returncode, *said

    def say(self, words: bytes, streams: int = 3) -> bytes:
        """Say anything to the server itself, and return its answer."""
        with self.connected() as connection, open(os.devnull, "r+b") as null:
            if words:
                socket.send_fds(connection, [words], [null.fileno()] * streams)
            if not words.endswith(b"\0\0"):
                connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as stream:
                return stream.read()

    def running(self, how_many: int = 1) -> list[int]:
        """Wait until so many programs have begun and run; return their process ids."""
        assert self.server
        until(lambda: len(list(self.begun.iterdir())) >= how_many)
        until(lambda: len(self.children()) == how_many)
        return self.children()

    def children(self) -> list[int]:
        assert self.server
        done = subprocess.run(["pgrep", "-P", str(self.server.pid)], capture_output=True, text=True, check=False)
        return [int(pid) for pid in done.stdout.split()]


@pytest.fixture
def works(tmp_path: Path) -> Iterator[Works]:
    works = Works(tmp_path)
    yield works
    works.end()


@pytest.fixture
def serving(works: Works) -> Works:
    works.serve()
    return works


def told(words: Sequence[str]) -> str:
    return "".join(f"<{word}>" for word in (words[0].rpartition("/")[2], *words[1:]))


def request(words: Sequence[str]) -> bytes:
    return b"".join(word.encode() + b"\0" for word in words) + b"\0"


@pytest.mark.parametrize("words", OF_MAAS)
def test_what_maas_says_is_run_with_the_streams_of_the_one_who_says_it(words: Sequence[str], serving: Works) -> None:
    assert serving.ask(words, stdin="heard") == (7, f"{told(words)}heard", "told\n")


@pytest.mark.parametrize("words", OF_MAAS)
def test_it_is_discovery_that_runs_it(words: Sequence[str], serving: Works) -> None:
    serving.program(STAYS)
    with serving.client(words) as client:
        assert serving.running()
        client.kill()


@pytest.mark.parametrize("words", REFUSED)
def test_anything_else_is_refused_whoever_is_asked(words: Sequence[str], serving: Works) -> None:
    code, out, err = serving.ask(words)
    assert (code, out) == (1, "")
    assert "with raw sockets" in err
    assert "what MAAS itself does with maas-netmon, beacon-monitor, nmap, ping" in err
    answer = serving.say(request(words))
    assert answer.startswith(b"1 cannot run ")
    assert b"with raw sockets" in answer


@pytest.mark.parametrize("words", OTHER_PINGS)
def test_other_pings_are_run_without_raw_sockets(words: Sequence[str], serving: Works) -> None:
    assert serving.ask(words, stdin="heard") == (7, f"{told(words)}heard", "told\n")
    answer = serving.say(request(words))
    assert answer.startswith(b"1 cannot run ping"), "discovery itself does not"


@pytest.mark.parametrize(
    "words", [b"", b"\0", b"ping", b"ping\0", b"a\0" * (discovery.LONGEST // 2), b"\xff\0\0", b"\0\0\0", b"\n\0\0"]
)
def test_what_is_no_request_is_answered_with_a_reason(words: bytes, serving: Works) -> None:
    assert serving.say(words).startswith(b"1 cannot "), "in one line"
    assert serving.ask(PING)[0] == 7, "and the next one is served"


@pytest.mark.parametrize("streams", [0, 1, 2, 4])
def test_streams_are_three(streams: int, serving: Works) -> None:
    answer = serving.say(request(PING), streams)
    if streams < 3:
        assert answer == b"1 cannot run anything without three streams: hand over standard input, output and error\n"
    else:
        assert answer == b"7\n", "one too many is not kept"
    assert serving.server
    opened = Path(f"/proc/{serving.server.pid}/fd")
    until(lambda: len(list(opened.iterdir())) <= 4)


def test_one_who_says_nothing_keeps_nobody_waiting(serving: Works) -> None:
    with serving.connected():
        assert serving.ask(PING)[0] == 7


def test_only_this_user_may_ask(serving: Works) -> None:
    assert stat.S_IMODE(serving.where.discovery_socket.stat().st_mode) == 0o600


def test_program_that_a_signal_ended_is_told_as_a_shell_does(serving: Works) -> None:
    serving.program("#!/bin/sh\nkill -9 $$\n")
    assert serving.ask(PING)[0] == 128 + signal.SIGKILL


def test_program_that_is_not_there_is_told(serving: Works) -> None:
    serving.where.at("/usr/bin/ping").unlink()
    code, _, err = serving.ask(PING)
    assert code == 1
    assert err.startswith("maas-init: ")
    assert "No such file or directory" in err


@pytest.mark.parametrize("program", [STAYS, DEAF])
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_what_runs_ends_with_the_one_who_asked(program: str, ending: signal.Signals, serving: Works) -> None:
    serving.program(program)
    with serving.client(PING) as client:
        serving.running()
        client.send_signal(ending)
        assert client.wait(GENEROUS) != 0
    until(lambda: not serving.children())


@pytest.mark.parametrize("program", [STAYS, DEAF])
def test_what_runs_ends_with_the_one_who_reads_it(program: str, serving: Works) -> None:
    """MAAS's observers end, or are ended, without a word to the sudo that they started."""
    serving.program(program)
    read_end, write_end = os.pipe()
    with serving.client(BEACONS, stdout=write_end) as client:
        os.close(write_end)
        serving.running()
        os.close(read_end)
        assert client.wait(GENEROUS) > 128
    assert not serving.children()


def test_many_are_served_at_once(serving: Works) -> None:
    serving.program(STAYS)
    clients = [serving.client(NETMON) for _ in range(20)]
    for pid in serving.running(20):
        os.kill(pid, signal.SIGTERM)
    for client in clients:
        client.communicate()
        assert client.returncode == 128 + signal.SIGTERM


def test_more_than_it_can_serve_wait_or_are_told_and_it_lives_on(works: Works) -> None:
    works.serve("prlimit", "--nofile=32:32")
    works.program(STAYS)
    with contextlib.ExitStack() as opened:
        clients = [opened.enter_context(works.client(NETMON)) for _ in range(30)]
        for client in clients:
            opened.callback(client.kill)
        until(lambda: works.children() and any(client.poll() == 1 for client in clients))
        assert works.server
        assert works.server.poll() is None
    until(lambda: not works.children())
    works.program(SAYS)
    until(lambda: works.ask(PING)[0] == 7)


def test_waiting_is_done_by_a_small_process(serving: Works) -> None:
    serving.program(STAYS)
    with serving.client(NETMON) as client:
        serving.running()
        until(lambda: "sh" in os.path.basename(os.readlink(f"/proc/{client.pid}/exe")))  # noqa: PTH115, PTH119
        client.kill()


@pytest.mark.parametrize("when", ["it runs", "nothing was heard"])
def test_end_of_discovery_is_told(when: str, serving: Works) -> None:
    serving.program(STAYS)
    assert serving.server
    if when == "nothing was heard":
        serving.server.send_signal(signal.SIGSTOP)
    client = serving.client(PING)
    if when == "nothing was heard":
        until(lambda: (Path(f"/proc/{client.pid}/comm")).read_text() == "sh\n")
        left = []
    else:
        left = serving.running()
    serving.end()
    for pid in left:  # supervisord's plug-in would do it; they hold what the client prints to
        os.kill(pid, signal.SIGKILL)
    _, err = client.communicate()
    assert client.returncode == 1
    assert err == "maas-init: cannot tell how ping ended: discovery ended first (maas-init why discovery)\n"


@pytest.mark.parametrize("before", ["never there", "ended"])
def test_without_discovery_the_program_is_run_as_it_is(before: str, works: Works) -> None:
    if before == "ended":
        works.serve()
        works.end()
        assert works.where.discovery_socket.exists()
    assert works.ask(PING, stdin="heard") == (7, f"{told(PING)}heard", "told\n")
    assert works.ask(["id"])[0] == 1, "but nothing else is"
    works.program("#!/bin/sh\ngrep SigIgn /proc/$$/status\n")
    ignored = int(works.ask(PING)[1].split()[1], 16)
    assert not [each for each in (signal.SIGPIPE, signal.SIGXFSZ) if ignored >> each - 1 & 1], "Python ignores them"


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_with_a_closed_stream_the_program_is_run_as_it_is(stream: int, serving: Works) -> None:
    serving.program('#!/bin/sh\necho "$PPID" > {begun}/$$\n')
    command = f"exec {MAAS_INIT} discovery {' '.join(PING)} {stream}{'<' if stream == 0 else '>'}&-"
    assert subprocess.run(["sh", "-c", command], env=serving.environ, check=False).returncode == 0
    (seen,) = serving.begun.iterdir()
    assert serving.server
    assert int(seen.read_text()) != serving.server.pid


def test_next_one_takes_the_place_of_one_that_was_killed(works: Works) -> None:
    works.serve()
    works.end()
    works.serve()
    works.program(STAYS)
    with works.client(PING) as client:
        works.running()
        client.kill()


def seen_by_the_probe(works: Works, within: float = 10) -> str:
    return asyncio.run(probes.discovery(str(works.where.discovery_socket), within))


def test_probe_has_a_raw_socket_opened(serving: Works) -> None:
    assert seen_by_the_probe(serving) == "it opens raw sockets"


def test_probe_tells_when_the_kernel_says_no(works: Works) -> None:
    works.serve("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw")
    with pytest.raises(probes.ProbeFailed, match="Operation not permitted"):
        seen_by_the_probe(works)


def test_probe_tells_when_nobody_answers(works: Works) -> None:
    works.serve()
    assert works.server
    works.server.send_signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        seen_by_the_probe(works, within=0.2)
    works.end()
    with pytest.raises(ConnectionRefusedError):
        seen_by_the_probe(works)


def test_command_is_the_program_s_own_path() -> None:
    assert discovery.command(["/anything/nmap", *SCAN[1:]], Paths()) == ["/usr/bin/nmap", *SCAN[1:]]
    with pytest.raises(MaasInitError):
        discovery.command(["nmap", "\0".join(SCAN[1:])[:-1] + "x"], Paths())
