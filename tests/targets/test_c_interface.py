"""A whole network for another architecture, called by a C program through convc.h and run under emulation."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from convc.ir.dialect import CompilerContext
from convc.ir.interpreter import interpret
from convc.ir.text import parse
from convc.passes.registry import pipeline
from convc.pipeline import Build, phases
from convc.targets.cpu import library
from convc.targets.target import parse_target

NETWORK = """
builtin.module {
  func.func @main(%x: tensor<1x3x19x17xf32>) -> (tensor<1x10xf32>, tensor<1x20x5x5xf32>) {
    %w0 = convc.weight @w0 : tensor<20x3x3x3xf32>
    %w1 = convc.weight @w1 : tensor<20x1x3x3xf32>
    %w2 = convc.weight @w2 : tensor<20x20x1x1xf32>
    %w3 = convc.weight @w3 : tensor<10x20xf32>
    %a = convc.conv %x, %w0 strides [2, 2] pads [1, 1, 1, 1] dilations [1, 1] group 1
      : (tensor<1x3x19x17xf32>, tensor<20x3x3x3xf32>) -> tensor<1x20x10x9xf32>
    %b = convc.elementwise relu(%a) : (tensor<1x20x10x9xf32>) -> tensor<1x20x10x9xf32>
    %c = convc.conv %b, %w1 strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 20
      : (tensor<1x20x10x9xf32>, tensor<20x1x3x3xf32>) -> tensor<1x20x10x9xf32>
    %d = convc.pool max %c kernel [3, 3] strides [2, 2] pads [1, 1, 1, 1] dilations [1, 1]
      : (tensor<1x20x10x9xf32>) -> tensor<1x20x5x5xf32>
    %e = convc.conv %d, %w2 strides [1, 1] pads [0, 0, 0, 0] dilations [1, 1] group 1
      : (tensor<1x20x5x5xf32>, tensor<20x20x1x1xf32>) -> tensor<1x20x5x5xf32>
    %f = convc.elementwise add(%e, %d) : (tensor<1x20x5x5xf32>, tensor<1x20x5x5xf32>) -> tensor<1x20x5x5xf32>
    %s = convc.elementwise sigmoid(%f) : (tensor<1x20x5x5xf32>) -> tensor<1x20x5x5xf32>
    %m = convc.reduce mean %s axes [2, 3] : (tensor<1x20x5x5xf32>) -> tensor<1x20xf32>
    %l = convc.matmul %m, %w3 transpose_b : (tensor<1x20xf32>, tensor<10x20xf32>) -> tensor<1x10xf32>
    %y = convc.softmax %l axes [1] : (tensor<1x10xf32>) -> tensor<1x10xf32>
    func.return %y, %s : tensor<1x10xf32>, tensor<1x20x5x5xf32>
  }
}
"""
SHAPES = {"w0": (20, 3, 3, 3), "w1": (20, 1, 3, 3), "w2": (20, 20, 1, 1), "w3": (10, 20)}

MAIN = """
#include "convc.h"
#include <stdio.h>
#include <stdlib.h>
convc_run convc_run_0;
static void *memory(size_t size) { return aligned_alloc(64, (size + 63) / 64 * 64); }
static void *filled(size_t size) {
    void *place = memory(size);
    if (fread(place, 1, size, stdin) != size) exit(1);
    return place;
}
int main(int count, char **words) { /* threads, then bytes: weights, arena, input, outputs */
    size_t bytes[5];
    for (int i = 0; i < 5; ++i) bytes[i] = atol(words[2 + i]);
    if (convc_abi() != CONVC_ABI) return 2;
    void *weights = filled(bytes[0]), *inputs[] = {filled(bytes[2])}, *outputs[] = {memory(bytes[3]), memory(bytes[4])};
    int64_t ends[100];
    struct convc_call call = {inputs, outputs, weights, memory(bytes[1]), ends, atoi(words[1])};
    for (int i = 0; i < 3; ++i)
        if (convc_run_0(&call)) return 3;
    if (ends[0] <= 0 || ends[1] < ends[0]) return 4;
    fwrite(outputs[0], 1, bytes[3], stdout);
    fwrite(outputs[1], 1, bytes[4], stdout);
    return 0;
}
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_a_network_for_arm_computes_the_same(threads, tmp_path, monkeypatch, compile_program, emulator):
    run = emulator("aarch64")
    target, context, rng = parse_target("cpu:aarch64-linux-gnu"), CompilerContext(), np.random.default_rng(0)
    for key, shape in SHAPES.items():
        context.weights.add((rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), key)
    x = rng.standard_normal((1, 3, 19, 17)).astype(np.float32)
    module = parse(NETWORK, context)
    expected = interpret(module, context.weights, {"input0": x}, np.float64)
    for _, passes in phases(3, target):
        pipeline(passes).apply(context, module)

    objects: list[Path] = []
    link = library.link

    def keep(output, inputs, architecture):
        objects.extend(Path(shutil.copy(path, tmp_path)) for path in inputs)
        link(output, inputs, architecture)

    monkeypatch.setattr(library, "link", keep)
    folder = tmp_path / "net.convc"
    Build(target).finish([(module, context)], folder)
    (tmp_path / "main.c").write_text(MAIN)
    compile_program(tmp_path / "main", [tmp_path / "main.c", *objects], "aarch64")

    manifest = json.loads((folder / "manifest.json").read_text())
    file = (folder / "weights.safetensors").read_bytes()
    data = file[8 + int.from_bytes(file[:8], "little") :]
    sizes = [len(data), manifest["variants"][0]["arena_bytes"], x.nbytes, *(4 * y.size for y in expected.values())]
    command = [run, str(tmp_path / "main"), str(threads), *map(str, sizes)]
    done = subprocess.run(command, input=data + x.tobytes(), capture_output=True, check=True, timeout=120)
    found = np.frombuffer(done.stdout, np.float32)
    assert len(data) == manifest["weight_bytes"]
    for y in expected.values():
        assert np.abs(found[: y.size] - y.reshape(-1)).max() <= 1e-5 * np.abs(y).max()
        found = found[y.size :]
