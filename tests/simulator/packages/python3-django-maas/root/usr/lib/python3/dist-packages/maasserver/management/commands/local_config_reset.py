from maasserver.local_config import Reset as Command

__all__ = ["Command"]
