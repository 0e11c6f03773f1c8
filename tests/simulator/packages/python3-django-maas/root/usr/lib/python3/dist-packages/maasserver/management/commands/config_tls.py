"""config_tls enable KEY CERT [--cacert FILE] [--port N] --yes, or disable."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from maasserver.certificates import matches
from maasserver.models import Config
from maasserver.secrets import SecretManager


class Command(BaseCommand):
    help = "Configure TLS of the region's web server (simulator)."

    def add_arguments(self, parser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        enable = commands.add_parser("enable")
        enable.add_argument("key", type=Path)
        enable.add_argument("cert", type=Path)
        enable.add_argument("--cacert", type=Path)
        enable.add_argument("-p", "--port", type=int, default=5443)
        enable.add_argument("--yes", action="store_true")
        commands.add_parser("disable")

    def handle(self, *args, **options) -> None:
        if options["command"] == "disable":
            SecretManager().delete_secret("tls")
            Config.objects.set_config("tls_port", None)
            return
        try:
            key, cert = options["key"].read_text(), options["cert"].read_text()
            cacert = options["cacert"].read_text() if options["cacert"] else ""
        except OSError as error:
            raise CommandError(str(error)) from error
        if not matches(options["key"], options["cert"]):
            raise CommandError("Private key and certificate don't match")
        if not options["yes"] and input("Enable TLS? (y/n) ") != "y":
            return
        value = {"key": key, "cert": cert, "cacert": cacert}
        SecretManager().set_composite_secret("tls", value)
        Config.objects.set_config("tls_port", options["port"])
