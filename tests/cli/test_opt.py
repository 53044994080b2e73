"""What a user can get wrong with `convc opt` is one line, not a traceback."""

from __future__ import annotations

import pytest

from convc.cli.main import main

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
        ("assign-layouts{weights=heaps}", "assign-layouts: expected weights to be one of blocks, chunks, got heaps"),
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
    ],
)
def test_files(arguments, expected, tmp_path, capsys):
    (tmp_path / "module.mlir").write_text(MODULE)
    assert main(["opt", *(each.replace("FOLDER", str(tmp_path)) for each in arguments)]) == 2
    assert capsys.readouterr().err == f"convc: error: {expected.replace('FOLDER', str(tmp_path))}\n"
