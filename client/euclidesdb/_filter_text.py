"""Filters as short texts, with the syntax of Python's expressions.

    price < 10 and color == "red"       and, or, not, parentheses
    10 <= price < 20                    == != < <= > >=
    brand in ("a", "b")                 also not in
    "new" in tags                       a list with such an element
    size.width >= 3                     in a nested object
    digits.label == "7"                 what the model digits predicts
    exists(rating) and sold is None     with the one, without the other
    startswith(id(), "shoes/")          id() is the id of the item
    added >= date("2024-05-01")         a date, or a time: "2024-05-01T10:30+02:00"
    field("unit price") < 3             a name that Python cannot have

True, False and None may be written as true, false and null.

A text is parsed, never run: it becomes a syntax tree, of which a few kinds of nodes are known.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from euclidesdb import _checks as checks
from euclidesdb import _filter_messages as messages
from euclidesdb_protos.v1 import database_pb2 as pb

MAX_CHARACTERS: Final = 100_000
SHOWN: Final = 40
"""Characters of the text on each side of an error."""

_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
"""Values in the spelling of JSON, which count as such."""
# what people write in other languages, outside of quotes
_FOREIGN: Final = re.compile(
    r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|==|!=|<=|>=|<>|&&|\|\||!|=|"""
    r"""\b(?:AND|OR|NOT|IN|IS|LIKE)\b"""
)
_WRITE: Final = {
    "=": "==",
    "<>": "!=",
    "&&": "and",
    "||": "or",
    "!": "not",
    "AND": "and",
    "OR": "or",
    "NOT": "not",
    "IN": "in",
    "IS": "is",
    "LIKE": "startswith(field, 'sh')",
}

T = TypeVar("T")

_OPERATORS: Final[dict[type[ast.cmpop], pb.Comparison.Operator]] = {
    ast.Eq: messages.EQUAL,
    ast.NotEq: messages.EQUAL,
    ast.Lt: messages.LESS,
    ast.LtE: messages.LESS_OR_EQUAL,
    ast.Gt: messages.GREATER,
    ast.GtE: messages.GREATER_OR_EQUAL,
}
_MIRRORED: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
}
_FIELD_CALLS: Final = ("id", "field")
_VALUES: Final = "a text in quotes, a number, True, False, None or date('2024-05-01')"
_INSTEAD: Final[dict[type[ast.AST], str]] = {
    ast.BitAnd: "write and, not &",
    ast.BitOr: "write or, not |",
    ast.Invert: "write not, not ~",
    ast.Sub: 'nothing is computed; a name with other characters is written field("my-name")',
}


def parsed(text: str) -> pb.Filter:
    """The message of a text expression. Raises ValueError that points at the column."""
    text = checks.text("a filter", text).strip()
    if not text:
        raise ValueError("the filter is empty; leave it out to have all items")
    if len(text) > MAX_CHARACTERS:
        raise ValueError(
            f"the filter has {len(text):,} characters; the limit is {MAX_CHARACTERS:,}"
        )
    if "\0" in text:
        raise ValueError("the filter has a null character")
    try:
        tree = ast.parse(text, mode="eval")
        return _Expression(text).condition(tree.body, 1)
    except SyntaxError as error:
        if "digits" in error.msg:  # it names a function of Python's, and no column
            raise ValueError("a number in the filter has too many digits") from None
        raise _foreign(text) or _pointing(text, error.lineno, error.offset, error.msg) from None
    except (RecursionError, MemoryError):
        raise messages.too_deep() from None


class _Expression:
    """The nodes of one text as messages."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = [line.encode() for line in _lines(text)]

    def condition(self, node: ast.expr, depth: int) -> pb.Filter:
        if depth > messages.MAX_DEPTH:
            raise messages.too_deep()
        match node:
            case ast.BoolOp(op, values):
                join = messages.all_of if isinstance(op, ast.And) else messages.any_of
                return join([self.condition(each, depth + 1) for each in values])
            case ast.UnaryOp(ast.Not(), operand):
                return messages.negated(self.condition(operand, depth + 1))
            case ast.Compare(left, ops, comparators):
                sides = [left, *comparators]
                return messages.all_of(
                    [self._compared(*each) for each in zip(sides, ops, comparators, strict=False)]
                )
            case ast.Call(ast.Name("exists"), [argument], []):
                return self._made(argument, messages.exists, self._field(argument))
            case ast.Call(ast.Name("startswith"), [argument, prefix], []):
                text = self._value(prefix)
                return self._made(prefix, messages.prefix, self._field(argument), text)
        raise self._no_condition(node)

    def _compared(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> pb.Filter:
        kind = type(operator)
        if isinstance(operator, ast.In | ast.NotIn):
            found = self._membership(left, right)
            return found if kind is ast.In else messages.negated(found)
        if isinstance(operator, ast.Is | ast.IsNot):
            if not _is_null(right):
                raise self._error(right, "is and is not are for None; write == or !=")
            kind = ast.Eq if isinstance(operator, ast.Is) else ast.NotEq
        if _is_field(left) and _is_field(right):
            raise self._error(
                right,
                "a field is compared with a value, not with another field, and a text has quotes: "
                "'red'",
            )
        if not _is_field(left):
            if not _is_field(right):
                hint = _instead(left) or _instead(right)
                raise self._error(left, hint or "a comparison has a field on one side: price < 10")
            left, right, kind = right, left, _MIRRORED.get(kind, kind)
        name, value = self._field(left), self._value(right)
        if kind is ast.NotEq and value is None:
            return self._made(left, messages.exists, name)
        found = self._made(right, messages.comparison, name, _OPERATORS[kind], value)
        return messages.negated(found) if kind is ast.NotEq else found

    def _membership(self, left: ast.expr, right: ast.expr) -> pb.Filter:
        if isinstance(right, ast.Tuple | ast.List | ast.Set):
            values = [self._value(each) for each in right.elts]
            return self._made(right, messages.one_of, self._field(left), values)
        if not _is_field(right):
            raise self._error(
                right, "to the right of in is a list of values, ('a', 'b') or ('a',), or a field"
            )
        return self._made(left, messages.contains, self._field(right), self._value(left))

    def _field(self, node: ast.expr) -> str:
        """The name of a field."""
        match node:
            case ast.Call(ast.Name("id"), [], []):
                return messages.ID_NAME
            case ast.Call(ast.Name("field"), [ast.Constant(str(name))], []):
                self._made(node, messages.field, name)
                return name
            case ast.Name(("true" | "false" | "null") as word):
                raise self._error(node, f'{word} is a value; an attribute is field("{word}")')
            case ast.Name("id"):
                raise self._error(
                    node, 'write id() for the id of the item, field("id") for an attribute'
                )
            case ast.Name() | ast.Attribute():
                return self._dotted(node)
        raise self._error(
            node, 'a field is needed here: price, size.width, id() or field("any name")'
        )

    def _dotted(self, node: ast.expr) -> str:
        names: list[str] = []
        part = node
        while isinstance(part, ast.Attribute):
            names.append(part.attr)
            part = part.value
        if not isinstance(part, ast.Name):
            raise self._error(part, "only names are joined by dots")
        name = ".".join([part.id, *reversed(names)])
        source = self._source(node)
        if unicodedata.normalize("NFKC", source) != source:
            # Python takes such letters for others in names
            raise self._error(node, f"write field({source!r}) for a name with these letters")
        return name

    def _value(self, node: ast.expr) -> Any:
        """The value of a literal."""
        match node:
            case ast.Constant(value):
                return value
            case ast.Name(word) if word in _WORDS:
                return _WORDS[word]
            case ast.UnaryOp(
                ast.USub() | ast.UAdd() as sign, ast.Constant(int() | float() as number)
            ):
                if not isinstance(number, bool):
                    return -number if isinstance(sign, ast.USub) else number
            case ast.Call(ast.Name("date"), [ast.Constant(str(text))], []):
                time = self._made(node, datetime.fromisoformat, text)
                return time if time.tzinfo else time.replace(tzinfo=UTC)
            case ast.Name() | ast.Attribute():
                raise self._error(node, "a value is needed here, and a text has quotes: 'red'")
            case ast.Tuple() | ast.List() | ast.Set():
                raise self._error(node, "a list of values belongs to the right of in")
        raise self._error(node, _instead(node) or f"a value is needed here: {_VALUES}")

    def _made(self, node: ast.expr, make: Callable[..., T], *arguments: Any) -> T:
        """What `make` returns; its errors point at the node."""
        try:
            return make(*arguments)
        except (TypeError, ValueError) as error:
            raise self._error(node, str(error)) from error

    def _no_condition(self, node: ast.expr) -> ValueError:
        if isinstance(node, ast.Name | ast.Attribute):
            shown = ast.unparse(node)
            return self._error(node, f"a condition is needed: {shown} == True, or exists({shown})")
        if isinstance(node, ast.Call):
            return self._error(node, "the functions are exists(field) and startswith(field, 'sh')")
        return self._error(
            node, _instead(node) or "a condition is needed, such as price < 10 or 'new' in tags"
        )

    def _source(self, node: ast.expr) -> str:
        """The text of a node. `ast.get_source_segment` splits the whole text for each."""
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        lines = self._lines[first : last + 1]
        lines[-1] = lines[-1][: node.end_col_offset]
        lines[0] = lines[0][node.col_offset :]
        return b"\n".join(lines).decode()

    def _error(self, node: ast.expr, message: str) -> ValueError:
        before = self._lines[node.lineno - 1][: node.col_offset].decode()
        return _pointing(self._text, node.lineno, len(before) + 1, message)


def _is_field(node: ast.expr) -> bool:
    match node:
        case ast.Name(name):
            return name not in _WORDS
        case ast.Attribute():
            return True
        case ast.Call(ast.Name(name)):
            return name in _FIELD_CALLS
    return False


def _is_null(node: ast.expr) -> bool:
    match node:
        case ast.Constant(None) | ast.Name("null"):
            return True
    return False


def _instead(node: ast.expr) -> str | None:
    return _INSTEAD.get(type(node.op)) if isinstance(node, ast.BinOp | ast.UnaryOp) else None


def _foreign(text: str) -> ValueError | None:
    """The error for a text with the operators of another language; None if it has none."""
    for line, part in enumerate(_lines(text), 1):
        for found in _FOREIGN.finditer(part):
            if found[0] in _WRITE:
                message = f"write {_WRITE[found[0]]}, not {found[0]}"
                return _pointing(text, line, found.start() + 1, message)
    return None


def _lines(text: str) -> Sequence[str]:
    return re.split("\r\n|\r|\n", text)


def _pointing(text: str, line: int | None, column: int | None, message: str) -> ValueError:
    """An error that shows the text around a column, which counts from 1; 0 or None: its end."""
    lines = _lines(text)
    shown = lines[min(line or 1, len(lines)) - 1]
    position = min(column or len(shown) + 1, len(shown) + 1)
    start = max(0, position - 1 - SHOWN)
    part = "".join(each if each.isprintable() else " " for each in shown[start:][: 2 * SHOWN])
    where = f"column {position}" if len(lines) == 1 else f"line {line}, column {position}"
    mark = " " * (position - 1 - start) + "^"
    return ValueError(f"{message} ({where} of the filter)\n    {part}\n    {mark}")
