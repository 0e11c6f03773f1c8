"""What the status file says as metrics, in Prometheus's text format (docs/reference/metrics.md)."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from . import __version__, pxe
from .health import Container, Level

LEVELS = [level.value for level in Level]
CONTAINER_LEVELS = [level.value for level in Container]


def text(status: Mapping[str, Any]) -> str:
    """Return all of them, for this content of the status file."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Status(status))
    return generate_latest(registry).decode()


class _Status(Collector):
    def __init__(self, status: Mapping[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status, services = self._status, self._status["services"]
        yield InfoMetricFamily("maas_init", "This version of maas-init.", {"version": __version__})
        yield _one_of("maas_init_container_level", "1 for its level.", CONTAINER_LEVELS, status["level"])
        yield _one_of(
            "maas_init_pxe_ready", "1 for whether machines can boot from here.", pxe.WORDS, status["pxe"]["ready"]
        )
        written = calendar.timegm(time.strptime(status["time"], "%Y-%m-%dT%H:%M:%SZ"))
        yield GaugeMetricFamily("maas_init_status_timestamp_seconds", "When the status was written.", written)
        level = GaugeMetricFamily(
            "maas_init_service_level", "1 for the level of a service or check.", labels=["service", "level"]
        )
        wanted = _per_service("maas_init_service_wanted", "1 if a service should run.")
        process = _per_service("maas_init_service_uptime_seconds", "Since when its process has been seen to run.")
        failed = _per_service("maas_init_service_failures_in_a_row", "Since it last ran well for a while.")
        restarts = CounterMetricFamily(
            "maas_init_service_restarts", "New processes since the listener began.", labels=["service"]
        )
        good = _per_service("maas_init_check_success", "1 if the last answer was good.")
        seconds = _per_service("maas_init_check_duration_seconds", "How long the last answer took.")
        for name, each in services.items():
            for value in LEVELS:
                level.add_metric([name, value], float(value == each["level"]))
            wanted.add_metric([name], each["desired"]["on"])
            failed.add_metric([name], each["failed"])
            restarts.add_metric([name], each["restarts"])
            if each["pid"]:
                process.add_metric([name], status["uptime"] - each["since"])
            if each["check"]:
                good.add_metric([name], each["check"]["ok"])
                seconds.add_metric([name], each["check"]["seconds"])
        yield from (level, wanted, process, failed, restarts, good, seconds)


def _per_service(name: str, told: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, told, labels=["service"])


def _one_of(name: str, told: str, values: Iterable[str], found: str) -> GaugeMetricFamily:
    label = name.rpartition("_")[2]
    family = GaugeMetricFamily(name, told, labels=[label])
    for value in values:
        family.add_metric([value], float(value == found))
    return family
