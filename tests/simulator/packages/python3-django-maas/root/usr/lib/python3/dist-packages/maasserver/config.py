"""regiond.conf as the region sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from provisioningserver import config, paths


class RegionConfiguration:
    @classmethod
    @contextmanager
    def open(cls) -> Iterator[SimpleNamespace]:
        yield config.read(paths.region_conf(), config.REGION)


def read() -> SimpleNamespace:
    return config.read(paths.region_conf(), config.REGION)
