"""The page on port 5240 while MAAS does not answer: from what the status file says, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

HEADINGS = {
    "starting": "MAAS is starting",
    "stopping": "MAAS is stopping",
    "unhealthy": "MAAS does not answer",
}

FIRST: Mapping[str, Any] = {"level": "starting", "summary": "the first steps are being taken", "services": {}}
"""What is known before the health listener runs."""

ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
"""html.escape would bring the names of two thousand characters into process 1 and keep them there."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #56565a; --paper: #fff; --line: #d0d0d4; --mark: #a8390e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f2f2f4; --soft: #b4b4ba; --paper: #18181b; --line: #44444a; --mark: #ff9466; }
}
body { margin: 0 auto; max-width: 46rem; padding: 2rem 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.75rem; margin: 0 0 .5rem; }
p { margin: .25rem 0 1rem; overflow-wrap: anywhere; }
progress { width: 100%; height: .75rem; accent-color: var(--mark); }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .25rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .5rem .35rem 0; border-top: 1px solid var(--line);
  overflow-wrap: anywhere; }
th { font-weight: 600; }
.unwell, .down { color: var(--mark); font-weight: 600; }
.soft { color: var(--soft); font-size: .9rem; }
"""

# Asks as a browser would. Anything but 503 is MAAS itself: then the whole page gives way to it.
SCRIPT = """
setInterval(async () => {
  try {
    const answer = await fetch("/MAAS/api/2.0/version/", {cache: "no-store", headers: {Accept: "text/html"}});
    if (answer.status !== 503) { location.reload(); return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const now of document.querySelectorAll("[id]")) {
      const next = fresh.getElementById(now.id);
      if (next && next.innerHTML !== now.innerHTML) now.innerHTML = next.innerHTML;
    }
    document.title = fresh.title;
  } catch { /* nobody answers just now: ask again */ }
}, 1000);
"""


def pages(status: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts by the names that nginx knows."""
    return {"starting.html": html(status), "starting.json": as_json(status)}


def html(status: Mapping[str, Any]) -> str:
    """Return the page for people. It asks for itself again, with and without scripts, until MAAS answers."""
    heading = _heading(status)
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<title>{heading}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1 id="heading">{heading}</h1>
<p id="summary" role="status">{escape(status["summary"])}</p>
<div id="progress">{_bar(status.get("progress"))}</div>
<table>
<caption>What runs in this container</caption>
<thead><tr><th scope="col">Service</th><th scope="col">State</th><th scope="col">Why</th></tr></thead>
<tbody id="services">
{_rows(status["services"])}</tbody>
</table>
<p class="soft">This page turns into MAAS by itself. More is told by <code>docker logs</code> and
<code>maas-init status</code>.</p>
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def as_json(status: Mapping[str, Any]) -> str:
    """Return the same for programs."""
    told = {
        "error": _heading(status),
        **{key: status.get(key) for key in ("level", "summary", "progress")},
        "services": {name: service["level"] for name, service in status["services"].items()},
    }
    return json.dumps(told) + "\n"


def escape(text: str) -> str:
    """Return text that HTML shows as it is."""
    return text.translate(ESCAPES)


def _heading(status: Mapping[str, Any]) -> str:
    return HEADINGS.get(status["level"], HEADINGS["starting"])


def _bar(progress: Mapping[str, Any] | None) -> str:
    if not progress or not progress.get("total"):
        return ""
    done, total = int(progress["done"]), int(progress["total"])
    label = escape(progress["step"])
    return f'<progress aria-label="{label}" value="{done}" max="{total}">{done} of {total}</progress>'


def _rows(services: Mapping[str, Any]) -> str:
    rows = []
    for name, service in services.items():
        if service["level"] == "off":
            continue
        level = escape(service["level"])
        rows.append(
            f'<tr><th scope="row">{escape(service["description"] or name)}</th>'
            f'<td class="{level}">{level}</td><td>{escape(service["because"])}</td></tr>\n'
        )
    return "".join(rows)
