"""The page on port 5240 while MAAS does not answer: from what the status file says, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import page

HEADINGS = {
    "starting": "MAAS is starting",
    "stopping": "MAAS is stopping",
    "unhealthy": "MAAS does not answer",
}

FIRST: Mapping[str, Any] = {"level": "starting", "summary": "the first steps are being taken", "services": {}}
"""What is known before the health listener runs."""

# Asks as a browser would. Anything but 503 is MAAS itself: then the whole page gives way to it.
SCRIPT = f"""{page.REPLACE}
setInterval(async () => {{
  try {{
    const answer = await fetch("/MAAS/api/2.0/version/", {{cache: "no-store", headers: {{Accept: "text/html"}}}});
    if (answer.status !== 503) {{ location.reload(); return; }}
    replace(await answer.text());
  }} catch {{ /* nobody answers just now: ask again */ }}
}}, 1000);
"""


def pages(status: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts by the names that nginx knows."""
    return {"starting.html": html(status), "starting.json": as_json(status)}


def html(status: Mapping[str, Any]) -> str:
    """Return the page for people. It asks for itself again, with and without scripts, until MAAS answers."""
    heading = _heading(status)
    main = f"""\
<h1 id="heading">{heading}</h1>
<p id="summary" role="status">{page.escape(status["summary"])}</p>
<div id="progress">{page.bar(status.get("progress"))}</div>
<table>
<caption>What runs in this container</caption>
<thead><tr><th scope="col">Service</th><th scope="col">State</th><th scope="col">Why</th></tr></thead>
<tbody id="services">
{_rows(status["services"])}</tbody>
</table>
<p class="soft">This page turns into MAAS by itself. More is told by <code>docker logs</code> and
<code>maas-init status</code>.</p>
"""
    return page.frame(heading, main, script=SCRIPT, again_in=5)


def as_json(status: Mapping[str, Any]) -> str:
    """Return the same for programs."""
    told = {
        "error": _heading(status),
        **{key: status.get(key) for key in ("level", "summary", "progress")},
        "services": {name: service["level"] for name, service in status["services"].items()},
    }
    return json.dumps(told) + "\n"


def _heading(status: Mapping[str, Any]) -> str:
    return HEADINGS.get(status["level"], HEADINGS["starting"])


def _rows(services: Mapping[str, Any]) -> str:
    rows = []
    for name, service in services.items():
        if service["level"] == "off":
            continue
        level = page.escape(service["level"])
        rows.append(
            f'<tr><th scope="row">{page.escape(service["description"] or name)}</th>'
            f'<td class="short {level}">{level}</td><td>{page.escape(service["because"])}</td></tr>\n'
        )
    return "".join(rows)
