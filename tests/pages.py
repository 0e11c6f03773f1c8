"""For tests of pages: a reader of HTML, and a real nginx that shows them."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

from maas_init.configure.file import ConfigFile
from maas_init.paths import Paths

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


class Text(HTMLParser):
    """Collects what a reader sees, and checks that every element is closed by its own end."""

    VOID = ("meta",)

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.attributes: dict[str, list[dict[str, str | None]]] = {}
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.setdefault(tag, []).append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open[-1] not in ("style", "script"):
            self.seen.append(data.strip())


class Nginx:
    """One with our configuration, below a directory and on a port of its own."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mi-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.where = Paths(self.directory)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        for name in ("/run/maas-init/http", "/var/lib/maas/http", "/etc/nginx"):
            self.where.at(name).mkdir(parents=True)
        shutil.copy("/etc/nginx/mime.types", self.where.at("/etc/nginx/mime.types"))

    def start(self, planned: Iterable[ConfigFile], port: int) -> None:
        """Write these files and run nginx, on our port instead of `port`."""
        for file in planned:
            file.path.parent.mkdir(parents=True, exist_ok=True)
            file.path.write_text(file.text.replace(str(port), str(self.port)))
        conf = self.where.run / "http/nginx.conf"
        self._nginx = subprocess.Popen(["nginx", "-e", "stderr", "-c", conf, "-g", "daemon off;"])

    def reload(self) -> None:
        self._nginx.send_signal(signal.SIGHUP)

    def ask(self, path: str = "/", accept: str = BROWSER, method: str = "GET") -> tuple[int, str, dict[str, str]]:
        """Return the code, the text and the headers of its answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"Accept": accept}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), dict(error.headers)

    def answers(self) -> bool:
        try:
            self.ask()
        except urllib.error.URLError:
            return False
        return True

    def remove(self) -> None:
        self._nginx.terminate()
        self._nginx.wait()
        shutil.rmtree(self.directory)
