"""Just enough of ISC's configuration language to edit named.conf.options."""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*|\#[^\n]*|/\*.*?\*/)|(?P<string>"[^"]*")|(?P<mark>[{};])|(?P<word>[^\s{};"]+)""",
    re.S | re.X,
)
Statement = list  # words (str), then perhaps a block (list of statements)


def parse(text: str) -> list[Statement]:
    tokens = [m[0] for m in _TOKEN.finditer(text) if m.lastgroup != "comment"]
    statements, end = _block(tokens, 0)
    if end != len(tokens):
        raise ValueError("unexpected }")
    return statements


def _block(tokens: list[str], at: int) -> tuple[list[Statement], int]:
    statements: list[Statement] = []
    words: Statement = []
    while at < len(tokens) and tokens[at] != "}":
        if tokens[at] == "{":
            inner, at = _block(tokens, at + 1)
            if at >= len(tokens):
                raise ValueError("a { is never closed")
            words.append(inner)
        elif tokens[at] == ";":
            if words:
                statements.append(words)
            words = []
        else:
            words.append(tokens[at])
        at += 1
    if words:
        raise ValueError(f"no ; after {words[0]}")
    return statements, at


def text(statements: list[Statement], indent: int = 0) -> str:
    lines = []
    for statement in statements:
        parts = [
            "{\n" + text(part, indent + 4) + " " * indent + "}" if isinstance(part, list) else part
            for part in statement
        ]
        lines.append(" " * indent + " ".join(parts) + ";\n")
    return "".join(lines)
