"""What passes share: outlining into kernels, uses, replacement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from convc.ir.data import ConstantOp, RelayoutOp, ReshapeOp, WeightOp
from convc.ir.kernel import KernelOp, YieldOp
from convc.ir.text import main_function


def main_block(module: ModuleOp) -> Block:
    """The one block of @main."""
    return main_function(module).body.block


def kernels_in(block: Block) -> list[KernelOp]:
    """The kernels of @main as they stand now, whatever becomes of them on the way."""
    return [op for op in block.ops if isinstance(op, KernelOp)]


def returned_values(block: Block) -> list[SSAValue]:
    """What @main returns, seen through reshapes."""
    assert block.last_op is not None
    found = []
    for value in block.last_op.operands:
        while isinstance(value.owner, ReshapeOp):
            value = value.owner.x
        found.append(value)
    return found


def set_type(value: SSAValue, type_: Attribute) -> None:
    """Change a value's type in place. xDSL's `Rewriter.modify_value_type` does no more, but needs a rewriter."""
    value._type = type_


def parent_of(op: Operation) -> Block:
    """The block that an operation stands in."""
    parent = op.parent
    assert parent is not None
    return parent


def users(value: SSAValue) -> list[Operation]:
    """The operations that read a value, once for each time that they do."""
    return [use.operation for use in value.uses]


def outline(ops: Sequence[Operation], outputs: Sequence[SSAValue], before: Operation) -> KernelOp:
    """Move operations into a kernel placed before `before`; `outputs` are what is still needed of them outside.

    Splat constants are cloned into the region: they cost a kernel nothing. The caller sees to it that all
    operands are defined before `before`.
    """
    inside = set(ops)
    block = Block()
    arguments: list[SSAValue] = []
    mapping: dict[SSAValue, SSAValue] = {}
    for op in ops:
        for operand in op.operands:
            if operand in mapping or operand.owner in inside:
                continue
            if isinstance(operand.owner, ConstantOp):
                constant = operand.owner.clone()
                block.add_op(constant)
                mapping[operand] = constant.result
            else:
                arguments.append(operand)
                mapping[operand] = block.insert_arg(operand.type, len(block.args))
    for op in ops:
        clone = op.clone(mapping)
        block.add_op(clone)
        mapping.update(zip(op.results, clone.results, strict=True))
    block.add_op(YieldOp(*(mapping[value] for value in outputs)))
    kernel = KernelOp(arguments, Region([block]), [value.type for value in outputs])
    parent = parent_of(before)
    parent.insert_op_before(kernel, before)
    for value, result in zip(outputs, kernel.outputs, strict=True):
        result.name_hint = value.name_hint
        value.replace_all_uses_with(result)
    for op in reversed(ops):
        parent.erase_op(op)
    return kernel


def producer_for(kernel: KernelOp, argument: SSAValue) -> KernelOp | None:
    """The kernel whose one result an argument of another kernel's region is, and nothing else; None if there is none,
    or the value is no argument."""
    if argument not in kernel.block.args:
        return None
    value = kernel.inputs[kernel.block.args.index(argument)]
    producer = value.owner
    if not isinstance(producer, KernelOp) or len(producer.outputs) != 1 or len(users(value)) != 1:
        return None
    return producer


def absorb(
    kernel: KernelOp, producer: KernelOp, compute: Callable[[KernelOp, Block, dict[SSAValue, SSAValue]], SSAValue]
) -> KernelOp:
    """Replace a kernel and its `producer_for` some argument by a single one. `compute` adds to its block what the
    producer does, given the arguments for the operands of both, and returns what stands for its result."""
    (value,) = producer.outputs
    operands = list(dict.fromkeys([*producer.inputs, *(each for each in kernel.inputs if each is not value)]))
    block = Block(arg_types=[each.type for each in operands])
    arguments: dict[SSAValue, SSAValue] = dict(zip(operands, block.args, strict=True))
    arguments[value] = compute(producer, block, arguments)
    add_clones(kernel, block, arguments)
    joined = KernelOp(operands, Region(block), [each.type for each in kernel.outputs])
    parent_of(kernel).insert_op_before(joined, kernel)
    for old, new in zip(kernel.outputs, joined.outputs, strict=True):
        new.name_hint = old.name_hint
        old.replace_all_uses_with(new)
    parent_of(kernel).erase_op(kernel)
    parent_of(producer).erase_op(producer)
    return joined


def add_clones(kernel: KernelOp, block: Block, arguments: Mapping[SSAValue, SSAValue]) -> dict[SSAValue, SSAValue]:
    """Add copies of a kernel's operations to a block, given what stands for its operands there. What stands for each
    value of its region."""
    copies: dict[SSAValue, SSAValue] = {
        argument: arguments[operand] for argument, operand in zip(kernel.block.args, kernel.inputs, strict=True)
    }
    for op in kernel.block.ops:
        clone = op.clone(copies)
        block.add_op(clone)
        copies.update(zip(op.results, clone.results, strict=True))
    return copies


def detached(kernel: KernelOp) -> KernelOp:
    """A copy of a kernel that stands in no module, no template chosen. Its operands are values of no module either,
    but weights are still weights, so that what asks for them finds them."""
    operands: list[SSAValue] = list(Block(arg_types=[value.type for value in kernel.inputs]).args)
    for i, value in enumerate(kernel.inputs):
        if (weight := weight_behind(value)) is not None:
            operands[i] = WeightOp(weight.key, weight.result.type).result
            set_type(operands[i], value.type)
    return KernelOp(operands, kernel.body.clone(), [value.type for value in kernel.outputs])


def weight_behind(value: SSAValue) -> WeightOp | None:
    """The weight that a value is, its layout changed or not; None for all else."""
    source = value.owner.x.owner if isinstance(value.owner, RelayoutOp) else value.owner
    return source if isinstance(source, WeightOp) else None


def copy_kernel(value: SSAValue, before: Operation) -> SSAValue:
    """A kernel that copies a value; its result."""
    block = Block(arg_types=[value.type])
    block.add_op(YieldOp(block.args[0]))
    kernel = KernelOp([value], Region([block]), [value.type])
    parent_of(before).insert_op_before(kernel, before)
    return kernel.outputs[0]


def erase_dead(block: Block) -> bool:
    """Remove operations without uses, last first; whether there were any."""
    changed = False
    for op in reversed(list(block.ops)):
        if op.results and not any(result.uses for result in op.results):
            block.erase_op(op)
            changed = True
    return changed
