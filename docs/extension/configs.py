"""What conf/ and the signatures say of each key: default, type, range, comment."""

import re
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin

import yaml
from omegaconf import DictConfig, OmegaConf
from pydantic import AfterValidator, BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticCustomError

from kidasr.config.schema import PLUGIN_SCHEMAS, Settings
from kidasr.config.signature import TargetError, is_plain, parameters
from kidasr.installation import CONF

#: Keys that need no comment of their own: Hydra's, and what a corpus says about itself.
EXPLAINED_ELSEWHERE = ("hydra.", "corpus.about.", "data.fields.", "corpus.columns.")


@dataclass(frozen=True)
class Setting:
    """A key as a config file sets it."""

    key: str
    value: str
    comment: str
    #: Such as ``integer, at least 0``; empty if it isn't known.
    type: str


def groups() -> list[str]:
    """The config groups, with those of Hydra that kidasr has choices for."""
    found = {path.parent.relative_to(CONF).as_posix() for path in CONF.glob("*/*.yaml")}
    return sorted((found - {"local"}) | {"hydra/launcher", "hydra/sweeper"})


def choices(group: str) -> list[str]:
    """The choices of a group, ``none`` first."""
    return sorted((path.stem for path in (CONF / group).glob("*.yaml")), key=lambda name: (name != "none", name))


def chain(group: str, choice: str) -> list[str]:
    """A config file and those of its group that it is based on, by their paths below conf/."""
    path = f"{group}/{choice}"
    defaults = _load(path).get("defaults") or []
    based_on = [one for one in defaults if isinstance(one, str) and one != "_self_" and "/" not in one]
    return list(dict.fromkeys([path, *(other for one in based_on for other in chain(group, one))]))


def about(path: str) -> str:
    """The comment with which a config file begins, without its directives."""
    lines = []
    for line in (CONF / f"{path}.yaml").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line[1:].strip())
    return "\n".join(lines)


def targets(path: str) -> list[str]:
    """What the file and those that it is based on instantiate."""
    return list(dict.fromkeys(re.findall(r"_target_: (kidasr\S+)", _text(path))))


def settings(path: str) -> list[Setting]:
    """The keys that a config file sets."""
    text = (CONF / f"{path}.yaml").read_text(encoding="utf-8")
    lines = text.splitlines()
    group = path.rpartition("/")[0]
    prefix = "" if "# @package _global_" in text or not group else group.replace("/", ".") + "."
    composed = _composed(path)
    found: list[Setting] = []

    def walk(node: yaml.Node, prefix: str, of_parent: str = "") -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        shared, last = "", -2
        for key, value in node.value:
            line, name = key.start_mark.line, f"{prefix}{key.value}"
            comment = _comment(lines, line)
            if not comment and line == last + 1:  # in a row of keys under one comment
                comment = shared
            comment = comment or of_parent
            shared, last = comment, value.end_mark.line if value.end_mark.column else value.end_mark.line - 1
            if key.value in ("_target_", "_convert_", "defaults") or name == "job":
                continue
            if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
                walk(value, f"{name}.", _comment(lines, line))
                continue
            shown = text[value.start_mark.index : value.end_mark.index].strip()
            found.append(Setting(name, shown, comment, _type(name, composed)))

    walk(yaml.compose(text), prefix)
    return found


@cache
def explained() -> dict[str, str]:
    """The comment of each key, from the first file that has one."""
    found: dict[str, str] = {}
    for path in _paths():
        for one in settings(path):
            if one.comment:
                found.setdefault(one.key, one.comment)
    return found


def undocumented() -> list[str]:
    """Keys without a comment in any file."""
    return sorted(
        f"conf/{path}.yaml: {one.key}"
        for path in _paths()
        for one in settings(path)
        if one.key not in explained() and one.value != "{}" and not one.key.startswith(EXPLAINED_ELSEWHERE)
    )


def _paths() -> list[str]:
    return ["config", *(f"{group}/{choice}" for group in groups() for choice in choices(group))]


def _comment(lines: list[str], number: int) -> str:
    """The comment above a line, or else behind it."""
    above: list[str] = []
    for line in reversed(lines[:number]):
        if not line.strip().startswith("#"):
            break
        above.insert(0, line.strip()[1:].strip())
    if number == len(above):  # the file's own
        above = []
    behind = re.search(r"\s#\s(.*)$", lines[number])
    return " ".join(above) or (behind[1] if behind else "")


def _text(path: str) -> str:
    group, _, choice = path.rpartition("/")
    return "\n".join((CONF / f"{one}.yaml").read_text(encoding="utf-8") for one in reversed(chain(group, choice)))


def _load(path: str) -> DictConfig:
    content = OmegaConf.load(CONF / f"{path}.yaml")
    return content if isinstance(content, DictConfig) else OmegaConf.create()


@cache
def _composed(path: str) -> dict[str, Any]:
    """The file on top of those that it is based on, unresolved and at its place in the config."""
    group, _, choice = path.rpartition("/")
    merged = OmegaConf.create()
    for one in reversed(chain(group, choice) if group else [path]):
        content = _load(one)
        content.pop("defaults", None)
        text = (CONF / f"{one}.yaml").read_text(encoding="utf-8")
        if "# @package _global_" not in text and group:
            for part in reversed(group.split("/")):
                content = OmegaConf.create({part: content})
        merged = OmegaConf.merge(merged, content)
    return OmegaConf.to_container(merged)  # type: ignore[return-value]


def _type(key: str, composed: dict[str, Any]) -> str:
    annotation = _annotation(key.split("."), composed)
    return describe(annotation) if annotation is not None else ""


def _annotation(parts: list[str], composed: dict[str, Any]) -> Any:
    """The annotation of a key: of the signature of the target above it, or of a schema."""
    for place in ("hydra.launcher", "hydra.sweeper"):
        if ".".join(parts[:2]) == place:
            name = str(composed["hydra"][place[6:]].get("_target_")).rpartition(".")[2]
            return _field(PLUGIN_SCHEMAS[place].get(name), parts[2:])
    node: Any = composed
    for depth, part in enumerate(parts):
        if isinstance(node, dict) and "_target_" in node:
            return _parameter(node["_target_"], parts[depth:])
        node = node.get(part) if isinstance(node, dict) else None
    job = composed.get("job", {}).get("_target_", "kidasr.jobs.train.Train")
    return _parameter(job, parts) or _field(Settings, parts)


def _parameter(target: str, parts: list[str]) -> Any:
    try:
        one = parameters(target).get(parts[0])
    except TargetError:
        return None
    if one is None:
        return None
    return one.annotation if len(parts) == 1 else _field(one.annotation, parts[1:])


def _field(model: Any, parts: list[str]) -> Any:
    if not (isinstance(model, type) and issubclass(model, BaseModel)) or not parts or parts[0] not in model.model_fields:
        return None
    field = model.model_fields[parts[0]]
    if len(parts) > 1:
        return _field(field.annotation, parts[1:])
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def describe(annotation: Any) -> str:
    """A type in words: ``integer, at least 0``, ``one of: a, b``, ``list of (number)``; empty if it isn't plain."""
    if not is_plain(annotation) or annotation is Any:
        return ""
    if span := _span(annotation):
        return span
    try:
        schema = TypeAdapter(annotation).json_schema()
    except PydanticUserError:  # a validator without a schema
        return ""
    return _words(schema, schema.get("$defs", {}))


def _span(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        for one in get_args(annotation)[1:]:
            if isinstance(one, AfterValidator):
                try:
                    one.func([])  # type: ignore[call-arg]
                except PydanticCustomError as error:
                    return error.message().removeprefix("should be ")
                except (TypeError, ValueError):  # it checks something else than a list
                    continue
    return ""


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


_TYPES = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def _words(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in schema:
        return "a group of keys"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_words(one, definitions) for one in schema["anyOf"]))
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        return "one of: " + ", ".join(map(str, schema["enum"]))
    kind = schema.get("type")
    if kind == "array":
        of = _words(schema["items"], definitions) if schema.get("items") else ""
        return f"list of ({of})" if of else "list"
    if kind == "object":
        return "mapping"
    bounds = [
        f"{word} {_number(schema[name])}"
        for name, word in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if name in schema
    ]
    return ", ".join([_TYPES.get(str(kind), ""), *bounds]) if kind else ""
