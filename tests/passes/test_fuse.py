"""What a kernel takes in, by how much it then computes."""

from convc.ir.kernel import KernelOp
from convc.passes.rewriting import main_block


def test_a_chain_whose_values_are_read_twice_becomes_several_kernels(graph, apply):
    """In one it would be computed 2^15 times for each element."""
    g = graph((64,))
    (x,) = g.inputs
    for _ in range(15):
        x = x * x.tanh()
    module = apply("fuse", g.module(x), g.context)
    sizes = [len(op.ops) for op in main_block(module).ops if isinstance(op, KernelOp)]
    assert sum(sizes) == 30
    assert max(sizes) == 12  # 126 operations for an element, and 254 with two more
