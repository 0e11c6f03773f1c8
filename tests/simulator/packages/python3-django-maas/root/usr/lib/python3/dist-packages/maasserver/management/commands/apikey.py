"""apikey: print, make or delete the API keys of a user."""

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from maasserver import tokens
from piston3.models import Token


class Command(BaseCommand):
    help = "Manage API keys of a user (simulator)."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--username", default=None)
        parser.add_argument("--generate", action="store_true")
        parser.add_argument("--name", default=None)
        parser.add_argument("--delete", default=None)
        parser.add_argument("--with-names", action="store_true")

    def handle(self, *args, **options) -> None:
        if not options["username"]:
            raise CommandError("You must provide a username with --username.")
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError("User does not exist.")
        if options["generate"]:
            print(tokens.key(tokens.create(user, options["name"] or "MAAS consumer")))
            return
        mine = Token.objects.filter(user=user).select_related("consumer").order_by("id")
        if options["delete"]:
            found = [t for t in mine if tokens.key(t) == options["delete"]]
            if not found:
                raise CommandError("No matching api key found.")
            found[0].consumer.delete()
            return
        for token in mine:
            print(tokens.key(token) + (f" {token.consumer.name}" if options["with_names"] else ""))
