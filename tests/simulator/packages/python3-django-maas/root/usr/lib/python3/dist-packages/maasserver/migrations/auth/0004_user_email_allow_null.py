"""An email belongs to one user only."""

from django.db.migrations import RunSQL

from maasserver.simulated_migration import step

Migration = step(
    "auth",
    "0004_user_email_allow_null",
    after="0003_django_1_11_update",
    operations=[
        RunSQL(
            """
        ALTER TABLE auth_user ALTER email DROP NOT NULL;
        CREATE UNIQUE INDEX auth_user_email_key ON auth_user (email);
        """,
            RunSQL.noop,
        )
    ],
)
