"""`select` and `choose-algorithms` go by what was measured, and by the model where nothing was."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convc.ir.dialect import CompilerContext
from convc.ir.interpreter import interpret
from convc.ir.kernel import KernelOp
from convc.ir.text import kernel_text, main_function, parse, to_text
from convc.passes.registry import pipeline
from convc.targets.choosing import candidates
from convc.targets.cpu.algorithms import forms
from convc.targets.measurements import Outcome, Record, TuningError
from convc.targets.select import chosen, notes
from convc.targets.target import CpuTarget, parse_target
from convc.tuning import known
from convc.tuning.database import Database, Setting
from convc.tuning.known import export, known_choices

TARGET = "cpu:skylake-avx512"
TEXT = """
builtin.module {
  func.func @main(%x: tensor<1x64x28x28xf32>) -> tensor<1x64x28x28xf32> {
    %w = convc.weight @w : tensor<64x64x3x3xf32>
    %y = convc.conv %x, %w strides [1, 1] pads [1, 1, 1, 1] dilations [1, 1] group 1
      : (tensor<1x64x28x28xf32>, tensor<64x64x3x3xf32>) -> tensor<1x64x28x28xf32>
    func.return %y : tensor<1x64x28x28xf32>
  }
}
"""


@pytest.fixture
def target() -> CpuTarget:
    return parse_target(TARGET)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.create(tmp_path / "tuning.db")


def built(options: str = "") -> tuple[Any, CompilerContext, KernelOp]:
    """The module after all passes, and the kernel of its convolution."""
    context = CompilerContext()
    weight = np.random.default_rng(0).standard_normal((64, 64, 3, 3)) / 24
    context.weights.add(weight.astype(np.float32), "w")
    module = parse(TEXT, context)
    passes = (
        f'fuse{{channel_block=16}},assign-layouts{{channel_block=16}},choose-algorithms{{target="{TARGET}"{options}}},'
        f'prepack-weights,outline-relayouts,find-views,select{{target="{TARGET}"{options}}}'
    )
    pipeline(passes).apply(context, module)
    module.verify()
    kernels = [op for op in main_function(module).body.block.ops if isinstance(op, KernelOp) and op.anchor]
    return module, context, kernels[0]


def measured(database: Database, threads: int = 1) -> str:
    return f" measured=true database={json.dumps(str(database.path))} threads={threads}"


Times = dict[tuple[int, int], float | Outcome]


@pytest.fixture
def remember(database: Database, target: CpuTarget) -> Callable[..., None]:
    """`remember({(form, candidate): ns or outcome}, threads=1)`: records of the convolution's candidates, by number."""
    _, _, kernel = built()
    every = forms(kernel, target)

    def remember_(times: Times, threads: int = 1) -> None:
        for (form, number), result in times.items():
            template, config = list(candidates(every[form], target))[number]
            ok = isinstance(result, float)
            record = Record(template, config, "ok" if ok else result, result if ok else 0.0)
            database.add(kernel_text(every[form]), Setting.of(target, threads), record, samples=5)

    return remember_


def config_of(target: CpuTarget, form: int, number: int) -> tuple[str, dict[str, int]]:
    template, config = list(candidates(forms(built()[2], target)[form], target))[number]
    return template, dict(config)


def test_without_records_a_build_is_what_it_was(database: Database) -> None:
    plain = to_text(built()[0])
    assert to_text(built(" measured=true")[0]) == plain
    assert to_text(built(measured(database))[0]) == plain
    assert built()[2].anchor.name == "convc.winograd_conv"  # type: ignore[union-attr]


def test_the_fastest_candidate_is_chosen(database: Database, remember: Any, target: CpuTarget) -> None:
    remember({(2, 0): 300.0, (2, 1): 100.0, (2, 2): 200.0})
    kernel = built(measured(database))[2]
    assert chosen(kernel) == config_of(target, 2, 1)
    noted = notes(kernel)
    assert noted["cost"] == {"ns": 100}
    assert noted["runner_up"]["cost"] == {"ns": 200}
    assert noted["runner_up"]["config"] == config_of(target, 2, 2)[1]


def test_other_threads_are_other_measurements(database: Database, remember: Any, target: CpuTarget) -> None:
    remember({(2, 0): 300.0, (2, 1): 100.0}, threads=2)
    assert chosen(built(measured(database, threads=1))[2]) == config_of(target, 2, 0)
    assert chosen(built(measured(database, threads=2))[2]) == config_of(target, 2, 1)


def test_no_candidate_that_failed_is_chosen(database: Database, remember: Any, target: CpuTarget) -> None:
    remember({(2, 0): "wrong", (2, 1): "crashed"})
    assert chosen(built(measured(database))[2]) == config_of(target, 2, 2)


def test_what_a_template_no_longer_understands_is_passed_over(
    database: Database, remember: Any, target: CpuTarget
) -> None:
    remember({(2, 1): 200.0})
    text, setting = kernel_text(forms(built()[2], target)[2]), Setting.of(target, 1)
    database.add(text, setting, Record("winograd", {"old_name": 3}, "ok", 10.0), samples=1)
    database.add(text, setting, Record("old_template", {}, "ok", 10.0), samples=1)
    database.add(text, setting, Record("direct_conv", {"width": 3}, "ok", 10.0), samples=1)
    assert chosen(built(measured(database))[2]) == config_of(target, 2, 1)


ALGORITHMS: list[tuple[Times, str]] = [
    ({(0, 0): 100.0, (2, 0): 200.0}, "convc.conv"),
    ({(0, 0): 200.0, (2, 0): 100.0}, "convc.winograd_conv"),
    ({(0, 3): 100.0, (0, 0): 300.0, (1, 0): 150.0, (2, 0): 200.0}, "convc.conv"),
    ({(0, 0): 1.0}, "convc.winograd_conv"),  # only one form is known: the model decides
    ({(0, 0): 100.0, (1, 0): "wrong", (1, 1): "hung", (2, 0): "crashed"}, "convc.conv"),
    ({(0, 0): "crashed", (2, 0): 100.0}, "convc.winograd_conv"),
]


@pytest.mark.parametrize(("times", "expected"), ALGORITHMS)
def test_algorithms_are_compared_by_their_times(times: Times, expected: str, database: Database, remember: Any) -> None:
    remember(times)
    assert built(measured(database))[2].anchor.name == expected  # type: ignore[union-attr]


def test_the_m_of_winograd_is_measured_too(database: Database, remember: Any) -> None:
    remember({(0, 0): 300.0, (1, 0): 100.0, (2, 0): 200.0})
    assert built(measured(database))[2].anchor.m.value.data == 2  # type: ignore[union-attr]


def test_the_runner_up_may_be_another_algorithm(database: Database, remember: Any) -> None:
    remember({(0, 0): 120.0, (2, 0): 100.0, (2, 1): 150.0})
    second = notes(built(measured(database))[2])["runner_up"]
    assert (second["template"], second["cost"]) == ("direct_conv", {"ns": 120})


def test_every_form_computes_the_same(database: Database, remember: Any) -> None:
    x = {"input0": np.random.default_rng(1).standard_normal((1, 64, 28, 28)).astype(np.float32)}
    results = []
    for fastest in range(3):
        remember({(form, 0): 1.0 if form == fastest else 2.0 for form in range(3)})
        module, context, _ = built(measured(database))
        results.append(interpret(module, context.weights, x, np.float64)["output0"])
    for result in results[1:]:
        assert np.abs(result - results[0]).max() <= 1e-6 * np.abs(results[0]).max()


def test_a_kernels_forms_include_itself(target: CpuTarget) -> None:
    kernel = built()[2]
    texts = [kernel_text(form) for form in forms(kernel, target)]
    assert len(set(texts)) == 3
    assert kernel_text(kernel) == texts[2]
    assert [kernel_text(form) for form in forms(kernel, target)] == texts, "forms are copies"


def test_a_database_that_does_not_exist_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=r"no tuning database .*none\.db: make it with convc tune --db"):
        built(f' measured=true database="{tmp_path / "none.db"}"')


def shipped(
    monkeypatch: pytest.MonkeyPatch, path: Path, target: CpuTarget, records: Iterable[tuple[int, int, float]]
) -> None:
    """Let convc ship records: (form, candidate, ns)."""
    every = forms(built()[2], target)
    found = []
    for form, number, ns in records:
        template, config = list(candidates(every[form], target))[number]
        found.append((kernel_text(every[form]), Record(template, config, "ok", ns)))
    export(path, target, 1, found)
    monkeypatch.setattr(known, "PATH", path)


def test_what_ships_counts_where_the_user_has_measured_nothing(
    monkeypatch: pytest.MonkeyPatch, database: Database, remember: Any, target: CpuTarget, tmp_path: Path
) -> None:
    shipped(monkeypatch, tmp_path / "known.json", target, [(0, 2, 50.0), (2, 1, 90.0)])
    for options in (" measured=true threads=1", measured(database)):
        kernel = built(options)[2]
        assert chosen(kernel) == config_of(target, 0, 2)
    remember({(2, 3): 500.0})
    kernel = built(measured(database))[2]
    assert chosen(kernel) == config_of(target, 2, 3), "times of different machines are not compared"


def test_what_ships_is_not_chosen_where_it_failed_here(
    monkeypatch: pytest.MonkeyPatch, database: Database, remember: Any, target: CpuTarget, tmp_path: Path
) -> None:
    shipped(monkeypatch, tmp_path / "known.json", target, [(2, 1, 90.0)])
    remember({(2, 1): "wrong"})
    assert chosen(built(measured(database))[2]) == config_of(target, 2, 0)


def test_exports_add_to_a_file_and_can_be_read_line_by_line(target: CpuTarget, tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    export(path, target, 1, [("a kernel", Record("winograd", {"chunk": 7}, "ok", 12.3))])
    export(path, target, 2, [("a kernel", Record("winograd", {"chunk": 9}, "ok", 7.0))])
    export(path, target, 1, [("another", Record("direct_conv", {}, "ok", 5.0))])
    one, two = known_choices(target, 1, path), known_choices(target, 2, path)
    assert sorted(record.template for record in one.values()) == ["direct_conv", "winograd"]
    assert [record.config for record in two.values()] == [{"chunk": 9}]
    assert known_choices(parse_target("cpu:haswell"), 1, path) == {}
    assert sum('"winograd"' in line for line in path.read_text().splitlines()) == 2


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", '{"format": 99, "choices": {}}', "\x00"])
def test_what_is_no_export_is_refused(text: str, target: CpuTarget, tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    path.write_text(text)
    with pytest.raises(TuningError, match="is no file that convc tune --export wrote"):
        export(path, target, 1, [])
    assert path.read_text() == text


def test_what_ships_can_be_read(target: CpuTarget) -> None:
    assert known.PATH.stat().st_size < 100_000
    known_choices(target, 1)
