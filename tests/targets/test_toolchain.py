"""Compiling and linking with and without a compiler on the machine."""

import ctypes
import importlib.util
import platform

import pytest
import tvm
from tvm import te

from convc.targets import toolchain


@pytest.fixture
def object_file(tmp_path):
    """One object file of machine code, written by LLVM."""
    x = te.placeholder((4,), name="x")
    function = te.create_prim_func([x, te.compute((4,), lambda i: x[i] + 1.0)]).with_attr("global_symbol", "main")
    path = tmp_path / "kernel.o"
    built = tvm.compile(tvm.IRModule({"main": function}), target="llvm")
    built.mod.write_to_file(str(path), "o")
    return path


def loads(library):
    return hasattr(ctypes.CDLL(str(library)), "__tvm_ffi_main")


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
def test_links_without_a_compiler(object_file, tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    toolchain.link(tmp_path / "kernels.so", [object_file], platform.machine())
    assert loads(tmp_path / "kernels.so")


@pytest.mark.skipif(toolchain.shutil.which("cc") is None, reason="this machine has no cc")
def test_links_with_cc(object_file, tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    toolchain.link(tmp_path / "kernels.so", [object_file], platform.machine())
    assert loads(tmp_path / "kernels.so")


def test_compiles_and_links_c_for_another_architecture(tmp_path):
    pytest.importorskip("ziglang", reason="only ziglang compiles for other architectures")
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[platform.machine()]
    toolchain.compile_c(toolchain.NATIVE / "runtime.c", tmp_path / "runtime.o", other)
    toolchain.link(tmp_path / "kernels.so", [tmp_path / "runtime.o"], other)
    header = (tmp_path / "kernels.so").read_bytes()[:20]
    assert header[:4] == b"\x7fELF"
    assert int.from_bytes(header[18:20], "little") == {"x86_64": 62, "aarch64": 183}[other]  # e_machine
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kernels.so", "runtime.o"]


def test_no_compiler_is_one_clear_line(object_file, tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None)
    with pytest.raises(toolchain.ToolchainError, match=r"this machine has no cc\): pip install 'convc\[linker\]'"):
        toolchain.link(tmp_path / "kernels.so", [object_file], platform.machine())
    with pytest.raises(toolchain.ToolchainError, match="expected a C compiler and linker for riscv64, found none"):
        toolchain.compile_c(toolchain.NATIVE / "runtime.c", tmp_path / "runtime.o", "riscv64")


def test_a_failing_tool_is_one_line(tmp_path):
    (tmp_path / "bad.o").write_text("not an object")
    (tmp_path / "bad.c").write_text("int main(")
    for what, call in {
        "linking kernels.so": lambda: toolchain.link(tmp_path / "kernels.so", [tmp_path / "bad.o"], platform.machine()),
        "compiling bad.c": lambda: toolchain.compile_c(tmp_path / "bad.c", tmp_path / "x.o", platform.machine()),
    }.items():
        with pytest.raises(toolchain.ToolchainError, match=rf"{what} with \S+ failed: .*error") as caught:
            call()
        assert "\n" not in str(caught.value)
