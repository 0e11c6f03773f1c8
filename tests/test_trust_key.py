"""apt trusts the key whose fingerprint the Dockerfile names, and nothing that came with it or in its place."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRUST = ROOT / "packages/trust-key"


class Keys:
    """Keys made for a test, in a home of their own."""

    def __init__(self, home: Path) -> None:
        self._home = home
        home.mkdir(mode=0o700)

    def gpg(self, *words: str) -> str:
        command = ["gpg", "--homedir", str(self._home), "--batch", "--quiet", "--passphrase", "", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def make(self, name: str) -> None:
        """Make a key with a subkey."""
        self.gpg("--quick-gen-key", name, "ed25519", "sign", "never")
        self.gpg("--quick-add-key", self.fingerprints(name)[0], "cv25519", "encr", "never")

    def fingerprints(self, *options: str) -> list[str]:
        """Return those of primary keys and subkeys."""
        told = self.gpg("--with-colons", "--list-keys", *options)
        return [line.split(":")[9] for line in told.splitlines() if line.startswith("fpr")]

    def end(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self._home), "--kill", "gpg-agent"], check=True)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    made = Keys(tmp_path_factory.mktemp("k") / "h")  # short: the agent's socket lies below it
    made.make("ours")
    made.make("theirs")
    yield made
    made.end()


def trust(file: Path, fingerprint: str) -> tuple[int, str, bool]:
    """Return the exit code, what was said, and whether there is a keyring now."""
    keyring = file.with_suffix(".gpg")
    done = subprocess.run([TRUST, file, fingerprint, keyring], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip(), keyring.exists()


def test_the_right_key_is_in_the_keyring(keys: Keys, tmp_path: Path) -> None:
    (file := tmp_path / "key.asc").write_text(keys.gpg("--armor", "--export", "ours"))
    ours, subkey = keys.fingerprints("ours")
    assert trust(file, ours) == (0, "", True)
    shown = keys.gpg("--show-keys", "--with-colons", str(tmp_path / "key.gpg"))
    assert [line.split(":")[9] for line in shown.splitlines() if line.startswith("fpr")] == [ours, subkey]


@pytest.mark.parametrize("what", ["theirs", "ours and theirs", "nothing", "no key"])
def test_any_other_key_is_refused_and_told(keys: Keys, tmp_path: Path, what: str) -> None:
    names = [name for name in ("ours", "theirs") if name in what.split()]
    text = keys.gpg("--armor", "--export", *names) if names else "<html>busy</html>" if what == "no key" else ""
    (file := tmp_path / "key.asc").write_text(text)
    ours, theirs = keys.fingerprints("ours")[0], keys.fingerprints("theirs")[0]
    code, said, keyring = trust(file, ours)
    assert (code, keyring) == (1, False)
    found = " ".join({"ours": ours, "theirs": theirs}[name] for name in names) or "no key"
    assert said.startswith(f"trust-key: found {found}, wanted {ours} ")


def test_a_subkey_s_fingerprint_is_not_enough(keys: Keys, tmp_path: Path) -> None:
    (file := tmp_path / "key.asc").write_text(keys.gpg("--armor", "--export", "ours"))
    assert trust(file, keys.fingerprints("ours")[1])[0] == 1


def test_the_build_asks_it_about_the_key_of_maas() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert '/build/trust-key /tmp/key.asc "$MAAS_PPA_KEY" /out/keyrings/maas.gpg' in text
    assert "signed-by=/etc/apt/keyrings/maas.gpg" in text
