"""edit_named_options: include MAAS's options, move two settings into the database."""

from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from provisioningserver import dns


class Command(BaseCommand):
    help = "Edit named.conf.options to use MAAS's configuration (simulator)."

    def add_arguments(self, parser) -> None:
        default = "/etc/bind/named.conf.options"
        parser.add_argument("--config-path", default=default, type=Path)
        parser.add_argument("--migrate-conflicting-options", action="store_true")

    def handle(self, *args, **options) -> None:
        """forwarders stay in the file when the database cannot take them."""
        drop = ["dnssec-validation"]
        if self._database_works():
            drop.append("forwarders")
        try:
            taken = dns.edit_options(options["config_path"], tuple(drop))
        except ValueError as error:
            raise CommandError(str(error)) from error
        if "forwarders" in taken and taken["forwarders"][-1]:
            from maasserver.models import Config

            addresses = " ".join(words[0] for words in taken["forwarders"][-1])
            Config.objects.set_config("upstream_dns", addresses)

    @staticmethod
    def _database_works() -> bool:
        from maasserver.models import Config

        try:
            Config.objects.exists()
        except Exception:  # any trouble with the database counts the same here
            return False
        return True
