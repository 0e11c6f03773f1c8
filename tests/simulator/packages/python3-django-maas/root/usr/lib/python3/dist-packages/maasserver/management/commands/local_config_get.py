from maasserver.local_config import Get as Command

__all__ = ["Command"]
