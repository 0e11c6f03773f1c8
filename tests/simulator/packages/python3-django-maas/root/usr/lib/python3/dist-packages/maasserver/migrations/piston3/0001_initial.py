"""API consumers and tokens."""

from django.conf import settings
from django.db import migrations, models

from maasserver.simulated_migration import step

_user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
Migration = step(
    "piston3",
    "0001_initial",
    needs=[migrations.swappable_dependency(settings.AUTH_USER_MODEL)],
    operations=[
        migrations.CreateModel(
            "Consumer",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=255)),
                ("description", models.TextField(default="")),
                ("key", models.CharField(max_length=18)),
                ("secret", models.CharField(max_length=32)),
                ("status", models.CharField(max_length=16, default="pending")),
                ("user", _user),
            ],
        ),
        migrations.CreateModel(
            "Token",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("key", models.CharField(max_length=18)),
                ("secret", models.CharField(max_length=32)),
                ("token_type", models.IntegerField(default=2)),
                ("timestamp", models.IntegerField(default=0)),
                ("is_approved", models.BooleanField(default=False)),
                ("consumer", models.ForeignKey("piston3.Consumer", on_delete=models.CASCADE)),
                ("user", _user.clone()),
            ],
        ),
    ],
)
