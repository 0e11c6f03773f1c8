"""The models that others import: Config, Secret, VaultSecret.

The daemons use the remaining tables through SQL (maasserver.database).
"""

from .config import Config
from .secret import Secret, VaultSecret

__all__ = ["Config", "Secret", "VaultSecret"]
