"""What a graph is made of: its inputs and outputs, its weights, and what is known of it at import."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from convc.frontends.onnx import import_model, supported_operators
from convc.ir.dialect import CompilerContext
from convc.ir.signature import input_signature, output_signature
from convc.ir.text import parse, to_text

X = np.array([[1, -2, 3]], np.float32)
RELU = helper.make_node("Relu", ["x"], ["y"])


def test_the_signature_has_the_models_names_shapes_and_types(model_of):
    nodes = [helper.make_node("ArgMax", ["image:0"], ["class/id"], axis=1)]
    module = import_model(model_of(nodes, {"image:0": (np.float16, (1, 5))}, ["class/id"]), CompilerContext())
    assert input_signature(module) == [("image:0", (1, 5), np.dtype(np.float16))]
    assert output_signature(module) == [("class/id", (1, 5 // 5), np.dtype(np.int64))]


def test_the_text_round_trips(model_of):
    nodes = [helper.make_node("Conv", ["x", "w"], ["h/1"]), helper.make_node("Relu", ["h/1"], ["1"])]
    model = model_of(nodes, {"x": (1, 2, 4, 4)}, ["1"], weights={"w": np.ones((3, 2, 3, 3), np.float32)})
    module = import_model(model, CompilerContext())
    assert to_text(parse(to_text(module))) == to_text(module)


def test_outputs_that_are_inputs_weights_and_each_other(imported, model_of):
    nodes = [RELU, helper.make_node("Identity", ["y"], ["z"]), helper.make_node("Identity", ["x"], ["same"])]
    weights = {"w": np.array([5, 6])}
    model = model_of(nodes, {"x": X.shape}, ["x", "w", "y", "z", "same", "y"], weights=weights)
    found = imported(model, {"x": X})
    assert list(found) == ["x", "w", "y", "z", "same"]
    np.testing.assert_array_equal(found["w"], [5, 6])
    for name in ("x", "same"):
        np.testing.assert_array_equal(found[name], X)
    for name in ("y", "z"):
        np.testing.assert_array_equal(found[name], [[1, 0, 3]])


def test_weights_are_no_inputs_where_old_models_list_them(model_of):
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    model = model_of(nodes, {"w": (3,), "x": X.shape}, ["y"], weights={"w": np.ones(3, np.float32)}, opset=8)
    module = import_model(model, CompilerContext())
    assert [name for name, _, _ in input_signature(module)] == ["x"]


def test_a_constant_input_leaves_the_signature(imported, model_of):
    model = model_of([helper.make_node("Reshape", ["x", "s"], ["y"])], {"x": X.shape, "s": (np.int64, (2,))}, ["y"])
    found = imported(model, {"x": X}, constants={"s": np.array([3, 1])})
    assert found["y"].shape == (3, 1)


def test_a_constant_input_of_another_type_is_refused(refusal, model_of):
    model = model_of([RELU], {"x": X.shape}, ["y"])
    assert refusal(model, constants={"x": X.astype(float)}) == (
        "expected float32 for the constant input 'x', got float64"
    )


CONSTANTS = [
    ({"value": numpy_helper.from_array(np.array([1, 2], np.float32))}, [1, 2]),
    ({"value_float": 1.5}, 1.5),
    ({"value_floats": [1.5, 2.5]}, [1.5, 2.5]),
    ({"value_int": 7}, 7),
    ({"value_ints": [7, 8, 9]}, [7, 8, 9]),
]


@pytest.mark.parametrize(("attributes", "want"), CONSTANTS, ids=[next(iter(case[0])) for case in CONSTANTS])
def test_constant_nodes(imported, model_of, attributes, want):
    model = model_of([helper.make_node("Constant", [], ["y"], **attributes)], {}, ["y"])
    np.testing.assert_array_equal(imported(model, {})["y"], want)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"value_string": "text"}, "expected a value, value_float(s) or value_int(s), got value_string"),
        ({"value": helper.make_tensor("t", TensorProto.STRING, [1], [b"text"])}, "element type string"),
        (
            {"sparse_value": helper.make_sparse_tensor(
                helper.make_tensor("v", 1, [1], [2.0]), helper.make_tensor("i", 7, [1], [3]), [5])},
            "got sparse_value",
        ),
    ],
    ids=["string", "strings", "sparse"],
)  # fmt: skip
def test_constants_that_are_no_dense_numbers_are_refused(refusal, model_of, attributes, message):
    model = model_of([helper.make_node("Constant", [], ["y"], name="c", **attributes)], {}, ["y"])
    assert message in refusal(model)


def test_sparse_weights_are_refused(refusal, model_of):
    model = model_of([RELU], {"x": X.shape}, ["y"])
    values, indices = helper.make_tensor("w", 1, [1], [2.0]), helper.make_tensor("i", 7, [1], [3])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [5]))
    assert refusal(model) == "expected dense weights, 'w' (1 in all) is a sparse initializer"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint8, np.int32, np.int64, bool])
@pytest.mark.parametrize("raw", [True, False])
def test_weights_of_every_type_and_in_both_forms(imported, model_of, dtype, raw):
    array = np.array([[0, 1, 2], [3, 100, 1]]).astype(dtype)
    element = helper.np_dtype_to_tensor_dtype(array.dtype)
    data = array.tobytes() if raw else array.flatten().tolist()
    model = model_of([helper.make_node("Identity", ["w"], ["y"])], {}, ["y"])
    model.graph.initializer.append(helper.make_tensor("w", element, array.shape, data, raw=raw))
    np.testing.assert_array_equal(imported(model, {})["y"], array)


def test_weights_of_types_that_the_ir_lacks_may_be_cast(imported, model_of):
    import ml_dtypes

    array = np.array([1.5, -2], ml_dtypes.bfloat16)
    model = model_of([helper.make_node("Cast", ["w"], ["y"], to=TensorProto.FLOAT)], {}, ["y"], weights={"w": array})
    np.testing.assert_array_equal(imported(model, {})["y"], [1.5, -2])


COMPUTED_AT_IMPORT = [
    ("NonZero", [np.array([[0, 3], [5, 0]])], {}),
    ("CumSum", [np.array([1.0, 2.0, 3.0]), np.array(0)], {"reverse": 1}),
    ("BitShift", [np.array([1, 8], np.uint8), np.array([2, 1], np.uint8)], {"direction": "LEFT"}),
    ("BitwiseAnd", [np.array([6, 3]), np.array([3])], {}),
    ("BitwiseNot", [np.array([6, 3])], {}),
    ("BitwiseOr", [np.array([6, 3]), np.array([3])], {}),
    ("BitwiseXor", [np.array([6, 3]), np.array([3])], {}),
    ("ReverseSequence", [np.arange(6, dtype=np.float32).reshape(3, 2), np.array([1, 3])], {}),
    ("TopK", [np.array([3.0, 1.0, 2.0], np.float32), np.array([2])], {"outputs": 2}),
    ("Unique", [np.array([3.0, 1.0, 3.0], np.float32)], {"outputs": 4}),
    ("ScatterND", [np.zeros((3, 2)), np.array([[1]]), np.ones((1, 2))], {}),
    ("OneHot", [np.array([1, -1]), np.array(3), np.array([0, 1])], {}),
]


@pytest.mark.parametrize(("op_type", "operands", "options"), COMPUTED_AT_IMPORT, ids=[c[0] for c in COMPUTED_AT_IMPORT])
def test_operators_of_constants_are_computed_at_import(both_run, operations, model_of, op_type, operands, options):
    """Some of them have no other way into a module."""
    attributes = dict(options)
    outputs = [f"out{i}" for i in range(attributes.pop("outputs", 1))]
    weights = {f"in{i}": array for i, array in enumerate(operands)}
    model = model_of([helper.make_node(op_type, list(weights), outputs, **attributes)], {}, outputs, weights=weights)
    both_run(model, {})
    assert operations(model) == []


def test_shape_arithmetic_never_reaches_the_module(operations, model_of):
    """A reshape to [batch, -1] as exporters write it."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"], axis=0),
        helper.make_node("Unsqueeze", ["batch", "axes"], ["batches"]),
        helper.make_node("Concat", ["batches", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["y"]),
    ]
    weights = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])}
    assert operations(model_of(nodes, {"x": (2, 3, 4)}, ["y"], weights=weights)) == ["reshape"]


def test_a_repeated_number_takes_no_memory(model_of):
    """ConstantOfShape and Expand of one number are a splat constant, and not a weight."""
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["zeros"]),
        helper.make_node("Expand", ["one", "s"], ["ones"]),
        helper.make_node("Add", ["x", "zeros"], ["h"]),
        helper.make_node("Add", ["h", "ones"], ["y"]),
    ]
    weights = {"s": np.array([1 << 15, 1 << 15]), "one": np.ones(1, np.float32)}
    context = CompilerContext()
    import_model(model_of(nodes, {"x": (1, 1)}, ["y"], weights=weights), context)
    assert context.weights.nbytes == 0


def test_a_constant_that_would_grow_too_large_is_left_to_the_run_time(operations, model_of):
    nodes = [helper.make_node("Tile", ["w", "r"], ["t"]), helper.make_node("Add", ["x", "t"], ["y"])]
    weights = {"w": np.arange(1024, dtype=np.float32), "r": np.array([1 << 20])}
    found = operations(model_of(nodes, {"x": (1,)}, ["y"], weights=weights))
    assert found == ["reshape", "broadcast", "reshape", "elementwise"]


def test_every_operator_of_the_list_is_known_to_onnx_or_an_exporter():
    import onnx

    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    others = [name for name in supported_operators() if "." not in name and name not in known]
    assert others == ["Erfc", "SimplifiedLayerNormalization"]
