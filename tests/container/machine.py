"""A machine that boots from the network: QEMU, in software, with its network card on the bridge of a test network."""

from __future__ import annotations

import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Says who it is as iPXE does, and takes the boot loader that MAAS has for a plain BIOS, over TFTP. PXELINUX finds the
# rest where option 210 says; MAAS tells that to a plain BIOS only, and no card that QEMU has is one.
LIKE_A_PLAIN_BIOS = """#!ipxe
ifconf -c dhcp
set 210:string http://${next-server}:5248/
chain tftp://${next-server}/lpxelinux.0
"""


class Machine:
    """It is on; what it shows on its serial console is kept."""

    def __init__(self, folder: Path, bridge: str, script: str) -> None:
        self.mac = "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
        self._console = folder / "console"
        self._tap = f"tap{secrets.token_hex(4)}"
        ip("tuntap", "add", "dev", self._tap, "mode", "tap")
        ip("link", "set", self._tap, "master", bridge, "up")
        ways = ["-boot", "n"]
        if script:
            (folder / "boot.ipxe").write_text(script)
            ways = ["-kernel", "/usr/lib/ipxe/ipxe.lkrn", "-initrd", str(folder / "boot.ipxe")]
        with self._console.open("wb") as console:
            self._qemu = subprocess.Popen(
                [
                    *("qemu-system-x86_64", "-M", "pc", "-accel", "tcg", "-m", "256", "-nodefaults", "-no-user-config"),
                    *("-nographic", "-no-reboot", "-serial", "stdio", "-monitor", "none"),
                    *("-netdev", f"tap,id=net0,ifname={self._tap},script=no,downscript=no"),
                    *("-device", f"virtio-net-pci,netdev=net0,mac={self.mac}"),
                    *ways,
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
            )

    @property
    def console(self) -> str:
        return self._console.read_text(errors="replace")

    def off(self) -> None:
        self._qemu.kill()
        self._qemu.wait()
        ip("link", "del", self._tap)


@contextmanager
def switched_on(bridge: str, script: str = "") -> Iterator[Machine]:
    """Let a machine boot by its network card, or by an iPXE script, while the block runs."""
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder), bridge, script)
        try:
            yield machine
        finally:
            print(machine.console)
            machine.off()


def ip(*argv: str) -> None:
    subprocess.run(("ip", *argv), check=True)
