"""The schema of a config group, taken from the signature of the class or function that its ``_target_`` names.

A key is declared once, as a parameter with its type and range (``steps: Annotated[int, Field(ge=-1)]``). This holds for
kidasr's classes and for a user's. Targets are imported to inspect them, so kidasr's own import nothing heavy until they run.
"""

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from kidasr.errors import KidasrError, truncate

#: Keys that ``hydra.utils.instantiate`` handles itself.
INSTANTIATE_KEYS = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")

#: Types that a config value can have.
PLAIN_TYPES = (bool, int, float, str, type(None), list, dict, tuple, Sequence, Mapping, Any)

#: Makes a message from the path of a key and pydantic's error about its value.
Report = Callable[[str, ErrorDetails], str]


class TargetError(KidasrError):
    """A ``_target_`` that can't be imported or is not callable."""


@cache
def load_target(target: str) -> Any:
    """Import the class or function that a ``_target_`` names.

    Raises:
        TargetError: With the reason, but without the key.
    """
    module_name, _, name = target.rpartition(".")
    if not module_name:
        raise TargetError(f"{target!r} has no module; expected: package.module.Class")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except AttributeError as error:
        raise TargetError(f"module {module_name} has no {name}") from error
    except Exception as error:  # a user's module can raise anything
        raise TargetError(f"{module_name} can't be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise TargetError(f"{target} is a {type(found).__name__}; expected: a class or a function")
    return found


def parameters(target: str) -> dict[str, inspect.Parameter]:
    """The parameters that a target accepts by name, with their annotations evaluated.

    Raises:
        TargetError: See :func:`load_target`.
    """
    found = load_target(target)
    of = found.__init__ if inspect.isclass(found) and found.__init__ is not object.__init__ else found
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # a builtin without a signature: accept anything
        return {}
    names = getattr(inspect.unwrap(of), "__globals__", {})
    return {
        name: one.replace(annotation=_evaluated(one.annotation, names))
        for name, one in signature.parameters.items()
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY, one.VAR_KEYWORD)
    }


def keys_of(target: str) -> list[str]:
    """The keys that a node with this target may have; empty if the target can't be imported."""
    try:
        return [name for name, one in parameters(target).items() if one.kind != one.VAR_KEYWORD]
    except TargetError:
        return []


@cache
def schema_of(target: str, only: frozenset[str] | None = None) -> type[BaseModel]:
    """The schema of a node with this target.

    Args:
        target: The node's ``_target_``.
        only: The parameters to include; None for all.
    """
    fields: dict[str, Any] = {}
    open_ended = False
    for place, (name, one) in enumerate(parameters(target).items()):
        if one.kind == one.VAR_KEYWORD:
            open_ended = True
        elif only is None or name in only:
            default = ... if one.default is one.empty else one.default
            # A field name that can't clash with pydantic's own attributes.
            fields[f"key{place}"] = (one.annotation if is_plain(one.annotation) else Any, Field(default, alias=name))
    extra: Literal["allow", "forbid"] = "allow" if open_ended or only is not None else "forbid"
    config = ConfigDict(extra=extra, strict=True, allow_inf_nan=False, protected_namespaces=())
    return create_model("Node", __config__=config, **fields)


def check_tree(path: str, node: Any, report: Report) -> Iterator[str]:
    """Check every node that has a ``_target_`` against the target's signature.

    Args:
        path: The node's path in the config.
        node: The node as plain values.
        report: Turns a pydantic error into a line.

    Yields:
        One line per mistake.
    """
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield from _check_target(path, node, report)
        for name, child in node.items():
            yield from check_tree(f"{path}.{name}", child, report)
    elif isinstance(node, list):
        for place, child in enumerate(node):
            yield from check_tree(f"{path}.{place}", child, report)


def _check_target(path: str, node: Mapping[str, Any], report: Report) -> Iterator[str]:
    target = node["_target_"]
    if not isinstance(target, str) or not target:
        yield f"{path}._target_={truncate(target)}: should be a class or a function, e.g. package.module.Class"
        return
    try:
        schema = schema_of(target)
    except TargetError as error:
        yield f"{path}._target_: {truncate(' '.join(str(error).split()))}"
        return
    values = {str(key): value for key, value in node.items() if key not in INSTANTIATE_KEYS}
    if node.get("_partial_"):
        schema = schema_of(target, frozenset(values))
    yield from violations(schema, values, path, report)


def violations(schema: type[BaseModel], values: Mapping[str, Any], path: str, report: Report) -> Iterator[str]:
    """One line per value that violates the schema."""
    try:
        schema.model_validate(dict(values))
    except ValidationError as error:
        seen = set()
        for detail in error.errors():
            key = ".".join(filter(None, [path, *_location(detail, values)]))
            if key not in seen:  # for a union, only the error of the first alternative
                seen.add(key)
                yield report(key, detail)


def _location(detail: ErrorDetails, values: Any) -> Iterator[str]:
    """The path of a value below its node, without pydantic's names for the alternatives of a union."""
    for part in detail["loc"]:
        is_key = isinstance(values, Mapping) and part in values
        if is_key or (isinstance(values, list) and isinstance(part, int)):
            values = values[part]
            yield str(part)
        elif detail["type"] == "missing" and part == detail["loc"][-1]:
            yield str(part)


def _evaluated(annotation: Any, names: Mapping[str, Any]) -> Any:
    """Evaluate an annotation that is a string; ``Any`` if that fails."""
    if annotation is inspect.Parameter.empty:
        return Any
    try:
        return eval(annotation, dict(names)) if isinstance(annotation, str) else annotation
    except Exception:  # a name imported only under TYPE_CHECKING
        return Any


def is_plain(annotation: Any) -> bool:
    """Whether a config value can have this type, so that it can be checked."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return is_plain(arguments[0])
    if origin is Literal:
        return True
    if origin in (Union, types.UnionType):
        return all(map(is_plain, arguments))
    if origin is not None:
        return origin in PLAIN_TYPES and all(one is ... or is_plain(one) for one in arguments)
    if isinstance(annotation, typing.TypeAliasType if hasattr(typing, "TypeAliasType") else ()):
        return is_plain(annotation.__value__)
    return annotation in PLAIN_TYPES or (inspect.isclass(annotation) and issubclass(annotation, BaseModel))
