"""What a GraphQL document asks for, counted before anything of it is validated or run.

Fragments are counted where they are spread. Each is measured once, so a document whose fragments spread each other,
which doubles with every level, costs no more to refuse than to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    parse,
)

from evertune.serving.http.limits import Limits
from evertune.serving.http.problems import RefusedError

PRICES = {
    "prediction": 10, "predict": 10, "feedback": 10, "label": 20, "review": 40, "lineage": 3, "releases": 2,
    "projects": 2,
}  # fmt: skip
"""What is asked of the disk, the ledger or the model costs more than 1."""
LISTS = {"releases": 20, "projects": 10}
"""Objects that a list is taken to have where no limit is given."""
_MOST_FIELDS = 100
_MOST_WRITTEN = 200
"""Fields that stand in the document, asked for or not: a fragment that is never spread, and what is below ``__schema``,
are validated too, and that takes the square of their number. Introspection as tools write it has 72."""
_MOST_CHARACTERS = 50_000
_INTROSPECTING = 50
_INTROSPECTION = frozenset({"__schema", "__type"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a document, or a part of it, asks for."""

    depth: int = 0
    aliases: int = 0
    fields: int = 0
    cost: int = 0
    predictions: int = 0
    """How often it asks the model."""
    introspects: bool = False

    def __add__(self, other: Asked) -> Asked:
        return Asked(
            max(self.depth, other.depth),
            self.aliases + other.aliases,
            self.fields + other.fields,
            self.cost + other.cost,
            self.predictions + other.predictions,
            self.introspects or other.introspects,
        )


def read(query: str, limits: Limits) -> DocumentNode:
    """The parsed document. Raises 400 for a syntax error or too many tokens, at the first that is too many."""
    if len(query) > _MOST_CHARACTERS:
        raise refused(f"it has more than {_MOST_CHARACTERS:,} characters; send texts as variables")
    try:
        return parse(query, no_location=False, max_tokens=limits.graphql_tokens)
    except GraphQLSyntaxError as fault:
        raise refused(fault.message.rstrip("."), "See the schema at /graphql.") from None
    except RecursionError:
        raise refused("it is nested too deeply") from None


def check(document: DocumentNode, variables: Mapping[str, object] | None, limits: Limits) -> Asked:
    """What the document asks for. Raises 400 where that is beyond a limit."""
    walk = _Walk(variables or {}, _defaults(document), _fragments(document))
    asked = Asked()
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            asked = asked + walk.selections(definition.selection_set)
    for what, found, most in (
        ("levels", asked.depth, limits.graphql_depth),
        ("aliases", asked.aliases, limits.graphql_aliases),
        ("fields", asked.fields, _MOST_FIELDS),
        ("written fields", _written(document), _MOST_WRITTEN),
        ("cost", asked.cost, limits.graphql_cost),
    ):
        if found > most:
            raise refused(f"it has {what} {found if found < 10**9 else 'beyond measure'}, allowed are {most}")
    return asked


def _written(document: DocumentNode) -> int:
    """How many fields stand in the document."""
    waiting: list[SelectionSetNode | None] = [getattr(one, "selection_set", None) for one in document.definitions]
    count = 0
    while waiting:
        for node in selections.selections if (selections := waiting.pop()) else ():
            count += isinstance(node, FieldNode)
            waiting.append(getattr(node, "selection_set", None))
    return count


def check_operation(document: DocumentNode, name: str | None) -> None:
    """Raise 400 where it cannot be told which of the document's operations is to be run."""
    names = [
        one.name.value if one.name else None for one in document.definitions if isinstance(one, OperationDefinitionNode)
    ]
    if not names:
        raise refused("it has no operation", "Write a query or a mutation.")
    if name is None and len(names) > 1:
        raise refused("it has several operations", "Name the one to be run, in operationName.")
    if name is not None and name not in names:
        raise refused("it has no operation of the name in operationName", "Name one that it has, or none.")


def refused(why: str, advice: str = "Ask for less, or in several requests.") -> RefusedError:
    """400: the document is not run."""
    return RefusedError(400, "query-refused", f"The GraphQL document is refused: {why}. {advice}")


def _defaults(document: DocumentNode) -> dict[str, int]:
    """What variables are where they are not given; the largest, where several operations have one of this name."""
    found: dict[str, int] = {}
    for operation in document.definitions:
        if isinstance(operation, OperationDefinitionNode):
            for one in operation.variable_definitions or ():
                if isinstance(one.default_value, IntValueNode):
                    name = one.variable.name.value
                    found[name] = max(found.get(name, 0), _number(one.default_value))
    return found


def _number(node: IntValueNode) -> int:
    return int(node.value[:9])  # more digits are beyond every limit


def _fragments(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}


@dataclass(slots=True)
class _Walk:
    variables: Mapping[str, object]
    defaults: Mapping[str, int]
    fragments: Mapping[str, FragmentDefinitionNode]
    measured: dict[str, Asked] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)

    def selections(self, found: SelectionSetNode | None) -> Asked:
        asked = Asked()
        for node in found.selections if found else ():
            asked = asked + self._selection(node)
        return asked

    def _selection(self, node: SelectionNode) -> Asked:
        if isinstance(node, FieldNode):
            return self._field(node)
        if isinstance(node, FragmentSpreadNode):
            return self._spread(node.name.value)
        assert isinstance(node, InlineFragmentNode)  # noqa: S101 - there is no fourth kind
        return self.selections(node.selection_set)

    def _spread(self, name: str) -> Asked:
        if name not in self.fragments:
            return Asked()  # validation says so
        if name in self.open:
            raise refused("a fragment spreads itself")
        if name not in self.measured:
            self.open.add(name)
            self.measured[name] = self.selections(self.fragments[name].selection_set)
            self.open.discard(name)
        return self.measured[name]

    def _field(self, node: FieldNode) -> Asked:
        name = node.name.value
        alias = 1 if node.alias else 0
        if name in _INTROSPECTION:  # as deep as it must be; validation bounds how deep its lists may nest
            return Asked(1, alias, 1, _INTROSPECTING, 0, introspects=True)
        inside = self.selections(node.selection_set)
        own = PRICES.get(name, 1) if node.selection_set else 0
        times = self._length(node) if name in LISTS else 1
        return Asked(
            inside.depth + 1,
            inside.aliases + alias,
            inside.fields + 1,
            own + times * inside.cost,
            inside.predictions + (name == "predict"),
            inside.introspects,
        )

    def _length(self, node: FieldNode) -> int:
        given = next((one.value for one in node.arguments if one.name.value == "limit"), None)
        value = self._value(given)
        # A float that is whole passes for an Int.
        return max(1, int(min(value, 10**6))) if isinstance(value, int | float) else LISTS[node.name.value]

    def _value(self, given: ValueNode | None) -> object:
        if isinstance(given, VariableNode):
            name = given.name.value
            return self.variables[name] if name in self.variables else self.defaults.get(name)
        return _number(given) if isinstance(given, IntValueNode) else None
