"""What makes a shell complete `maas-init`'s verbs, options and services: a script for each shell, made from the verbs.

The names are written into the script: completing asks nobody, and works in a container that is unwell.
"""

from __future__ import annotations

from pathlib import Path

from . import lastwords, services
from .verbs import VERBS, Verb


def script(shell: str, service_files: tuple[Path, ...]) -> str:
    """Return the script for `shell`, with the services of these files."""
    make = {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]
    return make({name: _words(name, verb, service_files) for name, verb in VERBS.items() if not verb.internal})


def _words(name: str, verb: Verb, service_files: tuple[Path, ...]) -> list[str]:
    """Return what may follow a verb."""
    words = [name for argument in verb.arguments for name in argument.names if argument.is_option]
    words += [choice for argument in verb.arguments for choice in argument.choices]
    if any(argument.services for argument in verb.arguments):
        found = [each for file in services.service_files(*service_files) for each in services.read_file(file)]
        # What is only watched can be explained and not started.
        words += [each.name for each in found if name == "why" or not each.watched_only]
        words += [lastwords.CONTAINER] * (name == "why")
    return words


def _bash(words: dict[str, list[str]]) -> str:
    cases = [f"        {name}) words='{' '.join(after)}' ;;" for name, after in words.items() if after]
    return "\n".join(
        [
            "# bash completion for maas-init, printed by `maas-init completion bash`",
            "_maas_init() {",
            f"    local words='{' '.join(words)} --help --version'",
            '    if [ "$COMP_CWORD" -gt 1 ]; then',
            '        case "${COMP_WORDS[1]}" in',
            *cases,
            "        *) words= ;;",
            "        esac",
            "    fi",
            '    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
            "}",
            "complete -o default -F _maas_init maas-init",
            "",
        ]
    )


def _zsh(words: dict[str, list[str]]) -> str:
    cases = [f"    {name}) compadd -- {' '.join(after)} ;;" for name, after in words.items() if after]
    return "\n".join(
        [
            "#compdef maas-init",
            "# zsh completion for maas-init, printed by `maas-init completion zsh`",
            "_maas-init() {",
            "    if (( CURRENT == 2 )); then",
            "        local -a verbs=(",
            *(f"            {_quoted(f'{name}:{VERBS[name].meaning}')}" for name in words),
            "        )",
            "        _describe verb verbs",
            "        return",
            "    fi",
            '    case "$words[2]" in',
            *cases,
            "    *) _files ;;",
            "    esac",
            "}",
            'if [ "$funcstack[1]" = _maas-init ]; then _maas-init "$@"; else compdef _maas-init maas-init; fi',
            "",
        ]
    )


def _fish(words: dict[str, list[str]]) -> str:
    lines = ["# fish completion for maas-init, printed by `maas-init completion fish`"]
    for name, after in words.items():
        meaning = _quoted(VERBS[name].meaning)
        lines.append(f"complete -c maas-init -n __fish_use_subcommand -a {name} -d {meaning}")
        if after:
            lines.append(f"complete -c maas-init -n '__fish_seen_subcommand_from {name}' -a '{' '.join(after)}'")
    return "\n".join([*lines, ""])


def _quoted(text: str) -> str:
    """Return `text` as one word of a shell: an apostrophe is the one thing that zsh and fish quote differently."""
    return "'" + text.replace("'", "`") + "'"
