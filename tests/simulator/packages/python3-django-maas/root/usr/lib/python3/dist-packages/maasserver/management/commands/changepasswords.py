"""changepasswords: user:password lines from files or standard input."""

from fileinput import hook_encoded
from fileinput import input as lines

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction


class Command(BaseCommand):
    help = "Update passwords in batch mode (simulator)."

    def add_arguments(self, parser) -> None:
        """None: Django passes what is left as args."""
        parser.add_argument("args", nargs="*")

    @transaction.atomic
    def handle(self, *args, **options) -> str:
        count = 0
        for line in lines(args, openhook=hook_encoded("utf-8")):  # noqa: SIM115
            username, colon, password = line.rstrip("\r\n").partition(":")
            if not colon:
                raise CommandError("Invalid input provided. Format is 'username:password', one per line.")
            user = User.objects.filter(username=username).first()
            if user is None:
                raise CommandError(f"User '{username}' does not exist.")
            user.set_password(password)
            user.save()
            count += 1
        return f"{count} password(s) successfully changed."
