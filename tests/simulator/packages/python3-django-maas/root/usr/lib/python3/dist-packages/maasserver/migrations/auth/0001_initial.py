"""Django's own tables of users, all its steps in one."""

from importlib import import_module
from pathlib import Path

from django.contrib.auth import migrations as django_auth

from maasserver.simulated_migration import step

_names = sorted(p.stem for p in Path(django_auth.__file__).parent.glob("0*.py"))
_steps = [import_module(f"{django_auth.__name__}.{name}").Migration for name in _names]
Migration = step(
    "auth",
    "0001_initial",
    needs=[("contenttypes", "__first__")],
    operations=[o for s in _steps for o in s.operations],
)
