"""Where to cut a model of which some part was refused: the values that `--outputs` should name."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from xdsl.ir import BlockArgument, SSAValue

from convc.frontends.onnx.scope import Refused, Scope, names_read


def ends_before_refused(scope: Scope, limit: int) -> list[str]:
    """The computed values that refused nodes read, and computed outputs: with them all is built that can be. Where
    those are more than `limit`, a few that they follow from instead, if there are such."""
    inputs = {name for name, value in scope.values.items() if isinstance(value, BlockArgument)}
    made_from: dict[str, frozenset[str]] = {
        name: frozenset()
        for name, value in scope.values.items()
        if isinstance(value, SSAValue) and not isinstance(value, BlockArgument)
    }
    ends = set[str]()
    for node in scope.live:
        read = names_read([node], ())
        if any(isinstance(scope.values.get(name), Refused) for name in node.output):
            ends |= read & made_from.keys()
        for name in made_from.keys() & set(node.output):
            made_from[name] = read & (made_from.keys() | inputs)
    outputs = made_from.keys() & set(scope.outputs)
    if len(ends | outputs) > limit:
        ends = few_before(made_from, ends - outputs, inputs, limit - len(outputs)) or ends
    return [name for name in made_from if name in ends or name in outputs]


def few_before(
    made_from: Mapping[str, AbstractSet[str]], ends: AbstractSet[str], inputs: AbstractSet[str], limit: int
) -> set[str]:
    """At most `limit` values that the ends follow from; none if there are no such behind the inputs. `made_from` is in
    the order of the graph.

    The last value gives way to what it is made from, as ninety columns of scores do to the scores, until there are few
    and fewer only beyond a point where they become more again: the heads of a detector, not the trunk before them.
    """
    order = {name: index for index, name in enumerate(made_from)}
    values, best = set(ends), set[str]()
    while values:
        last = max(values, key=order.__getitem__)
        before = (values - {last}) | made_from[last]
        if before & inputs or (best and len(before) > len(values)):
            break
        values = before
        if len(values) <= limit and (not best or len(values) < len(best)):
            best = values
    return best
