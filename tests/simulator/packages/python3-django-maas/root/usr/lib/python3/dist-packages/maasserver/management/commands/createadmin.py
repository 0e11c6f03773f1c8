"""createadmin: a superuser with a first API key; it is an error when it exists."""

from __future__ import annotations

from getpass import getpass

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, transaction

from maasserver import tokens


class EmptyUsername(CommandError):
    pass


class InconsistentPassword(CommandError):
    pass


class EmptyEmail(CommandError):
    pass


class AlreadyExistingUser(CommandError):
    pass


class SSHKeysError(CommandError):
    pass


class Command(BaseCommand):
    help = "Create a MAAS administrator account (simulator)."

    def add_arguments(self, parser) -> None:
        for name in ("username", "password", "email", "ssh-import"):
            parser.add_argument(f"--{name}", default=None)

    def handle(self, *args, **options) -> None:
        username, password, email = (options[n] for n in ("username", "password", "email"))
        keys = options["ssh_import"]
        ask_for_keys = keys is None and None in (username, password, email)
        if username is None and not (username := input("Username: ")):
            raise EmptyUsername("You must input a username or provide it with --username.")
        if password is None:
            password = _ask_password()
        if email is None and not (email := input("Email: ")):
            raise EmptyEmail("You must input an email or provide it with --email")
        if ask_for_keys:
            keys = input("Import SSH keys [] (lp:user-id or gh:user-id): ")
        with transaction.atomic():
            try:
                user = User.objects.create_superuser(username, email=email, password=password)
            except IntegrityError:
                raise AlreadyExistingUser(f"A user with the email {email} already exists.") from None
            tokens.create(user)
            if keys:
                raise SSHKeysError("Importing SSH keys failed.\nThe simulator has no network.")


def _ask_password() -> str:
    password = getpass("Password: ")
    if getpass("Again: ") != password:
        raise InconsistentPassword("Passwords do not match")
    if not password:
        raise InconsistentPassword("Passwords cannot be empty")
    return password
