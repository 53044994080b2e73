"""Linking with and without a compiler on the machine."""

import ctypes
import importlib.util
import platform
import sys

import pytest
import tvm
from tvm import te

from convc.targets import link as linking


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
    monkeypatch.setattr(linking.shutil, "which", lambda name: None)
    linking.link(tmp_path / "kernels.so", [object_file], platform.machine())
    assert loads(tmp_path / "kernels.so")


@pytest.mark.skipif(linking.shutil.which("cc") is None, reason="this machine has no cc")
def test_links_with_cc(object_file, tmp_path, monkeypatch):
    monkeypatch.setattr(linking.importlib.util, "find_spec", lambda name: None)
    linking.link(tmp_path / "kernels.so", [object_file], platform.machine())
    assert loads(tmp_path / "kernels.so")


def test_no_linker_is_one_clear_line(object_file, tmp_path, monkeypatch):
    monkeypatch.setattr(linking.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(linking.shutil, "which", lambda name: None)
    with pytest.raises(linking.LinkError, match=r"this machine has no cc\): pip install 'convc\[linker\]'"):
        linking.link(tmp_path / "kernels.so", [object_file], platform.machine())
    with pytest.raises(linking.LinkError, match="expected a linker for riscv64, found none"):
        linking.link(tmp_path / "kernels.so", [object_file], "riscv64")


def test_a_failing_linker_is_one_line(tmp_path):
    (tmp_path / "bad.o").write_text("not an object")
    with pytest.raises(linking.LinkError, match=r"linking kernels.so with \S+ failed: ") as caught:
        linking.link(tmp_path / "kernels.so", [tmp_path / "bad.o"], platform.machine())
    assert "\n" not in str(caught.value)
    assert sys.executable in str(caught.value) or "cc" in str(caught.value)
