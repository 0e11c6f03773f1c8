"""API consumers and tokens: `consumer key:token key:token secret` is an API key."""

from django.conf import settings
from django.db import models


class Consumer(models.Model):
    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=255)
    description = models.TextField(default="")
    key = models.CharField(max_length=18)
    secret = models.CharField(max_length=32)
    status = models.CharField(max_length=16, default="pending")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )


class Token(models.Model):
    id = models.BigAutoField(primary_key=True)
    key = models.CharField(max_length=18)
    secret = models.CharField(max_length=32)
    token_type = models.IntegerField(default=2)
    timestamp = models.IntegerField(default=0)
    is_approved = models.BooleanField(default=False)
    consumer = models.ForeignKey(Consumer, on_delete=models.CASCADE)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="+"
    )
