"""What a user can get wrong with `convc opt` is one line, not a traceback."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper, parser

from convc.cli.main import main
from convc.passes.registry import PASSES
from convc.pipeline import Build
from convc.targets.target import parse_target

MODULE = """
builtin.module {
  func.func @main(%x: tensor<2x3x5x7xf32>) -> tensor<2x3x5x7xf32> {
    %y = convc.elementwise exp(%x) : (tensor<2x3x5x7xf32>) -> tensor<2x3x5x7xf32>
    func.return %y : tensor<2x3x5x7xf32>
  }
}
"""


@pytest.fixture
def fails(tmp_path, capsys):
    """The one line in which `convc opt` refuses some passes on a module."""

    def line(passes: str, text: str = MODULE) -> str:
        (tmp_path / "module.mlir").write_text(text)
        assert main(["opt", str(tmp_path / "module.mlir"), "-p", passes]) == 2
        printed, said = capsys.readouterr()
        assert not printed
        assert said.count("\n") == 1
        return said.removeprefix("convc: error: ").rstrip()

    return line


@pytest.mark.parametrize(
    ("passes", "expected"),
    [
        ("fuse{mode=some}", "fuse: expected mode to be one of all, single, got some"),
        ("assign-layouts{channel_block=0}", "assign-layouts: expected channel_block of at least 1, got 0"),
        ("fuse{channel_block=0}", "fuse: expected channel_block of at least 1, got 0"),
        ("pair-groups{channel_block=-8}", "pair-groups: expected channel_block of at least 1, got -8"),
        ("narrow{storage=int8}", "narrow: expected storage to be one of float16, bfloat16, got int8"),
        ("fuse,select{template=best}", 'no template for cpu is named "best"; known: '),
    ],
)
def test_options_of_passes(fails, passes, expected):
    assert fails(passes).startswith(f"--passes: {expected}")


def test_a_module_without_main(fails, tmp_path):
    expected = f"{tmp_path / 'module.mlir'}: expected a function @main in the module, found none"
    assert fails("canonicalise", "builtin.module {}") == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["FOLDER", "-p", "fuse"], "expected a FILE.mlir, FOLDER is a folder"),
        (
            ["FOLDER/module.mlir", "-p", "fuse", "--save-weights", "FOLDER/none/w.safetensors"],
            "--save-weights: FOLDER/none is no folder",
        ),
        (
            ["FOLDER/module.mlir", "-p", "fuse", "--save-weights", "FOLDER"],
            "--save-weights: expected a file, FOLDER is a folder",
        ),
        (["FOLDER/module.mlir", "-p", "fuse", "--weights", "FOLDER"], "--weights: expected a file, FOLDER is a folder"),
    ],
)
def test_files(arguments, expected, tmp_path, capsys):
    (tmp_path / "module.mlir").write_text(MODULE)
    assert main(["opt", *(each.replace("FOLDER", str(tmp_path)) for each in arguments)]) == 2
    assert capsys.readouterr().err == f"convc: error: {expected.replace('FOLDER', str(tmp_path))}\n"


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """A network of convolutions, dense, depthwise and grouped, and of a join, after each phase of the compiler."""
    folder = tmp_path_factory.mktemp("stages")
    rng = np.random.default_rng(0)
    shapes = {"w0": (16, 16, 1, 1), "w1": (16, 1, 3, 3), "w2": (16, 4, 3, 3), "w3": (24, 24, 3, 3), "w4": (24, 10)}
    shapes["w5"] = (8, 16, 1, 1)
    shapes |= dict.fromkeys(("s", "b", "m", "v"), (16,))
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]> network (float[1,16,6,6] x) => (float[1,24,6,6] y, float[1,10] z) {
            dense = Conv(x, w0)
            normal = BatchNormalization(dense, s, b, m, v)
            depthwise = Conv<pads=[1,1,1,1], group=16>(normal, w1)
            half = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(depthwise)
            grouped = Conv<pads=[1,1,1,1], group=4>(half, w2)
            eight = Conv(grouped, w5)
            join = Concat<axis=1>(grouped, eight)
            y = Conv<pads=[1,1,1,1]>(join, w3)
            mean = ReduceMean<axes=[2,3], keepdims=0>(y)
            product = MatMul(mean, w4)
            z = Softmax(product)
        }""")
    for name, shape in shapes.items():
        array = np.abs(rng.standard_normal(shape)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    Build(parse_target("cpu:haswell"), dump=folder).module(model, {})
    return folder


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("stage", ["00-import", "01-simplify", "02-fuse", "03-layouts", "04-select"])
def test_a_pass_that_comes_too_late_or_early_does_no_harm(stages, stage, name, capsys):
    """A module that another pass can read, or one line."""
    options = {"choose-gpu-algorithms": '{target="cuda:sm_90"}', "select": '{target="cpu:haswell"}'}.get(name, "")
    status = main(["opt", str(stages / f"{stage}.mlir"), "-p", f"{name}{options},canonicalise"])
    printed, said = capsys.readouterr()
    assert (status, said) == (0, "") if printed else status == 2 and said.count("\n") == 1, said


def test_narrow_comes_before_layouts(stages, capsys):
    assert main(["opt", str(stages / "03-layouts.mlir"), "-p", "narrow"]) == 2
    assert capsys.readouterr().err == (
        "convc: error: --passes: narrow: expected kernels and reshapes alone in @main, as fuse leaves it, "
        "got convc.concat: run narrow after fuse and before assign-layouts\n"
    )
