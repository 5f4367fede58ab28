"""The expressions of the declarative reader: Jinja's, sandboxed, over values instead of text.

An expression reads the fields of a row by name. It cannot reach Python's internals, files or random numbers, and a
field that is not there is an error instead of an empty value.
"""

import difflib
import json
import re
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import GeneratorType
from typing import Annotated, Any

from jinja2 import StrictUndefined, TemplateError, UndefinedError, nodes
from jinja2.parser import Parser
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import consume, missing
from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from pref_assets.pairs.readers.columns_functions import FILTERS, FUNCTIONS
from pref_assets.pairs.readers.record import BadRowError
from pref_assets.pairs.reading import json_type

Scope = dict[str, Any]
"""What an expression can name: fields of the row, joined tables, loop variables."""
Evaluate = Callable[[Scope], Any]

ROW, FILE = "row", "file"
"""Names that every expression has: the whole row, and the name of its file."""
_METHODS = frozenset({"get", "items", "keys", "values"})
_VALUE = "_value_"
"""Where a template leaves the value of its expression."""
_FUNCTION = "_function_"
"""Prefix of functions in the scope, so that a field of the same name hides none."""
_KEYWORDS = frozenset(
    {"true", "false", "none", "True", "False", "None", "and", "or", "not", "in", "is", "if", "else", ROW, FILE}
)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PLAIN = (dict, str, bool, int, float, type(None))
_SHOWN = 120


class _Missing(StrictUndefined):
    """A field that is not there: any use of it is an error that names it."""

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        if self._undefined_obj is missing:
            name = self._undefined_name
            return f"the row has no field `{name}` (text itself takes quotes: '{name}')"
        if isinstance(self._undefined_obj, (list, tuple)):
            return f"the list has no element `{self._undefined_name}`"
        kind = json_type(self._undefined_obj) if isinstance(self._undefined_obj, _PLAIN) else "value"
        return f"the {kind} has no field `{self._undefined_name}`"


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which ``x.name`` and ``x['name']`` of an object always mean its field."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict) and (attribute in obj or attribute not in _METHODS):
            return self.getitem(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if not isinstance(obj, dict):
            return super().getitem(obj, argument)
        try:
            return obj[argument]
        except (KeyError, TypeError):
            return self.undefined(obj=obj, name=argument)


def _environment() -> _Environment:
    environment = _Environment(undefined=_Missing)
    environment.globals.clear()
    del environment.filters["random"]
    environment.filters.update(FILTERS)
    return environment


_ENVIRONMENT = _environment()
_FUNCTIONS = {f"{_FUNCTION}{name}": function for name, function in FUNCTIONS.items()}


def scope_of(row: Scope, file: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """The scope of a row; ``names`` (the joined tables) hide fields of the same name."""
    return {**_FUNCTIONS, **row, **names, ROW: row, FILE: file}


def evaluate(source: str, scope: Scope, path: str) -> Any:
    """The value of an expression; the setting at ``path`` holds it.

    Raises:
        BadRowError: ``missing_field`` when it names what the row does not have, ``bad_expression`` when it fails for
            another reason, or what a function of it raises.
    """
    try:
        value = compiled(source)(scope)
        if isinstance(value, Undefined):
            raise UndefinedError(value._undefined_message)
        return list(value) if isinstance(value, GeneratorType) else value
    except UndefinedError as error:
        raise BadRowError("missing_field", f"{_where(path, source)}: {error}") from error
    except BadRowError as error:
        raise BadRowError(error.code, f"{_where(path, source)}: {error}") from error
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise BadRowError("bad_expression", f"{_where(path, source)}: {error}") from error


def _where(path: str, source: str) -> str:
    return f"`{path}: {source if len(source) <= _SHOWN else f'{source[:_SHOWN]}…'}`"


@lru_cache(maxsize=4096)
def compiled(source: str) -> Evaluate:
    """The function behind an expression. Raises ``ValueError`` that says what is wrong with it."""
    try:
        parser = Parser(_ENVIRONMENT, source, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise ValueError(f"expression `{source}`: cannot read on at {str(parser.stream.current)!r}")
        tree.set_environment(_ENVIRONMENT)
        _check_names(tree, source)
        return _direct(tree) or _template(tree)
    except TemplateError as error:
        said = str(error.message).replace("end of template", "end of the expression")
        raise ValueError(f"expression `{source}`: {said}") from error


def _check_names(tree: nodes.Expr, source: str) -> None:
    """Refuses functions, filters and tests that do not exist, and leads calls to the functions that do."""
    for call in [*tree.find_all(nodes.Call), *([tree] if isinstance(tree, nodes.Call) else [])]:
        if isinstance(call.node, nodes.Name) and not call.node.name.startswith(_FUNCTION):
            _check_known("function", call.node.name, FUNCTIONS, source)
            call.node.name = f"{_FUNCTION}{call.node.name}"
    for kind, known in ((nodes.Filter, _ENVIRONMENT.filters), (nodes.Test, _ENVIRONMENT.tests)):
        for node in [*tree.find_all(kind), *([tree] if isinstance(tree, kind) else [])]:
            _check_known(kind.__name__.lower(), node.name, known, source)


def _check_known(kind: str, name: str, known: Mapping[str, Any], source: str) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(sorted(known))}"
    raise ValueError(f"expression `{source}`: there is no {kind} `{name}` ({hint})")


def _direct(tree: nodes.Node) -> Evaluate | None:
    """A constant, a field, or a field of a field without a template, which takes ten times as long; else null."""
    if isinstance(tree, nodes.Const):
        value = tree.value
        return lambda scope: value
    if isinstance(tree, nodes.Name):
        return lambda scope, name=tree.name: scope[name] if name in scope else _Missing(name=name)  # type: ignore[misc]
    if isinstance(tree, nodes.Getattr) and (owner := _direct(tree.node)):
        return lambda scope, attribute=tree.attr: _ENVIRONMENT.getattr(owner(scope), attribute)  # type: ignore[misc]
    if isinstance(tree, nodes.Getitem) and (owner := _direct(tree.node)) and (key := _direct(tree.arg)):
        return lambda scope: _ENVIRONMENT.getitem(owner(scope), key(scope))
    if isinstance(tree, nodes.Concat):
        parts = [_direct(node) for node in tree.nodes]
        whole = [part for part in parts if part]
        return (lambda scope: "".join([str(part(scope)) for part in whole])) if len(whole) == len(parts) else None
    return None


def _template(tree: nodes.Expr) -> Evaluate:
    body: list[nodes.Node] = [nodes.Assign(nodes.Name(_VALUE, "store"), tree, lineno=1)]
    template = _ENVIRONMENT.from_string(nodes.Template(body, lineno=1))

    local = threading.local()

    def run(scope: Scope) -> Any:
        # A context costs three times what the expression does, so each thread keeps one.
        context = getattr(local, "context", None)
        if context is None:
            context = local.context = template.new_context({}, shared=True)
        context.parent = scope
        consume(template.root_render_func(context))
        return context.vars[_VALUE]

    return run


def _source(value: Any) -> Any:
    """A YAML number or boolean as the expression that means it."""
    if isinstance(value, (bool, int, float)):
        return literal(value)
    if isinstance(value, (dict, list)):
        raise ValueError("an expression is text; put it in quotes when it begins with [ or {")
    if value is None:
        raise ValueError("the expression is missing; null is written `none`")
    return value


def _listed(value: Any) -> Any:
    """The same, and a YAML list of values as itself."""
    return literal(value) if isinstance(value, list) else _source(value)


def literal(value: Any) -> str:
    """A plain value as the expression that means it. Raises ``ValueError`` for anything but JSON values."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(key)}: {literal(each)}' for key, each in value.items())}}}"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return json.dumps(value, ensure_ascii=False)
    raise ValueError(f"{value!r} is no plain value; put dates and the like in quotes")


def _check(source: str) -> str:
    compiled(source)
    return source


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name: letters, digits and underscores, a letter first")
    if name in _KEYWORDS:
        raise ValueError(f"{name!r} has a meaning of its own in expressions; choose another name")
    return name


Expression = Annotated[
    str, BeforeValidator(_source), AfterValidator(_check), WithJsonSchema({"type": ["string", "number", "boolean"]})
]
"""An expression over the fields of a row, checked when the file is loaded."""
ListExpression = Annotated[
    str, BeforeValidator(_listed), AfterValidator(_check), WithJsonSchema({"type": ["string", "array"]})
]
"""An expression that gives a list, or a list of plain values."""
VariableName = Annotated[str, AfterValidator(_check_name)]
"""A name that expressions can use."""
