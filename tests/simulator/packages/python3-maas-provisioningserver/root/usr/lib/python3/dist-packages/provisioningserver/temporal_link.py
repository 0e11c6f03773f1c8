"""What the worker and the agent share: a gRPC connection to Temporal, with the certificate of MAAS's cluster."""

from __future__ import annotations

import contextlib
import time

import grpc

from . import paths

OPTIONS = [("grpc.ssl_target_name_override", "maas"), ("grpc.max_reconnect_backoff_ms", 2000)]


def connected(host: str, within: float) -> grpc.Channel:
    """Raises OSError when there is no connection within so many seconds."""
    key, certificate, authority = (
        paths.certificates(name).read_bytes() for name in ("cluster.key", "cluster.pem", "cacerts.pem")
    )
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    channel = grpc.secure_channel(f"{host}:5271", credentials, OPTIONS)
    try:
        grpc.channel_ready_future(channel).result(within)
    except grpc.FutureTimeoutError:
        channel.close()
        raise OSError(f"no connection to {host}:5271 within {within:g} s") from None
    return channel


def work(channel: grpc.Channel) -> None:
    """Ask for something to do, for ever: a channel connects anew only when somebody asks."""
    ask = channel.unary_unary("/grpc.health.v1.Health/Check")
    while True:
        with contextlib.suppress(grpc.RpcError):
            ask(b"", wait_for_ready=True, timeout=30.0)
        time.sleep(1.0)
