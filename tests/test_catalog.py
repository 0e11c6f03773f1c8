"""The form for TrueNAS's catalogue: whole, consistent, and with settings that the image can use.

What TrueNAS's own programs say of it, tests/tools/truenas-catalog shows. They are not here: a stand-in of their library
records what the template does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, StrictUndefined, nodes

from maas_init.settings import RACK_ALONE, ROLES, VARIABLES, Settings

ROOT = Path(__file__).parents[1]
CATALOG = ROOT / "deploy/truenas/catalog"
TEMPLATE = (CATALOG / "templates/docker-compose.yaml").read_text()
VALUES = sorted([*(CATALOG / "templates/test_values").iterdir(), *(ROOT / "tests/truenas").iterdir()])
TYPES = {"boolean", "dict", "hostpath", "int", "list", "string"}
"""Of the questions; TrueNAS has more."""
OF_THE_LIBRARY = {"TZ", "labels", "resources"}
"""Answers that TrueNAS's library reads by itself; what it reads besides, the template does as well."""
REFERENCES = {"definitions/timezone", "normalize/ix_volume"}
"""What TrueNAS completes in a question; one that it does not know, it passes over."""
Names = tuple[str, ...]
"""Of a question or value and what it is within, from the outermost on."""


def read(name: str) -> Any:
    return yaml.safe_load((CATALOG / name).read_text())


APP, FIXED, FORM = read("app.yaml"), read("ix_values.yaml"), read("questions.yaml")
CUSTOM_APP = yaml.safe_load((ROOT / "deploy/truenas/maas.yaml").read_text())
MAAS = CUSTOM_APP["services"]["maas"]


# The template


class StandIn:
    """Stands in for TrueNAS's library and all that is in it: takes every call and remembers it by its path."""

    def __init__(self, calls: list[tuple[str, tuple[Any, ...]]], path: str) -> None:
        self._calls, self._path = calls, path

    def __getattr__(self, name: str) -> StandIn:
        return StandIn(self._calls, f"{self._path}.{name}")

    def __call__(self, *args: Any) -> StandIn:
        self._calls.append((self._path, args))
        return self


class Rendered:
    """What the template does with some values: `done("add_caps")` has the arguments of each such call."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = {**values, **FIXED}
        self._calls: list[tuple[str, tuple[Any, ...]]] = []
        # A value that is not there is an error here, and to TrueNAS an empty text.
        world = Environment(undefined=StrictUndefined, extensions=["jinja2.ext.do"])
        world.filters["tojson"] = lambda _: ""
        world.from_string(TEMPLATE).render(values=self.values, ix_lib=StandIn(self._calls, ""))

    def done(self, name: str) -> list[tuple[Any, ...]]:
        return [args for path, args in self._calls if path.endswith(f".{name}")]

    @property
    def environment(self) -> dict[str, str]:
        given = [
            *self.done("add_env"),
            *((each["name"], each["value"]) for (one,) in self.done("add_user_envs") for each in one),
        ]
        assert len(given) == len(dict(given)), "a variable is set twice"
        return {"TZ": self.values["TZ"]} | {name: str(value) for name, value in given}


@pytest.fixture(params=VALUES, ids=lambda file: file.stem)
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(request.param.read_text())
    return found


def assert_the_image_can_use(environment: dict[str, str], role: str) -> None:
    assert environment.keys() <= {variable.name for variable in VARIABLES} | {"TZ"}
    settings = Settings.from_environ(environment)
    assert settings.role == role
    if role in RACK_ALONE:
        assert settings.region_urls and settings.region_secret
    else:
        assert not settings.region().maas_url.is_local


def test_the_image_can_use_what_each_file_of_values_becomes(values: dict[str, Any]) -> None:
    assert_the_image_can_use(Rendered(values).environment, values["maas"]["role"])


def test_the_container_is_the_one_of_the_custom_app(values: dict[str, Any]) -> None:
    app = Rendered(values)
    assert app.done("add_container") == [("maas", "image")]
    assert f"{FIXED['images']['image']['repository']}:{FIXED['images']['image']['tag']}" == MAAS["image"]
    assert app.done("set_user") == [(568, 568)] and MAAS["user"] == "568:568"
    assert [sorted(caps) for (caps,) in app.done("add_caps")] == [sorted(MAAS["cap_add"])]
    assert app.done("set_read_only") == [(MAAS["read_only"],)]
    assert [f"{seconds}s" for (seconds,) in app.done("set_grace_period")] == [MAAS["stop_grace_period"]]
    assert app.done("remove_security_opt") == [("no-new-privileges",)] and "security_opt" not in MAAS
    assert app.done("healthcheck.use_built_in") and "healthcheck" not in MAAS
    mounted = {path: config["type"] for path, config in app.done("add_storage")}
    assert {path for path, kind in mounted.items() if kind == "tmpfs"} == set(MAAS["tmpfs"])
    assert {path for path, kind in mounted.items() if kind != "tmpfs"} == {
        each.split(":")[1] for each in MAAS["volumes"]
    }
    assert {owner["uid"] for *_, owner in app.done("add_or_skip_action")} == {568}, "new datasets belong to root"


def test_a_rack_does_not_call_itself_what_the_region_is_called() -> None:
    named = {file.stem: Rendered(yaml.safe_load(file.read_text())).done("set_hostname") for file in VALUES}
    assert named.pop("rack-values") == [] and all(name == [(MAAS["hostname"],)] for name in named.values())


def test_the_portals_are_those_of_the_custom_app(values: dict[str, Any]) -> None:
    shown = {
        (config["name"], port["port_number"], config.get("path", "/"))
        for port, config in Rendered(values).done("portals.add")
    }
    wanted = {(each["name"], each["port"], each["path"]) for each in CUSTOM_APP["x-portals"]}
    assert shown == {each for each in wanted if values["maas"]["role"] not in RACK_ALONE or each[0] != "MAAS"}


def test_without_the_hosts_network_the_ports_of_compose_are_published(values: dict[str, Any]) -> None:
    published = {(port["port_number"], port.get("protocol", "tcp")) for (port,) in Rendered(values).done("add_port")}
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["maas"]["ports"]
    wanted = set()
    for each in compose:
        inside, _, protocol = each.rpartition(":")[2].partition("/")
        first, _, last = inside.partition("-")
        wanted |= {(port, protocol or "tcp") for port in range(int(first), int(last or first) + 1)}
    assert published == (set() if values["network"]["host_network"] else wanted)


# The form


def questions(attrs: list[dict[str, Any]], above: Names = ()) -> Iterator[tuple[Names, dict[str, Any]]]:
    """Yield every question with its names, also those within others, but not those about the entries of a list."""
    for each in attrs:
        path = (*above, each["variable"])
        yield path, each
        yield from questions(each["schema"].get("attrs", []), path)


QUESTIONS = dict(questions(FORM["questions"]))


def test_every_question_is_one_that_truenas_can_ask() -> None:
    groups = [group["name"] for group in FORM["groups"]]
    assert {question["group"] for question in FORM["questions"]} == set(groups), "a group without questions, or unknown"

    def look(question: dict[str, Any]) -> None:
        schema = question["schema"]
        assert re.fullmatch("[a-z_]+|TZ", question["variable"]) and isinstance(question["label"], str)
        assert schema["type"] in TYPES
        choices = [choice["value"] for choice in schema.get("enum", [])]
        assert not choices or "default" not in schema or schema["default"] in choices
        assert re.compile(schema.get("valid_chars", "")), "it is no pattern"
        assert ("attrs" in schema) == (schema["type"] == "dict") and ("items" in schema) == (schema["type"] == "list")
        assert ("password" in question["variable"] or "secret" in question["variable"]) == schema.get("private", False)
        names = {each["variable"] for each in schema.get("attrs", [])}
        assert set(schema.get("$ref", [])) <= REFERENCES
        assert "normalize/ix_volume" not in schema.get("$ref", []) or "dataset_name" in names
        for each in [*schema.get("attrs", []), *schema.get("items", [])]:
            look(each)
            # TrueNAS compares with a question beside it, and with no other.
            assert {asked for asked, *_ in each["schema"].get("show_if", [])} <= names

    for question in FORM["questions"]:
        look(question)


def used() -> set[Names]:
    """Return every `values.x.y` of the template, as far as it goes."""
    found = set()
    tree = Environment(extensions=["jinja2.ext.do"]).parse(TEMPLATE)
    for node in tree.find_all(nodes.Getattr):
        path: list[str] = []
        inner: nodes.Expr = node
        while isinstance(inner, nodes.Getattr):
            path.insert(0, inner.attr)
            inner = inner.node
        if isinstance(inner, nodes.Name) and inner.name == "values":
            found.add(tuple(path))
    return {path for path in found if not any(other != path and other[: len(path)] == path for other in found)}


def test_the_template_uses_what_is_asked_or_fixed_and_nothing_else() -> None:
    fixed = {(above, name) for above, held in FIXED.items() for name in held}
    assert used() - QUESTIONS.keys() <= fixed


def test_the_template_uses_every_answer() -> None:
    """Or a part of it, or what it is a part of: then one is the beginning of the other."""
    there = used()
    unused = {path for path in QUESTIONS if not any(path[: len(each)] == each[: len(path)] for each in there)}
    assert {path for path in unused if path[0] not in OF_THE_LIBRARY} == set()


def test_the_template_uses_every_fixed_value() -> None:
    assert {("consts", name) for name in FIXED["consts"]} <= used()


def filled_in(attrs: list[dict[str, Any]], answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return what TrueNAS makes of a form in which only `answers` were given, by a question's name.

    What `show_if` hides is not there, and neither is what has no default and was not answered.
    """
    chosen = {each["variable"]: answers.get(each["variable"], each["schema"].get("default")) for each in attrs}
    found: dict[str, Any] = {}
    for each in attrs:
        name, schema = each["variable"], each["schema"]
        if any((chosen[asked] == value) is not (sign == "=") for asked, sign, value in schema.get("show_if", [])):
            continue
        if schema["type"] == "dict":
            found[name] = filled_in(schema["attrs"], answers)
        elif chosen[name] is not None:
            assert schema["type"] != "string" or re.match(schema.get("valid_chars", ""), chosen[name]), name
            found[name] = chosen[name]
        else:
            assert not schema.get("required"), f"{name} must be answered"
    return found


ANSWERS = {
    "url": "http://192.168.1.100:5240/MAAS",
    "admin_password": "a",
    "admin_email": "admin@example.com",
    "password": "a",
    "host": "192.168.1.2",
    "region_urls": "http://192.168.1.100:5240/MAAS",
}
"""To all that the form insists on and has no answer for."""


@pytest.mark.parametrize("database", ["embedded", "external"])
@pytest.mark.parametrize("role", ROLES)
def test_the_least_that_the_form_insists_on_is_enough(role: str, database: str) -> None:
    # A question is insisted on or not, for every role: only a rack cannot do without the secret.
    secret = {"region_secret": "00112233445566778899aabbccddeeff"} if role in RACK_ALONE else {}
    # `type` is the name of the question about the database and of those about volumes.
    storage = filled_in([question for question in FORM["questions"] if question["variable"] == "storage"], {})
    answers = ANSWERS | secret | {"role": role, "type": database}
    others = [question for question in FORM["questions"] if question["variable"] != "storage"]
    app = Rendered(storage | filled_in(others, answers))
    assert_the_image_can_use(app.environment, role)
    if role not in RACK_ALONE:
        settings = Settings.from_environ(app.environment).region()
        assert settings.database.embedded == (database == "embedded")
        assert app.done("add_port") == [], "machines that boot need the host's network"


def test_the_form_offers_every_role_and_names_the_settings_that_it_does_not_ask_for() -> None:
    role = QUESTIONS["maas", "role"]["schema"]
    assert {choice["value"] for choice in role["enum"]} == set(ROLES)
    named = set(re.findall(r"\b(?:MAAS|POSTGRES)_[A-Z_]+\b", (CATALOG / "questions.yaml").read_text()))
    assert named <= {variable.name for variable in VARIABLES}


def test_the_answers_of_the_files_are_those_that_the_form_takes(values: dict[str, Any]) -> None:
    def given(held: Mapping[str, Any], above: Names = ()) -> Iterator[tuple[Names, Any]]:
        for name, value in held.items():
            yield (*above, name), value
            if isinstance(value, dict):
                yield from given(value, (*above, name))

    # What TrueNAS adds by itself, and what only tests give.
    answers = {
        path: value for path, value in given(values) if path[0] != "ix_volumes" and path[-1] != "create_host_path"
    }
    assert answers.keys() <= QUESTIONS.keys()
    for path, value in answers.items():
        schema = QUESTIONS[path]["schema"]
        if isinstance(value, str):
            assert re.match(schema.get("valid_chars", ""), value), path
        assert "enum" not in schema or value in [choice["value"] for choice in schema["enum"]], path


# The app


def test_the_app_says_what_the_container_is() -> None:
    assert str(FIXED["images"]["image"]["tag"]).startswith(APP["app_version"]), "TrueNAS compares the two"
    assert sorted(each["name"] for each in APP["capabilities"]) == sorted(MAAS["cap_add"])
    (context,) = APP["run_as_context"]
    assert f"{context['uid']}:{context['gid']}" == MAAS["user"]
    assert (APP["name"], APP["train"]) == ("maas", "community")
    (containers,) = [each for each in FORM["questions"] if each["variable"] == "labels"]
    assert [each["value"] for each in _labelled(containers)] == [FIXED["consts"]["maas_container_name"]]


def _labelled(labels: dict[str, Any]) -> list[dict[str, Any]]:
    (label,) = labels["schema"]["items"]
    (containers,) = [each for each in label["schema"]["attrs"] if each["variable"] == "containers"]
    found: list[dict[str, Any]] = containers["schema"]["items"][0]["schema"]["enum"]
    return found


def test_the_item_repeats_the_app() -> None:
    wanted = {"categories": APP["categories"], "icon_url": APP.get("icon", ""), "screenshots": APP["screenshots"]}
    assert read("item.yaml") == wanted | {"tags": APP["keywords"]}
