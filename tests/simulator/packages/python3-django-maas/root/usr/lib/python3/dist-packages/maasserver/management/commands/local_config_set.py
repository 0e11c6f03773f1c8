from maasserver.local_config import Set as Command

__all__ = ["Command"]
