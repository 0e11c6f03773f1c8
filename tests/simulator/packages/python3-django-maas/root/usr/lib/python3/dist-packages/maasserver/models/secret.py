"""Secrets by path, for example global/rpc-shared."""

from django.db import models
from django.utils import timezone


class Secret(models.Model):
    created = models.DateTimeField(editable=False)
    updated = models.DateTimeField(editable=False)
    path = models.TextField(primary_key=True)
    value = models.JSONField()

    def save(self, *args, **options) -> None:
        self.updated = timezone.now()
        self.created = self.created or self.updated
        super().save(*args, **options)


class VaultSecret(models.Model):
    path = models.TextField(primary_key=True)
    deleted = models.BooleanField(default=False)
