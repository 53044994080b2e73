"""ONNX's own tests of a backend (`onnx.backend.test`), run through `convc.onnx_backend` with the default pipeline.

A seeded sample that covers the CNN profile, which is all tests of models of its operators, runs with the other tests;
`make conformance` runs every test that EXCLUDED does not name, and prints counts.
"""

from __future__ import annotations

import os
import random
import re
import sys
from collections import Counter
from functools import cache, partial

import pytest

# numpy's, of what onnx's references compute when its tests are loaded
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:onnx")

# The operators that CNNs meet.
PROFILE = """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Celu Clip Concat Constant ConstantOfShape Conv
    ConvTranspose Cos DepthToSpace Div Dropout Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements Gelu Gemm
    GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Identity
    InstanceNormalization LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpPool MatMul Max MaxPool
    Mean Min Mish Mod Mul Neg Not Or PRelu Pad Pow Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum Relu Reshape Resize Round Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToDepth
    Split Sqrt Squeeze Sub Sum Swish Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze Upsample Where
""".split()  # noqa: SIM905 (a list would be a hundred lines)

_SEQUENCES = "values are tensors: no sequences and no optional values"
_STRINGS = "elements are numbers: no strings"
_LOOPS = "a program is a fixed list of kernels: no loops over computed values"
_RANDOM = "results are a function of the inputs: no random numbers"
_TRAINING = "inference only"
_SHAPES = "shapes are static: none that follows from computed values"
_SIGNALS = "signal processing is out of scope"
_CLASSICAL = "the operators of classical machine learning are out of scope"

EXCLUDED = {
    "identity_opt|identity_sequence|if_opt|if_seq|loop13_seq|loop16_seq_none": _SEQUENCES,
    "sequence_.*|split_to_sequence_.*|optional_.*": _SEQUENCES,
    "equal_string.*|string_.*|strnormalizer_.*|regex_full_match_.*|tfidfvectorizer_.*": _STRINGS,
    "ai_onnx_ml_label_encoder_string.*|ai_onnx_ml_label_encoder_tensor.*mapping": _STRINGS,
    "loop11|scan.*|range_.*_expanded": _LOOPS,
    "linear_attention_.*": _LOOPS,
    "bernoulli.*": _RANDOM,
    "training_dropout_default.*|training_dropout|training_dropout_mask": _TRAINING,
    "adagrad.*|adam.*|momentum.*|nesterov_momentum": _TRAINING,
    "nonmaxsuppression_.*|nonzero_example|unique_.*": _SHAPES,
    "dft.*|stft.*|melweightmatrix": _SIGNALS,
    "image_decoder_.*": "inputs are tensors, not files",
    "ai_onnx_ml_array_feature_extractor|ai_onnx_ml_binarizer|ai_onnx_ml_tree_ensemble_.*": _CLASSICAL,
    "bitcast_.*": "no operator that networks of the CNN profile come with",
    "maxunpool_export_with_output_shape": "places count in the result, as in onnxruntime, which undoes a MaxPool that "
    "leaves a rest; the reference counts them in a smaller array and moves that",
    "resize_downsample_scales_(linear|cubic)_align_corners": "coordinates are those of onnxruntime and PyTorch, which "
    "count the elements of the result; the reference takes scale times size, 2.4 of 4",
}
"""Names of tests, as regular expressions of what follows `test_`, and what convc is not that they test."""

KINDS = {
    "node": "OnnxBackendNodeModelTest",
    "pytorch-converted": "OnnxBackendPyTorchConvertedModelTest",
    "pytorch-operator": "OnnxBackendPyTorchOperatorModelTest",
}
LIMIT = 120
"""Seconds for one test of the sweep; some take two when the machine is busy."""


def excluded(name: str) -> str | None:
    """Why a test is not for convc, if it is not."""
    return next((why for pattern, why in EXCLUDED.items() if re.fullmatch(f"test_({pattern})", name)), None)


@cache
def suites():
    """The classes of tests by kind. Making them takes seconds: it is left to the tests that need them."""
    import onnx.backend.test

    from convc.onnx_backend import ConvcBackend

    classes = onnx.backend.test.BackendTest(ConvcBackend, __name__).test_cases
    return {kind: classes[name] for kind, name in KINDS.items()}


def names(kind: str) -> list[str]:
    return [name.removesuffix("_cpu") for name in dir(suites()[kind]) if re.fullmatch("test_.*_cpu", name)]


@cache
def operators() -> dict[str, set[str]]:
    """The node tests of the profile, with the operators of their models."""
    from onnx.backend.test.loader import load_model_tests

    found = {case.name: {node.op_type for node in case.model.graph.node} for case in load_model_tests(kind="node")}
    return {name: used for name, used in found.items() if used <= set(PROFILE)}


def run(kind: str, name: str) -> None:
    suites()[kind](f"{name}_cpu").debug()


@pytest.mark.parametrize("operator", PROFILE)
def test_an_operator_of_the_profile(operator):
    usable = [name for name, used in operators().items() if operator in used and not excluded(name)]
    run("node", random.Random(operator).choice(sorted(usable)))


@pytest.mark.parametrize("kind", ["pytorch-converted", "pytorch-operator"])
def test_networks_of_pytorch(kind):
    for name in random.Random(0).sample(names(kind), 8):
        run(kind, name)


def test_every_exclusion_excludes_something():
    everything = [name.removeprefix("test_") for kind in KINDS for name in names(kind)]
    for pattern in EXCLUDED:
        assert any(re.fullmatch(pattern, name) for name in everything), pattern


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all(kind, capfd):
    """Each test in a process of its own, which may crash or hang."""
    from convc.tuning.processes import in_children

    run("node", "test_relu")  # loads the compiler, once for all children
    wanted = [name for name in names(kind) if not excluded(name)]
    failed = {}
    for number, child in in_children([partial(_report, kind, name) for name in wanted], LIMIT, os.cpu_count() or 1):
        if child.killed or child.process.exitcode:
            failed[wanted[number]] = f"took more than {LIMIT} s" if child.killed else child.why
    with capfd.disabled():
        print(f"\n{kind}: {len(wanted) - len(failed)} of {len(names(kind))} pass, {len(failed)} fail")
        for why, count in Counter(excluded(name) for name in names(kind)).most_common():
            if why:
                print(f"    {count} excluded: {why}")
        if kind == "node":
            good = operators().keys() & set(wanted) - failed.keys()
            print(f"    {len(good)} of the {len(operators())} in the CNN profile")
    assert not failed


def _report(kind: str, name: str) -> None:
    """In a child: the reason why a test fails as the last line."""
    try:
        run(kind, name)
    except BaseException as error:
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())}")
