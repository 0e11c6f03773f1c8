"""What our pages have in common: a frame that needs nothing from elsewhere, light and dark, also on a phone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
"""html.escape would bring the names of two thousand characters into process 1 and keep them there."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #56565a; --paper: #fff; --line: #d0d0d4; --mark: #a8390e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f2f2f4; --soft: #b4b4ba; --paper: #18181b; --line: #44444a; --mark: #ff9466; }
}
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.75rem; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 1.5rem 0 .5rem; }
a { color: inherit; }
p { margin: .25rem 0 1rem; overflow-wrap: anywhere; }
progress { width: 100%; height: .75rem; accent-color: var(--mark); }
table { width: 100%; border-collapse: collapse; font-size: .9rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .25rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-top: 1px solid var(--line); }
td { overflow-wrap: anywhere; }
th { font-weight: 600; }
thead th, td.short { white-space: nowrap; overflow-wrap: normal; }
.unwell, .down { color: var(--mark); font-weight: 600; }
.wide { overflow-x: auto; }
.wide table { min-width: 44rem; }
.timeline { min-width: 12rem; }
.timeline span { display: block; height: .75rem; margin-top: .35rem; background: var(--mark); }
.soft { color: var(--soft); font-size: .9rem; }
"""


def frame(title: str, main: str, *, script: str, again_in: int) -> str:
    """Return a page with `main`, which is HTML; without scripts it asks for itself again after `again_in` seconds."""
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<noscript><meta http-equiv="refresh" content="{again_in}"></noscript>
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{main}</main>
<script>{script}</script>
</body>
</html>
"""


REPLACE = """
const replace = text => {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const now of document.querySelectorAll("[id]")) {
    const next = fresh.getElementById(now.id);
    if (next && next.innerHTML !== now.innerHTML) now.innerHTML = next.innerHTML;
  }
  document.title = fresh.title;
};
"""
"""Puts what a fresh copy of the page says into the one that is shown: nothing blinks, nothing is read out twice."""


def escape(text: str) -> str:
    """Return text that HTML shows as it is."""
    return text.translate(ESCAPES)


def bar(progress: Mapping[str, Any] | None) -> str:
    """Return how far long work is; nothing where nobody knows."""
    if not progress or not progress.get("total"):
        return ""
    done, total = int(progress["done"]), int(progress["total"])
    label = escape(progress["step"])
    return f'<progress aria-label="{label}" value="{done}" max="{total}">{done} of {total}</progress>'
