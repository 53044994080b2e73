"""The driver of rewrites, and what the passes report."""

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp

from convc.ir.dialect import CompilerContext
from convc.ir.elementwise import ElementwiseOp
from convc.ir.functions import Fn
from convc.ir.interpreter import interpret
from convc.ir.neural import BatchNormOp
from convc.ir.text import main_function, parse, to_text
from convc.passes.canonicalise import canonicalise
from convc.passes.fold_batch_norm import fold_batch_norms
from convc.passes.fold_conv_scale import fold_scales
from convc.passes.fold_pads import fold_pads
from convc.passes.recognise_activations import recognise_activations
from convc.passes.registry import pipeline
from convc.passes.rewriting import main_block
from convc.passes.rules import RuleSet, rewrite, splat


def test_a_rule_replaces_an_operation_and_its_readers_are_looked_at_again(graph, operations):
    rules = RuleSet()

    # -(-x) => x
    @rules.on(ElementwiseOp)
    def twice(op, rewriter):
        inner = op.inputs[0].owner
        negated = isinstance(inner, ElementwiseOp) and inner.function == op.function == Fn.NEG
        return inner.inputs[0] if negated else None

    g = graph((3,))
    (x,) = g.inputs
    module = g.module(x.neg().neg().neg().neg().neg())
    assert rewrite(main_block(module), g.context, rules)
    assert operations(module) == ["neg"]
    assert not rewrite(main_block(module), g.context, rules)


def test_rules_that_undo_one_another_end_with_a_warning(graph):
    rules = RuleSet()

    @rules.on(ElementwiseOp)
    def swap(op, rewriter):
        return rewriter.elementwise(Fn.COS if op.function == Fn.SIN else Fn.SIN, op.inputs[0])

    g = graph((3,))
    module = g.module(g.inputs[0].sin())
    with pytest.warns(RuntimeWarning, match="rewriting does not end: swap fired last"):
        rewrite(main_block(module), g.context, rules)
    module.verify()


@pytest.mark.parametrize(
    ("array", "number"),
    [
        (np.full((2, 3), 1.5, np.float32), 1.5),
        (np.array([1.0, 2.0]), None),
        (np.array([0.0, -0.0]), None),
        (np.full(3, np.nan), None),
        (np.full(2, (1 << 53) + 1, np.int64), None),
        (np.full(2, True), 1.0),
        (np.zeros(0), None),
    ],
)
def test_splat_is_the_one_number_of_an_array(array, number):
    assert splat(array) == number


def test_zeros_of_two_signs_are_two_numbers():
    context = CompilerContext()
    for name, sign in (("zeros", 1), ("minus_zeros", -1)):
        context.weights.add(np.array([0, 1], np.float32) * np.float32(sign) * np.float32([1, sign]), name)
    module = parse(
        """
        func.func @main(%x: tensor<2xf32>) -> (tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>) {
          %a = convc.constant 0.0 : f64 : tensor<f32>
          %b = convc.constant -0.0 : f64 : tensor<f32>
          %c = convc.weight @zeros : tensor<2xf32>
          %d = convc.weight @minus_zeros : tensor<2xf32>
          %e = convc.elementwise div(%x, %a) : (tensor<2xf32>, tensor<f32>) -> tensor<2xf32>
          %f = convc.elementwise div(%x, %b) : (tensor<2xf32>, tensor<f32>) -> tensor<2xf32>
          %g = convc.elementwise div(%x, %c) : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
          %h = convc.elementwise div(%x, %d) : (tensor<2xf32>, tensor<2xf32>) -> tensor<2xf32>
          func.return %e, %f, %g, %h : tensor<2xf32>, tensor<2xf32>, tensor<2xf32>, tensor<2xf32>
        }
        """,
        context,
    )
    canonicalise(module, context)
    found = list(interpret(module, context.weights, {"input0": np.array([1, 2], np.float32)}).values())
    inf = np.inf
    np.testing.assert_array_equal(found, np.array([[inf, inf], [-inf, -inf], [inf, 2], [-inf, 2]], np.float32))


def conv_graph(graph):
    """x * 2 - 3 + 0, with a weight that is not used and a dead operation."""
    g = graph((1, 4, 5, 5))
    (x,) = g.inputs
    g.weight(np.ones((4, 4)), "unused")
    x.exp()
    return g, g.module(x * 2 - 3 + 0)


def test_canonicalise_reports_whether_it_changed_anything(graph):
    g, module = conv_graph(graph)
    assert canonicalise(module, g.context)
    assert not canonicalise(module, g.context)


@pytest.mark.parametrize("function", [fold_batch_norms, fold_scales, fold_pads, recognise_activations])
def test_passes_with_nothing_to_do_say_so_and_change_nothing(function, graph):
    g = graph((1, 4, 5, 5))
    (x,) = g.inputs
    module = g.module(x.exp() * 2)
    before = to_text(module)
    assert not function(module, g.context)
    assert to_text(module) == before


def test_passes_that_do_something_say_so(graph):
    g = graph((1, 4, 5, 5))
    (x,) = g.inputs
    statistics = [g.weight(np.ones(4) * 2).value for _ in range(4)]
    y = g.append(BatchNormOp(x.value, *statistics))
    module = g.module((y * y.sigmoid()).exp() * 3 * 2)
    assert recognise_activations(module, g.context)
    assert fold_batch_norms(module, g.context)
    assert fold_scales(module, g.context)


def test_the_store_lets_go_of_weights_that_nothing_refers_to(graph):
    g, module = conv_graph(graph)
    canonicalise(module, g.context)
    assert list(g.context.weights) == []


def test_without_its_weights_a_module_is_rewritten_as_far_as_may_be(graph, operations):
    g = graph((1, 4, 5, 5))
    (x,) = g.inputs
    module = g.module((x * g.weight(np.arange(4.0).reshape(4, 1, 1)) + 0).relu().relu())
    g.context.weights.keep(set())
    pipeline("canonicalise,recognise-activations,fold-batch-norm,fold-conv-scale,fold-pads").apply(g.context, module)
    assert operations(module) == ["mul", "relu"]


def test_kernels_and_layouts_are_left_alone(graph, apply):
    g = graph((1, 8, 5, 5))
    (x,) = g.inputs
    module: ModuleOp = g.module((x * 1).relu() + x)
    pipeline("fuse,assign-layouts,prepack-weights,outline-relayouts").apply(g.context, module)
    before = to_text(module)
    apply("canonicalise", module, g.context)
    assert to_text(module) == before
    assert main_function(module)
