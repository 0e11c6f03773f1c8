"""Our services as Pebble tells of them: the plan, rendered from the service files, and the checks.

There is a check for every service and one for whatever is only watched; it is up when that is ready
(docs/reference/pebble.md).
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from typing import Any

from ..health import Level, State
from ..services import Action, Catalogue, Check, Service


def render(catalogue: Catalogue) -> str:
    """Return the plan as YAML; keys without a value are left out, as in Pebble's."""
    import yaml  # seldom asked for, and every service waits for the listener's start

    programs = _programs(catalogue)
    ordered = sorted(catalogue.services, key=lambda service: service.name)
    plan = {
        "services": {
            each.name: _service(each, programs[each.name], catalogue) for each in ordered if not each.watched_only
        },
        "checks": {each.name: _check(each) for each in ordered},
    }
    return yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, width=1000)


def _programs(catalogue: Catalogue) -> Mapping[str, Mapping[str, str]]:
    # As services.py reads them: %(ENV_NAME)s is supervisord's to expand.
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read(catalogue.files, encoding="utf-8")
    return {title.partition(":")[2]: parser[title] for title in parser if title.startswith("program:")}


def _service(service: Service, program: Mapping[str, str], catalogue: Catalogue) -> dict[str, Any]:
    needs = [name for name in (*service.requires, *service.binds_to) if not catalogue[name].watched_only]
    told = {
        "summary": service.description,
        "startup": startup(service),
        "override": "replace",
        "command": program.get("command", ""),
        "after": list(dict.fromkeys(needs)),
        "requires": list(dict.fromkeys(needs)),
        "on-success": "ignore" if service.oneshot else "restart",
        "on-failure": service.on_failure.value,
        "on-check-failure": {}
        if service.on_check_failure is Action.IGNORE
        else {service.name: service.on_check_failure.value},
        "kill-delay": f"{program['stopwaitsecs']}s" if "stopwaitsecs" in program else "",
    }
    return {key: value for key, value in told.items() if value}


def _check(service: Service) -> dict[str, Any]:
    check = service.check
    told: dict[str, Any] = {"override": "replace", "level": level(service), "threshold": threshold(service)}
    if check:
        told |= {"period": f"{check.every:g}s", "timeout": f"{check.within:g}s", **_question(check)}
    return {key: value for key, value in told.items() if value}


def _question(check: Check) -> dict[str, Any]:
    """Return the two kinds of question that Pebble has a word for."""
    if check.kind == "http":
        return {"http": {"url": check.arguments[0]}}
    if check.kind == "tcp":
        return {"tcp": {"host": check.arguments[0], "port": int(check.arguments[1])}}
    return {}


def startup(service: Service) -> str:
    return "disabled" if service.on_request else "enabled"


def level(service: Service) -> str:
    """Return the check's level: without what is critical the container is not ready; the rest has none."""
    return "ready" if service.critical else ""


def threshold(service: Service) -> int:
    return service.check.threshold if service.check else 1


def is_down(state: State, how: Level) -> bool:
    """Whether the check fails: what is off on purpose does not, unless the container is not ready without it."""
    return how is not Level.READY and (how is not Level.OFF or state.service.critical)


def check_info(state: State, how: Level) -> dict[str, Any]:
    """Return how the check of a service, or of what is only watched, is.

    `startup` and `change-id` are left out, as by a Pebble without changes for checks: a client that finds one of them
    takes the check for stopped.
    """
    down = is_down(state, how)
    status = "down" if down else "up" if how is Level.READY else "inactive"
    told: dict[str, Any] = {"name": state.service.name, "status": status, "threshold": threshold(state.service)}
    if state.service.critical:
        told["level"] = level(state.service)
    if state.service.check:
        return told | {"successes": state.health.successes, "failures": state.health.failures}
    return told | {"successes": int(status == "up"), "failures": int(down)}
