"""What convc cannot take: one line that names the node, what was expected, and what was found."""

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, helper

from convc.frontends.onnx.cutting import cut

IMAGE = (1, 4, 6, 6)


def node(op_type, *inputs, outputs=("y",), name="n", domain="", **attributes):
    return helper.make_node(op_type, list(inputs), list(outputs), name=name, domain=domain, **attributes)


def test_unsupported_operators_are_named_all_at_once(refusal, model_of):
    nodes = [
        node("RandomNormalLike", "x", outputs=["noise"], name="draw"),
        node("NonZero", "noise", outputs=["where"], name="there"),
        node("Relu", "noise", outputs=["h"]),
        node("DFT", "h", outputs=["waves"], name="dft"),
        node("Unique", "waves", outputs=["once"], name="once"),
        node("Mystery", "once", "x", domain="org.example", name="riddle"),
        node("RandomNormalLike", "x", outputs=["again"], name=""),
    ]
    assert refusal(model_of(nodes, {"x": (1, 4, 6)}, ["y", "where", "again"], domains={"org.example": 1})) == (
        "unsupported operators: RandomNormalLike (2 nodes: draw, again: "
        "results are a function of the inputs: no random numbers); "
        "NonZero (node there: the shape of its result follows from computed values, and shapes are static); "
        "DFT (node dft); "
        "Unique (node once: the shape of its result follows from computed values, and shapes are static); "
        "org.example.Mystery (node riddle)"
    )


def test_operators_that_are_computed_at_import_are_no_obstacle(imported, model_of):
    nodes = [
        node("Shape", "x", outputs=["shape"]),
        node("TopK", "shape", "k", outputs=["largest", "at"]),
        node("ConstantOfShape", "largest"),
    ]
    model = model_of(nodes, {"x": IMAGE}, ["y"], weights={"k": np.array([2])})
    assert imported(model, {"x": np.zeros(IMAGE, np.float32)})["y"].shape == (6, 6)


def test_what_depends_on_an_unsupported_operator_may_still_be_static(refusal, model_of):
    nodes = [
        node("DFT", "x", outputs=["waves"], name="dft"),
        node("Shape", "waves", outputs=["shape"]),
        node("NonZero", "shape"),
    ]
    model = model_of(nodes, {"x": IMAGE}, ["y"])
    assert refusal(model) == "unsupported operators: DFT (node dft)"


def test_refusals_of_several_nodes_are_one_message(refusal, model_of):
    nodes = [
        node("BatchNormalization", "x", *"abcd", outputs=["normal", "mean"], name="norm"),
        node("Relu", "normal", outputs=["after"], name="unmentioned"),
        node("Tile", "x", "i", outputs=["tiled"], name="tile"),
        node("Loop", "", "", "x", outputs=["looped"], name="loop", body=helper.make_graph([], "body", [], [])),
        node("Sum", "after", "looped", "mean", "tiled"),
    ]
    statistics = dict.fromkeys("abcd", (4,))
    model = model_of(nodes, {"x": IMAGE, "i": (np.int64, (2,)), **statistics}, ["y"], opset=13)
    assert refusal(model) == (
        "unsupported operators: Loop (node loop: a program is a fixed list of kernels: no loops over computed values); "
        "node 'norm' (BatchNormalization): its output 'mean' is used, which convc does not compute; "
        "node 'tile' (Tile): expected its repeats (input 1) to be constant, it is computed at run time"
    )


def test_many_refusals_are_counted(refusal, model_of):
    nodes = [node("Softmax", "x", outputs=[f"y{i}"], name=f"n{i}", axis=9) for i in range(12)]
    message = refusal(model_of(nodes, {"x": IMAGE}, [f"y{i}" for i in range(12)]))
    assert message.startswith("node 'n0' (Softmax): axis 9 is outside [-4, 4); node 'n1'")
    assert message.endswith("node 'n7' (Softmax): axis 9 is outside [-4, 4); and 4 more")


def test_what_no_output_needs_is_left_out(imported, model_of):
    """Whatever it is: an unsupported operator, a node with a mistake, one that reads what is nowhere defined."""
    nodes = [
        node("Relu", "x", outputs=["h"]),
        node("NonZero", "h", outputs=["where"]),
        node("Cast", "where", outputs=["found"], to=1),
        node("Softmax", "h", outputs=["odds"], axis=9),
        node("Add", "h", "nothing", outputs=["sum"]),
        node("Neg", "h"),
    ]
    image = np.float32([[-1, 2]])
    assert imported(model_of(nodes, {"x": (1, 2)}, ["y"]), {"x": image})["y"].tolist() == [[0, -2]]


def test_what_a_branch_alone_reads_is_needed(imported, model_of):
    inner = helper.make_graph([node("Neg", "h", outputs=["z"])], "then", [], [onnx.ValueInfoProto(name="z")])
    nodes = [
        node("Relu", "x", outputs=["h"]),
        node("If", "yes", outputs=["y"], then_branch=inner, else_branch=inner),
    ]
    model = model_of(nodes, {"x": (1, 2)}, ["y"], weights={"yes": np.array(True)})
    assert imported(model, {"x": np.float32([[-1, 2]])})["y"].tolist() == [[0, -2]]


def test_the_values_before_what_was_refused_are_named(refusal, imported, model_of):
    """A detector: the part before its selection of boxes is what such a message leads to."""
    nodes = [
        node("Relu", "x", outputs=["features"]),
        node("Neg", "features", outputs=["boxes"]),
        node("Softmax", "features", outputs=["scores"]),
        node("NonMaxSuppression", "boxes", "scores", outputs=["chosen"], name="nms"),
        node("GatherND", "features", "chosen", outputs=["gathered"]),
        node("Exp", "features", outputs=["mask"]),
        node("Abs", "mask", outputs=["unused"]),
    ]
    inputs = {"x": (1, 3, 4)}
    message = refusal(model_of(nodes, inputs, ["gathered", "mask"]))
    assert message == (
        "unsupported operators: NonMaxSuppression (node nms: the shape of its result follows from computed values, and "
        "shapes are static); what comes before that can be built: --outputs features,boxes,scores,mask"
    )
    part = cut(model_of(nodes, inputs, ["gathered", "mask"]), message.rpartition(" ")[2].split(","), None)
    assert list(imported(part, {"x": np.ones((1, 3, 4), np.float32)})) == ["features", "boxes", "scores", "mask"]


def test_many_values_before_what_was_refused_give_way_to_the_few_that_they_are_made_from(refusal, model_of):
    """As where each class of a detector is selected on its own: its heads are named, not the trunk before them."""
    classes = range(12)
    nodes = [
        node("Relu", "x", outputs=["trunk"]),
        *[node("MatMul", "trunk", f"w{i}", outputs=[f"head{i}"]) for i in range(2)],
        node("Concat", "head0", "head1", outputs=["logits"], axis=1),
        node("Softmax", "logits", outputs=["scores"]),
        node("Sigmoid", "trunk", outputs=["boxes"]),
        node("Split", "scores", outputs=[f"class{i}" for i in classes], axis=1, num_outputs=12),
        *[node("Greater", f"class{i}", "least", outputs=[f"found{i}"]) for i in classes],
        *[node("NonZero", f"found{i}", outputs=[f"where{i}"]) for i in classes],
        *[node("Gather", f"class{i}", f"where{i}", outputs=[f"chosen{i}"]) for i in classes],
        node("GatherND", "boxes", "where0", outputs=["corners"]),
        node("Concat", "corners", *(f"chosen{i}" for i in classes), axis=1),
    ]
    weights = {f"w{i}": np.ones((4, 6), np.float32) for i in range(2)} | {"least": np.float32(0.5)}
    message = refusal(model_of(nodes, {"x": (3, 4)}, ["y", "trunk"], weights=weights))
    assert message.endswith("; what comes before that can be built: --outputs trunk,scores,boxes")


def test_values_before_what_was_refused_that_nothing_sums_up_are_counted(refusal, model_of):
    nodes = [
        *[node("Relu", f"x{i}", outputs=[f"a{i}"]) for i in range(12)],
        node("Mystery", *(f"a{i}" for i in range(12)), domain="org.example"),
    ]
    message = refusal(model_of(nodes, {f"x{i}": (2,) for i in range(12)}, ["y"], domains={"org.example": 1}))
    assert message.endswith("; --outputs NAME,... builds a part of the model: 12 values lie before what was refused")


def test_nothing_is_named_where_the_mistake_is_in_the_model(refusal, model_of):
    nodes = [node("Relu", "x", outputs=["h"]), node("Softmax", "h", axis=9)]
    assert refusal(model_of(nodes, {"x": IMAGE}, ["y"])).endswith("axis 9 is outside [-4, 4)")


# The order and the names of values


def test_nodes_out_of_order(refusal, model_of):
    nodes = [node("Relu", "h"), node("Abs", "x", outputs=["h"], name="later")]
    assert refusal(model_of(nodes, {"x": IMAGE}, ["y"])) == (
        "node 'n' (Relu): reads 'h', which is computed only later, by node 'later' (Abs): "
        "expected nodes in topological order"
    )


def test_values_that_nothing_defines(refusal, model_of):
    assert refusal(model_of([node("Relu", "z")], {"x": IMAGE}, ["y"])) == (
        "node 'n' (Relu): reads 'z', which is nowhere defined"
    )
    assert (
        refusal(model_of([node("Relu", "x")], {"x": IMAGE}, ["z"]))
        == "an output of the graph reads 'z', which is nowhere defined"
    )


def test_values_that_are_defined_twice(refusal, model_of):
    twice = [node("Relu", "x"), node("Abs", "x", name="second")]
    assert refusal(model_of(twice, {"x": IMAGE}, ["y"])) == (
        "node 'second' (Abs): defines 'y', which is defined already"
    )
    overwritten = model_of([node("Relu", "x", outputs=["x"])], {"x": IMAGE}, ["x"])
    assert refusal(overwritten) == "node 'n' (Relu): defines 'x', which is defined already"


# What the standard says of a node


def test_attributes_that_the_operator_does_not_have_or_needs(refusal, model_of):
    def message(one):
        return refusal(model_of([one], {"x": IMAGE}, ["y"], opset=13)).removeprefix("node 'n' ")

    assert message(node("Relu", "x", alpha=0.5)) == (
        "(Relu): has the attribute alpha, which opset 13 does not define (it has: none)"
    )
    assert message(node("Elu", "x", alpha=1)) == "(Elu): expected float as its attribute alpha, got int"
    assert message(node("Softmax", "x", axis=[1])) == "(Softmax): expected int as its attribute axis, got ints"
    assert message(node("Concat", "x")) == "(Concat): expected an attribute axis, got none"
    assert message(node("Relu", "x", "x")) == "(Relu): expected 1 inputs, got 2"
    assert message(node("Clip", "x", "x", "x", "x")) == "(Clip): expected 1 to 3 inputs, got 4"
    assert message(node("Sum")) == "(Sum): expected 1 or more inputs, got 0"
    assert message(node("Add", "x", "")) == "(Add): expected an input 1, the node has 2"
    unbound = node("Elu", "x")
    unbound.attribute.append(AttributeProto(name="alpha", type=AttributeProto.FLOAT, ref_attr_name="slope"))
    assert message(unbound) == "(Elu): attribute alpha refers to slope of a function, outside of any"


REFUSED = [
    ("Conv", [IMAGE, (2, 3, 3, 3)], {}, "weight expects 3 input channels (1 groups), input has 4"),
    ("Conv", [IMAGE, (3, 2, 3, 3)], {"group": 2}, "3 output channels do not divide into 2 groups"),
    ("Conv", [IMAGE, (2, 4, 9, 9)], {}, "a window spanning 9 does not fit an axis of 6 padded by 0 and 0"),
    ("Conv", [IMAGE, (2, 4, 3)], {}, "expected input and weight of one rank of at least 3"),
    ("Conv", [(2, 3), (2, 3)], {}, "expected input and weight of one rank of at least 3"),
    ("Conv", [IMAGE, (2, 4, 3, 3)], {"kernel_shape": [5, 5]}, "expected a kernel_shape of [3, 3] as the weight has"),
    ("Conv", [IMAGE, (2, 4, 3, 3)], {"strides": [0, 1]}, "expected positive sizes"),
    ("Conv", [IMAGE, (2, 4, 3, 3)], {"strides": [1]}, "expected 2 strides and dilations, got [1] and [1, 1]"),
    ("Conv", [IMAGE, (2, 4, 3, 3)], {"pads": [1, 1]}, "expected 4 pads, got 2"),
    ("Conv", [IMAGE, (2, 4, 3, 3)], {"auto_pad": "SOME"}, "to be one of NOTSET, VALID, SAME_UPPER, SAME_LOWER"),
    ("Conv", [IMAGE, (2, 4, 3, 3), (3,)], {}, "expected a bias of 2 channels, got shape (3,)"),
    ("ConvTranspose", [IMAGE, (3, 2, 3, 3)], {}, "weight expects 3 input channels, input has 4"),
    ("ConvTranspose", [IMAGE, (4, 2, 3, 3)], {"pads": [-1, 0, 0, 0]}, "expected pads of at least 0, got [-1, 0, 0, 0]"),
    ("ConvTranspose", [IMAGE, (4, 2, 3, 3)], {"output_padding": [1]}, "expected 2 output_padding sizes"),
    ("ConvTranspose", [IMAGE, (4, 2, 3, 3)], {"output_shape": [1, 2, 3]}, "expected an output_shape of 2 axes"),
    ("MaxPool", [IMAGE], {"kernel_shape": [2]}, "expected a kernel_shape of 2 axes for input (1, 4, 6, 6), got [2]"),
    ("MaxPool", [(4, 6)], {"kernel_shape": [2]}, "expected a kernel_shape of 1 axes for input (4, 6), got [2]"),
    ("AveragePool", [IMAGE], {"kernel_shape": [2, 2], "pads": [0, 0, -1, 0]}, "expected pads of at least 0"),
    ("LpPool", [IMAGE], {"kernel_shape": [2, 2], "p": 0}, "expected p of at least 1, got 0"),
    ("Gemm", [(2, 3), (4, 5)], {}, "the left operand has 3 columns, the right 4 rows"),
    ("Gemm", [(2, 3), (3, 5), (4, 1, 1)], {}, "expected a C that broadcasts to (2, 5), got (4, 1, 1)"),
    ("Gemm", [(1, 2, 3), (3, 5)], {}, "expected two matrices, got shapes (1, 2, 3) and (3, 5)"),
    ("MatMul", [(2, 3), (4, 5)], {}, "the left operand has 3 columns, the right 4 rows"),
    ("Einsum", [(2, 3)], {"equation": "ij,jk->ik"}, "expected an equation of 1 operands, got 'ij,jk->ik'"),
    ("Einsum", [(2, 3)], {"equation": "i->i"}, "expected a term of 2 labels, got 'i' in 'i->i'"),
    ("Einsum", [(2, 3)], {"equation": "ij->k"}, "expected a result of distinct labels of the operands, got 'k'"),
    ("Einsum", [(2, 3), (4, 5)], {"equation": "ij,jk->ik"}, "axes of one label differ: 3 and 4"),
    ("Add", [(2, 3), (4,)], {}, "shapes 2x3 and 4 do not broadcast"),
    ("Add", [(2, 3), np.ones(3)], {}, "expected one type for its inputs A and B, got float32 and float64"),
    ("Conv", [IMAGE, np.ones((2, 4, 1, 1))], {}, "expected one type for its inputs X and W, got float32 and float64"),
    ("Concat", [(2, 3), np.ones((2, 3))], {"axis": 0}, "expected one type for its inputs, got float32 and float64"),
    ("Sqrt", [np.array(True)], {}, "its input X to be bfloat16, float16, float32 or float64, got bool"),
    ("Not", [(2, 3)], {}, "expected its input X to be bool, got float32"),
    ("Where", [(2,), (2,), (2,)], {}, "expected its input condition to be bool, got float32"),
    ("Clip", [(2, 3), np.ones(3, np.float32)], {}, "expected scalars as bounds, got shapes [(3,)]"),
    ("Cast", [(2, 3)], {"to": 8}, "element type string is not supported"),
    ("Cast", [(2, 3)], {"to": 14}, "element type complex64 is not supported"),
    ("Cast", [(2, 3)], {"to": 77}, "element type 77 is not supported"),
    ("Reshape", [(2, 3), np.array([4, 2])], {}, "holds 6 elements, (4, 2) holds 8"),
    ("Reshape", [(2, 3), np.array([4, -1])], {}, "(2, 3) does not reshape to [4, -1]"),
    ("Reshape", [(2, 3), np.array([-1, -1])], {}, "expected one -1 at most and no other negative size"),
    ("Reshape", [(2, 3), np.array([2, 3, 0])], {}, "shape [2, 3, 0] copies an axis that (2, 3) does not have"),
    ("Flatten", [(2, 3)], {"axis": 3}, "axis 3 is outside [-2, 2]"),
    ("Squeeze", [(2, 1), np.array([0])], {}, "expected axes of size 1 to squeeze, got axes [0] of (2, 1)"),
    ("Unsqueeze", [(2, 1), np.array([0, 0])], {}, "expected distinct axes, got [0, 0]"),
    ("Transpose", [(2, 3)], {"perm": [0, 0]}, "expected a permutation of 2 axes, got [0, 0]"),
    ("Expand", [(2, 3), np.array([2, 2])], {}, "do not broadcast"),
    ("Tile", [(2, 3), np.array([2])], {}, "expected 2 repeats of at least 0, got [2]"),
    ("Concat", [(2, 3), (3, 3)], {"axis": 1}, "shapes 2x3 and 3x3 do not join along axis 1"),
    ("Split", [(2, 3), np.array([1, 3])], {"axis": 1}, "expected 1 sizes that add up to 3, got [1, 3]"),
    ("Slice", [(2, 3), np.array([0]), np.array([1]), np.array([2])], {}, "axis 2 is outside [-2, 2)"),
    ("Slice", [(2, 3), np.array([0, 0]), np.array([1])], {}, "expected as many starts, ends and steps as axes"),
    ("Pad", [(2, 3), np.array([1, 1])], {}, "expected a mode of constant, edge, reflect, wrap and 4 pads"),
    ("Pad", [(2, 3), np.array([0, 3, 0, 0])], {"mode": "reflect"}, "expected reflected pads smaller than the axis"),
    ("Pad", [(2, 3), np.array([0, -2, 0, -2])], {}, "take more off than (2, 3) holds"),
    ("Gather", [(2, 3), np.array([3])], {"axis": 1}, "expected indices in [-3, 3), got 3 to 3"),
    ("GatherND", [(2, 3), np.array([[0, 0, 0]])], {}, "expected index tuples of at most 2 positions, got 3"),
    ("GatherElements", [(2, 3), np.array([[0], [0], [0]])], {"axis": 1}, "expected indices within (2, 3) off axis 1"),
    ("ScatterND", [(2, 3), np.array([[0]]), (1, 3)], {"reduction": "sub"}, "expected a reduction of none, add, mul"),
    ("DepthToSpace", [(1, 6, 2, 2)], {"blocksize": 2}, "6 channels do not divide into blocks of 2x2"),
    ("SpaceToDepth", [(1, 1, 3, 4)], {"blocksize": 2}, "3x4 does not divide into blocks of 2x2"),
    ("SpaceToDepth", [(1, 1, 3)], {"blocksize": 2}, "expected an image [N, C, H, W], a blocksize and a mode"),
    ("Trilu", [(3,)], {}, "expected matrices of at most 67108864 elements, got shape (3,)"),
    ("EyeLike", [(3,)], {}, "expected a matrix of at most 67108864 elements, got shape (3,)"),
    ("BatchNormalization", [IMAGE, (4,), (4,), (4,), (3,)], {}, "expected statistics of shape 4, got (3,)"),
    ("BatchNormalization", [IMAGE, (4,), (4,), (3,), (4,)], {"training_mode": 1}, "shapes 3 and 4 do not broadcast"),
    ("InstanceNormalization", [IMAGE, (3,), (3,)], {}, "expected a scale and a shift of shape (4,), got (3,)"),
    ("LpNormalization", [IMAGE], {"p": 3}, "expected p to be 1 or 2, got 3"),
    ("ReduceMean", [IMAGE, np.array([4])], {}, "axis 4 is outside [-4, 4)"),
    ("ReduceMean", [IMAGE, np.array([1, -3])], {}, "expected distinct axes, got [1, -3]"),
    ("Resize", [IMAGE, None, np.array([1, 1, 2], np.float32)], {}, "expected 4 scales or sizes, got 3 scales and 0"),
    ("Resize", [IMAGE, None, np.array([1, 1, 0, 1], np.float32)], {}, "expected 4 positive scales, got"),
    ("Resize", [IMAGE, None, np.array([1, 1, 0.1, 1], np.float32)], {}, "expected a result of at least one element"),
    ("Resize", [IMAGE, None, np.ones(4, np.float32) * 2], {"mode": "lanczos"}, "expected mode to be one of nearest"),
    (
        "Resize",
        [IMAGE, np.repeat([0, 1], 4).astype(np.float32), np.array([1, 1, 0.5, 0.5], np.float32)],
        {"mode": "linear", "antialias": 1, "coordinate_transformation_mode": "tf_crop_and_resize"},
        "expected floats and no tf_crop_and_resize with antialias",
    ),
    ("GridSample", [IMAGE, (2, 2, 2, 2)], {}, "expected x [N, C, *S] and a grid [N, *O, 2], got 1x4x6x6 and 2x2x2x2"),
    ("CumSum", [(2, 3), np.array(2)], {}, "axis 2 is outside [-2, 2)"),
    ("QuantizeLinear", [IMAGE, np.ones(3, np.float32)], {"axis": 1}, "expected a scalar or 4 numbers (axis 1), got"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("op_type", "operands", "attributes", "message"), REFUSED, ids=[f"{case[0]}-{case[3][:40]}" for case in REFUSED]
)
def test_operands_and_attributes_that_do_not_fit(refusal, model_of, op_type, operands, attributes, message):
    names = ["" if operand is None else f"in{i}" for i, operand in enumerate(operands)]
    given = dict(zip(names, operands))
    inputs = {name: shape for name, shape in given.items() if isinstance(shape, tuple)}
    weights = {name: array for name, array in given.items() if isinstance(array, np.ndarray)}
    model = model_of([node(op_type, *names, **attributes)], inputs, ["y"], weights=weights)
    found = refusal(model)
    assert found.startswith(f"node 'n' ({op_type}): ")
    assert message in found


NEEDED = [
    ("Reshape", 1, "shape"),
    ("Expand", 1, "shape"),
    ("Tile", 1, "repeats"),
    ("Slice", 1, "starts"),
    ("Pad", 1, "pads"),
    ("Squeeze", 1, "axes"),
    ("Unsqueeze", 1, "axes"),
    ("ReduceSum", 1, "axes"),
    ("Split", 1, "split"),
    ("Compress", 1, "condition"),
]


@pytest.mark.parametrize(("op_type", "position", "what"), NEEDED)
def test_inputs_that_must_be_known_at_import(refusal, model_of, op_type, position, what):
    names = ["x", "i", "i"] if op_type == "Slice" else ["x", "i"]
    dtype = bool if what == "condition" else np.int64
    model = model_of([node(op_type, *names)], {"x": (2, 3), "i": (dtype, (2,))}, ["y"])
    expected = f"expected its {what} (input {position}) to be constant, it is computed at run time"
    assert refusal(model) == f"node 'n' ({op_type}): {expected}"


@pytest.mark.parametrize("op_type", ["ConstantOfShape", "Range"])
def test_results_whose_shape_depends_on_computed_values(refusal, model_of, op_type):
    names = ["i", "i", "i"] if op_type == "Range" else ["i"]
    model = model_of([node(op_type, *names)], {"i": (np.int64, ())}, ["y"])
    assert "expected constant inputs and a result of moderate size" in refusal(model)


def test_a_result_that_is_too_large(refusal, model_of):
    model = model_of([node("Expand", "x", "s")], {"x": (1, 1)}, ["y"], weights={"s": np.array([1 << 20, 1 << 20])})
    assert refusal(model) == (
        "node 'n' (Expand): expected at most 2147483648 elements, its result 'y' has 1099511627776"
    )


def test_a_message_is_one_line_whatever_names_hold(refusal, model_of):
    model = model_of([node("Softmax", "x", name="a\nb\tc", axis=9)], {"x": IMAGE}, ["y"])
    assert refusal(model) == "node 'a b c' (Softmax): axis 9 is outside [-4, 4)"
