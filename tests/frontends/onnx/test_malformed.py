"""A damaged or hostile model is refused, whatever it holds: no other exception, no hang, no huge allocation."""

import random
import tracemalloc

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import AttributeProto, helper, numpy_helper

from convc.frontends.onnx import ImportProblem, import_model
from convc.ir.dialect import CompilerContext

MOST = 1 << 28  # bytes that the import of a model of two kilobytes may take at any time


@pytest.fixture(name="network", scope="module")
def _network(model_of):
    """Convolution, pool, shape arithmetic, a branch, a function, a resize and a dense layer in two kilobytes."""
    node = helper.make_node
    then, otherwise = (
        helper.make_graph([node(op, ["pooled"], [op])], op, [], [helper.make_tensor_value_info(op, 1, None)])
        for op in ("Relu", "Elu")
    )
    swish = helper.make_function(
        "mine",
        "Gate",
        ["a"],
        ["b"],
        [node("Sigmoid", ["a"], ["s"]), node("Mul", ["a", "s"], ["b"])],
        [helper.make_opsetid("", 13)],
    )
    nodes = [
        node("Conv", ["x", "w", "b"], ["h"], strides=[2, 2], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("MaxPool", ["h"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        node("Shape", ["pooled"], ["shape"]),
        node("Gather", ["shape", "zero"], ["batch"], axis=0),
        node("Equal", ["batch", "zero"], ["empty"]),
        node("If", ["empty"], ["chosen"], then_branch=then, else_branch=otherwise),
        node("Gate", ["chosen"], ["gated"], domain="mine"),
        node("Resize", ["gated", "", "scales"], ["larger"], mode="linear"),
        node("Pad", ["larger", "pads"], ["padded"], mode="edge"),
        node("Slice", ["padded", "zeros", "ends"], ["cut"]),
        node("Constant", [], ["rest"], value_ints=[-1]),
        node("Unsqueeze", ["batch", "zeros1"], ["batches"]),
        node("Concat", ["batches", "rest"], ["flat"], axis=0),
        node("Reshape", ["cut", "flat"], ["features"]),
        node("Gemm", ["features", "dense"], ["scores"], transB=1, alpha=0.5),
        node("Softmax", ["scores"], ["y"], axis=-1),
    ]
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "b": np.ones(4, np.float32),
        "zero": np.array(0),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "pads": np.array([0, 0, 0, 1, 0, 0, 1, 0]),
        "zeros": np.array([0, 0]),
        "zeros1": np.array([0]),
        "ends": np.array([1, 2]),
        "dense": rng.standard_normal((3, 2 * 7 * 7)).astype(np.float16).astype(np.float32),
    }
    model = model_of(
        nodes, {"x": ("N", 3, 12, 12)}, ["y"], weights=weights, opset=13, domains={"mine": 1}, functions=[swish]
    )
    import_model(model, CompilerContext(), {"x": (1, 3, 12, 12)})
    return model


def attempt(model, shapes=None):
    """Whether the model is imported; if it is not, it is refused."""
    try:
        import_model(model, CompilerContext(), shapes).verify()
    except ImportProblem:
        return False
    return True


@pytest.fixture(name="bounded")
def _bounded():
    """The test's allocations stay within MOST."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < MOST


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes(network, bounded, tmp_path, seed):
    """Bytes replaced, lost, doubled and moved; in the structure rather than in the weights, where they do no harm."""
    rng = random.Random(seed)
    whole = network.SerializeToString()
    path = tmp_path / "net.onnx"
    imported = 0
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            at, length = rng.randrange(len(data)), rng.randint(1, 12)
            match rng.randrange(4):
                case 0:
                    data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
                case 1:
                    del data[at : at + length]
                case 2:
                    data[at:at] = data[at : at + length]
                case 3:
                    data[at:at] = rng.randbytes(length)
        path.write_bytes(data)
        imported += attempt(path, {"x": (1, 3, 12, 12)})
    assert imported < 100


HOSTILE = (0, 1, -1, 2, -2, 7, 255, 1 << 20, 1 << 31, -(1 << 31), (1 << 63) - 1, -(1 << 63))


def damage(model, rng):
    """Change one field of one node, weight or input to another value of its type, or to another type."""
    graph = model.graph
    match rng.randrange(7):
        case 0:
            node = rng.choice(graph.node)
            if node.attribute:
                attribute = rng.choice(node.attribute)
                if attribute.ints:
                    attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(HOSTILE)
                attribute.i = rng.choice(HOSTILE)
                attribute.f = rng.choice((0.0, -1.0, 1e38, float("inf"), float("nan")))
        case 1:
            node = rng.choice(graph.node)
            if node.attribute:
                rng.choice(node.attribute).type = rng.choice(list(AttributeProto.AttributeType.values()))
        case 2:
            rng.choice(graph.node).op_type = rng.choice(graph.node).op_type
        case 3:
            node = rng.choice(graph.node)
            if node.input:
                names = [name for other in graph.node for name in (*other.input, *other.output)]
                node.input[rng.randrange(len(node.input))] = rng.choice(names)
        case 4:
            weight = rng.choice(graph.initializer)
            if weight.dims:
                weight.dims[rng.randrange(len(weight.dims))] = rng.choice(HOSTILE)
            else:
                weight.dims.append(rng.choice(HOSTILE))
        case 5:
            weight = rng.choice(graph.initializer)
            array = numpy_helper.to_array(weight).copy()
            if array.size:
                array.flat[rng.randrange(array.size)] = rng.choice(HOSTILE)
                weight.CopyFrom(numpy_helper.from_array(array, weight.name))
        case 6:
            rng.choice(graph.initializer).data_type = rng.choice(list(onnx.TensorProto.DataType.values()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damaged_fields(network, bounded, seed):
    rng = random.Random(seed)
    for _ in range(60):
        model = onnx.ModelProto()
        model.CopyFrom(network)
        for _ in range(rng.randint(1, 3)):
            try:
                damage(model, rng)
            except (ValueError, TypeError, DecodeError):
                continue  # protobuf and numpy refuse some values themselves
        attempt(model, {"x": (1, 3, 12, 12)})


GROWING = {
    "ConstantOfShape": ["big"],
    "Expand": ["two", "big"],
    "Tile": ["two", "big"],
    "Range": ["zero", "count", "one"],
    "Pad": ["two", "big"],
    "OneHot": ["two", "count", "two"],
    "Trilu": ["huge"],
    "EyeLike": ["huge"],
    "MatMul": ["huge", "huge"],
    "NonZero": ["huge"],
    "Mul": ["column", "row"],
    "Gather": ["two", "many"],
    "CumSum": ["huge", "zero"],
}


@pytest.mark.parametrize("op_type", GROWING)
def test_constants_that_would_grow_without_bound(bounded, model_of, op_type):
    """A file of a few bytes asks for terabytes; and for the product of what it did get."""
    wide = np.broadcast_to(np.float32(1), (1 << 12, 1)).copy()
    weights = {
        "two": np.ones(2, np.int64) if op_type == "OneHot" else np.ones((2, 2), np.float32),
        "big": np.array([1 << 24, 1 << 24] * (2 if op_type == "Pad" else 1)),
        "side": np.array([1 << 15, 1 << 15]),
        "zero": np.array(0),
        "one": np.array(1),
        "count": np.array(1 << 50),
        "column": wide,
        "row": wide.T,
        "many": np.zeros((1 << 10, 1 << 10), np.int8).astype(np.int64),
    }
    nodes = [
        helper.make_node("ConstantOfShape", ["side"], ["huge"]),
        helper.make_node(op_type, GROWING[op_type], ["y"]),
    ]
    model = model_of(nodes, {"x": (1,)}, ["y"], weights=weights)
    attempt(model)


def test_constants_that_double(bounded, model_of):
    nodes = [helper.make_node("Concat", [f"c{i}"] * 2, [f"c{i + 1}"], axis=0) for i in range(60)]
    model = model_of(nodes, {}, ["c60"], weights={"c0": np.arange(64, dtype=np.float32)})
    assert not attempt(model)
