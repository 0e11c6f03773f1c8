"""The first administrator: made if there is no such user, never touched again."""

from __future__ import annotations

from .. import log
from ..errors import CommandFailed, MaasInitError
from .work import RegionWork, tell


def create(work: RegionWork) -> bool:
    """Create the administrator unless a user of that name exists; return whether one was created.

    An existing one keeps its password: people change it in MAAS.

    Raises MaasInitError when the e-mail address belongs to somebody else.
    """
    logger = log.bound(phase="bootstrap")
    username, email = work.settings.admin_username, work.settings.admin_email
    row = work.connection.execute("SELECT is_superuser FROM auth_user WHERE username = %s", (username,)).fetchone()
    if row is not None:
        if not row[0]:
            logger.warning("admin.demoted", username=username, reason="the user exists and is no administrator")
        return False
    tell(work.paths, "admin", "creating the administrator")
    password = work.settings.admin_password.reveal()
    try:
        # It asks twice, from standard input, because its session has no terminal. An empty --ssh-import asks nothing.
        work.maas.run(
            "django",
            "createadmin",
            *("--username", username),
            *("--email", email),
            *("--ssh-import", ""),
            stdin=f"{password}\n{password}\n",
        )
    except CommandFailed as failure:
        owner = work.connection.execute(
            "SELECT username FROM auth_user WHERE lower(email) = lower(%s)", (email,)
        ).fetchone()
        if owner is None:
            raise
        raise MaasInitError(
            f'cannot create the administrator {username}: the user {owner[0]} already has the e-mail address "{email}"',
            hint=f"set MAAS_ADMIN_USERNAME to {owner[0]}, or MAAS_ADMIN_EMAIL to another address",
        ) from failure
    logger.info("admin.created", username=username)
    return True
