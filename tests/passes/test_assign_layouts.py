"""Layouts are chosen for a whole network: no other choice costs less, and none changes a result."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from convc.ir.attributes import PoolKind, layout_of
from convc.ir.data import ConcatOp, PadOp, RelayoutOp, SliceOp, WeightOp
from convc.ir.kernel import KernelOp
from convc.ir.neural import SoftmaxOp
from convc.ir.text import parse, to_text
from convc.ir.windows import ConvOp, PoolOp
from convc.passes.assign_layouts import Traffic, choose, connect
from convc.passes.layouts import adopt, alternatives
from convc.passes.outline_relayouts import can_change_layout
from convc.passes.registry import pipeline
from convc.passes.rewriting import main_block, users

BLOCK = 4


def network(graph, seed, count):
    """Convolutions, which want blocks, softmax, which does not, and what can be either, on values of few sizes."""
    g, rng = graph((1, 6, 5, 4), (1, 8, 5, 4)), np.random.default_rng(seed)
    values = list(g.inputs)

    def conv(x):
        outputs = int(rng.choice([2, 6, 8]))
        return g.append(ConvOp(x.value, g.weight(rng.standard_normal((outputs, x.shape[1], 1, 1))).value))

    def pool(x):
        return g.append(PoolOp(PoolKind.MAX, x.value, (3, 3), pads=(1, 1, 1, 1)))

    def add(x):
        fitting = [y for y in values if y.shape == x.shape]
        return x + fitting[rng.integers(len(fitting))]

    def concat(x):
        return g.append(ConcatOp([x.value, values[rng.integers(len(values))].value], 1))

    def part(x):
        return g.append(SliceOp(x.value, [0, 0, 0, 0], [1, min(4, x.shape[1]), 5, 4]))

    def pad(x):
        padded = g.append(PadOp(x.value, (0, 0, 1, 0, 0, 0, 0, 0)))
        return g.append(SliceOp(padded.value, [0, 0, 0, 0], x.shape))

    makers = [conv, pool, add, concat, part, pad, lambda x: x.sigmoid(), lambda x: g.append(SoftmaxOp(x.value, [1]))]
    for _ in range(count):
        value = makers[rng.integers(len(makers))](values[-int(rng.integers(1, min(4, len(values)) + 1))])
        if value.shape[1] <= 16:
            values.append(value)
    unread = [value for value in values[2:] if not value.value.uses]
    return g, g.module(*unread)


def kernels_of(module):
    return [op for op in main_block(module).ops if isinstance(op, KernelOp)]


def cost(module, choice):
    """What a module costs in bytes with some choice of forms, by the relayouts that it then has."""
    forms = [alternatives(kernel, BLOCK, chunks=False) for kernel in kernels_of(module)]
    for kernel, every, number in zip(kernels_of(module), forms, choice, strict=True):
        adopt(kernel, every[number])
    connect(main_block(module).ops)
    total = sum(costs for kernel in kernels_of(module) for costs in Traffic().kernel([kernel]))
    for op in main_block(module).ops:
        if isinstance(op, RelayoutOp) and not isinstance(op.x.owner, WeightOp):
            kernel = op.x.owner
            within = isinstance(kernel, KernelOp) and can_change_layout(kernel) and len(users(op.x)) == 1
            total += Traffic().relayout(op.x, layout_of(op.result), within=within)
    return total


@pytest.mark.parametrize("seed", range(12))
def test_no_other_choice_moves_fewer_bytes(graph, seed):
    g, module = network(graph, seed, count=6)
    pipeline("fuse{mode=single}").apply(g.context, module)
    text, block = to_text(module), main_block(module)
    forms = {kernel: alternatives(kernel, BLOCK, chunks=False) for kernel in kernels_of(module)}
    chosen = choose(block, forms, Traffic(), prologues=False)
    found = [every.index(chosen[kernel]) for kernel, every in forms.items()]
    choices = itertools.product(*(range(len(every)) for every in forms.values()))
    costs = {choice: cost(parse(text, g.context), choice) for choice in choices}
    assert costs[tuple(found)] == min(costs.values())


@pytest.mark.parametrize(
    "options", ["channel_block=4", "channel_block=4 chunks=true", 'channel_block=16 target="cpu:skylake-avx512"']
)
@pytest.mark.parametrize("seed", range(6))
def test_no_choice_changes_a_result(graph, apply, seed, options):
    g, module = network(graph, seed, count=14)
    apply(f"fuse,assign-layouts{{{options}}},fuse-prologues,prepack-weights,outline-relayouts", module, g.context)


def layouts(g, module, options=f"channel_block={BLOCK}"):
    """Of the results of the kernels, and how many values have their layout changed."""
    pipeline(f"fuse{{mode=single}},assign-layouts{{{options}}}").apply(g.context, module)
    changed = [op for op in main_block(module).ops if isinstance(op, RelayoutOp)]
    kernels = [layout_of(kernel.outputs[0]) for kernel in kernels_of(module)]
    return [each is not None for each in kernels], len(changed)


def test_a_prologue_that_will_be_fused_goes_through_no_memory(graph):
    """The value between is wanted in plain layout too, so that the elementwise kernel could as well be plain."""
    g = graph((1, 8, 6, 6))
    (x,) = g.inputs
    w = g.weight(np.ones((8, 8, 1, 1))).value
    y = g.append(ConvOp(x.value, w))
    z = g.append(ConvOp((y.sigmoid()).value, w))
    found, _ = layouts(g, g.module(y, z))
    assert found == [True, True, True]
