"""The page on our own port: from what the status file says, how everything is and whether machines can boot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import loglines, page, pxe
from .services import without

HEADINGS = {
    "starting": "MAAS is starting",
    "healthy": "MAAS is healthy",
    "degraded": "MAAS works, but not all of it",
    "unhealthy": "MAAS does not work",
    "stopping": "MAAS is stopping",
}

SCRIPT = f"""{page.REPLACE}
setInterval(async () => {{
  try {{
    const answer = await fetch("/", {{cache: "no-store"}});
    if (answer.ok) replace(await answer.text());
    document.getElementById("lost").hidden = answer.ok;
  }} catch {{ document.getElementById("lost").hidden = false; }}
}}, 2000);
"""


def html(status: Mapping[str, Any]) -> str:
    """Return the page. It asks for itself again, with and without scripts."""
    heading = HEADINGS[status["level"]]
    start = _start(status["services"], status["ready_at"])
    main = f"""\
<h1 id="heading">{heading}</h1>
<p id="summary" role="status">{page.escape(status["summary"])}</p>
<p id="lost" class="down" role="alert" hidden>This is the last that was heard: nobody answers any more.</p>
<div id="progress">{page.bar(status["progress"])}</div>
<h2>Can machines boot over the network?</h2>
<div id="pxe">{_pxe(status["pxe"])}</div>
<div id="images">{_images(status["images"])}</div>
<h2>Services</h2>
{_table("services", "Services and checks", "Service|State|For|Last answer|Took|Restarts|Wanted", _services(status))}
<h2>Missing rights</h2>
<div id="missing">{_missing(status["services"])}</div>
<h2>The start</h2>
{_table("start", "When each was started and ready", "Service|Started|Ready|", start)}
<h2>What happened last</h2>
{_table("events", "The newest first", "Time|Event", _events(status["events"]))}
<p class="soft">As of <span id="time">{page.escape(status["time"])}</span>. For programs:
<a href="/status.json">status.json</a>, <a href="/metrics">metrics</a>. More is told by <code>maas-init why NAME</code>
and <code>maas-init doctor</code>.</p>
"""
    return page.frame(heading, main, script=SCRIPT, again_in=10)


def _pxe(found: Mapping[str, Any]) -> str:
    level = "down" if found["ready"] == pxe.NO else ""
    reasons = "".join(f"<li>{page.escape(reason)}</li>\n" for reason in found["reasons"])
    return f'<p class="{level}">{pxe.WORDS[found["ready"]]}</p>\n' + (f"<ul>\n{reasons}</ul>\n" if reasons else "")


def _images(found: Mapping[str, int] | None) -> str:
    if not found:
        return ""
    done = {"step": "boot images", "done": found["megabytes"], "total": found["of_megabytes"]}
    return f"<p>{page.escape(pxe.import_in_words(found))}</p>\n{page.bar(done)}"


def _table(name: str, caption: str, columns: str, rows: str) -> str:
    """Return a table that scrolls by itself where it is too wide, also with the keyboard."""
    heads = "".join(f'<th scope="col">{each}</th>' if each else "<td></td>" for each in columns.split("|"))
    return f"""\
<div class="wide" tabindex="0" role="region" aria-label="{caption}">
<table>
<caption>{caption}</caption>
<thead><tr>{heads}</tr></thead>
<tbody id="{name}">
{rows}</tbody>
</table>
</div>"""


def _row(name: str, *cells: str) -> str:
    return f'<tr><th scope="row">{page.escape(name)}</th>{"".join(cells)}</tr>\n'


def _cell(text: object, style: str = "") -> str:
    kind = f' class="{page.escape(style)}"' if style else ""
    return f"<td{kind}>{page.escape(str(text))}</td>"


def _services(status: Mapping[str, Any]) -> str:
    rows = []
    for name, each in status["services"].items():
        check, desired = each["check"], each["desired"]
        rows.append(
            _row(
                f"{name}: {each['description']}" if each["description"] else name,
                _cell(each["level"], f"short {each['level']}"),
                _cell(loglines.ago(int(status["uptime"] - each["since"])), "short"),
                _cell(each["because"]),
                _cell(f"{check['seconds'] * 1000:.1f} ms" if check else "", "short"),
                _cell(each["restarts"] or ""),
                _cell(f"{'on' if desired['on'] else 'off'}, by {desired['owner']}: {desired['reason']}"),
            )
        )
    return "".join(rows)


def _missing(services: Mapping[str, Any]) -> str:
    told = without(services)
    if not told:
        return "<p>none</p>\n"
    return "<ul>\n" + "".join(f"<li>{page.escape(each)}</li>\n" for each in told) + "</ul>\n"


def _start(services: Mapping[str, Any], ready_at: float | None) -> str:
    """Return a row for each that came up until everything was well, with a bar from its start to its first answer."""
    known = [
        (each["boot"]["started"], each["boot"]["ready"], name)
        for name, each in services.items()
        if each["boot"] and (ready_at is None or each["boot"]["started"] <= ready_at)
    ]
    if not known:
        return ""
    first = min(started for started, _, _ in known)
    last = max([ready for _, ready, _ in known if ready is not None], default=first)
    whole = max(last - first, 0.001)
    rows = []
    for started, ready, name in sorted(known, key=lambda each: (each[0], each[2])):
        begin, end = started - first, (last if ready is None else ready) - first
        left, width = 100 * begin / whole, max(100 * (end - begin) / whole, 0.5)
        bar = f'<td class="timeline"><span style="margin-left:{left:.1f}%;width:{width:.1f}%"></span></td>'
        told = (f"{begin:.1f} s", "" if ready is None else f"{end:.1f} s")
        rows.append(_row(name, *(_cell(each, "short") for each in told), bar))
    return "".join(rows)


def _events(events: list[Mapping[str, str]]) -> str:
    return "".join(
        _row(each["time"][:19].replace("T", " "), _cell(each["text"], "down" if each["level"] == "error" else ""))
        for each in reversed(events)
    )
