"""What the worker and the agent share: a gRPC connection to Temporal, with the certificate of MAAS's cluster."""

from __future__ import annotations

import grpc

from . import paths

OPTIONS = [("grpc.ssl_target_name_override", "maas"), ("grpc.max_reconnect_backoff_ms", 2000)]


def connected(host: str, within: float) -> grpc.Channel:
    """Raises OSError when there is no connection within so many seconds; from then on it reconnects by itself."""
    key, certificate, authority = (
        paths.certificates(name).read_bytes() for name in ("cluster.key", "cluster.pem", "cacerts.pem")
    )
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    channel = grpc.secure_channel(f"{host}:5271", credentials, OPTIONS)
    # Else it reconnects only when somebody asks something.
    channel.subscribe(lambda _: None, try_to_connect=True)
    try:
        grpc.channel_ready_future(channel).result(within)
    except grpc.FutureTimeoutError:
        channel.close()
        raise OSError(f"no connection to {host}:5271 within {within:g} s") from None
    return channel
