"""Loop nests for the boxes of an injective kernel, built statement by statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import tvm_ffi
from tvm import tirx

from convc.targets.cpu.boxes import View, linear
from convc.targets.cpu.shuffles import interleave, transpose
from convc.targets.flat import Memory
from convc.targets.lets import let, opaque

MOST_UNROLLED = 4
"""Inner loops up to this extent (the phases of an upsampling by 2 to 4) are unrolled: their indices become constant."""


@dataclass
class Loop:
    """One loop over a box, or several that no address tells apart. `steps` has a stride for each load that has
    constant ones. A pinned loop's variable occurs in the expression itself, or in an address that is not linear."""

    variable: tirx.Var
    extent: int
    stride: int
    steps: Mapping[int, int]
    pinned: bool


class Nest:
    """The loops of one view: `outer`, outermost first, around the statement `inner`. Long inner loops are cut into
    at least `pieces`, which join `outer`."""

    def __init__(self, view: View, memory: Memory, vector_bits: int, pieces: int = 1) -> None:
        self.view, self.memory = view, memory
        self.lines = [linear(load.address, view.variables) if load.operand is not None else None for load in view.loads]
        self.loops = self._merged_loops()
        self.addresses = [self._address(number) for number in range(len(view.loads))]
        self.target = memory.offset(view.box.origin) + sum((loop.variable * loop.stride for loop in self.loops), 0)
        dtypes = [memory.result.dtype, *(load.name.ty.dtype for load in view.loads)]
        self.lanes = vector_bits // (8 * max(np.dtype(str(dtype)).itemsize for dtype in dtypes))
        self.outer: list[tuple[tirx.Var, int]] = []
        if not self.loops or self.loops[-1].stride != 1:
            self._scalar()
        elif (along := self._transposed_loop()) is not None:
            self._tiles(along)
        elif self._interleaves():
            self._interleaved()
        else:
            self._vectors(pieces)

    @property
    def rows(self) -> int:
        """How many times the inner statement runs."""
        return prod(extent for _, extent in self.outer)

    def serial(self, skip: int = 0) -> tirx.Stmt:
        """The inner statement in its loops, without the first `skip` of them."""
        body = self.inner
        for depth, (variable, extent) in reversed(list(enumerate(self.outer))[skip:]):
            short = extent <= MOST_UNROLLED and depth == len(self.outer) - 1
            kind = tirx.ForKind.UNROLLED if short else tirx.ForKind.SERIAL
            body = tirx.For(variable, 0, extent, kind, body)
        return body

    def shared(self, pieces: int) -> tuple[int, tirx.Var, tirx.Stmt]:
        """The loops as about `pieces` equal shares: how many there are, the variable that counts them, and the
        statement that does one."""
        depth, shares = 0, 1
        while depth < len(self.outer) and shares < pieces:
            shares *= self.outer[depth][1]
            depth += 1
        share, rest = tirx.Var("share", "int32"), None
        body = self.serial(depth)
        bound: list[tirx.Stmt] = []
        if depth and shares > 2 * pieces:
            # The last loop in runs of several steps; the last run overlaps the one before.
            variable, extent = self.outer[depth - 1]
            runs = -(-pieces * extent // shares)
            length = -(-extent // runs)
            runs, shares = -(-extent // length), shares // extent * -(-extent // length)
            step = tirx.Var("step", "int32")
            start = _from_the_end(tirx.floormod(share, runs), length, extent)
            body = tirx.stmt_seq(tirx.Bind(variable, start + step), body)
            body = tirx.For(step, 0, length, tirx.ForKind.SERIAL, body)
            depth, rest = depth - 1, tirx.floordiv(share, runs)
        rest = share if rest is None else rest
        for number, (variable, extent) in enumerate(reversed(self.outer[:depth])):
            bound.append(tirx.Bind(variable, tirx.floormod(rest, extent) if number < depth - 1 else rest))
            rest = tirx.floordiv(rest, extent)
        return shares, share, tirx.stmt_seq(*bound, body)

    # Loops and addresses

    def _merged_loops(self) -> list[Loop]:
        pinned = self._pinned()
        loops: list[Loop] = []
        for number, (digit, variable) in enumerate(zip(self.view.box.digits, self.view.variables, strict=True)):
            steps = {at: line[0][number] for at, line in enumerate(self.lines) if line}
            loop = Loop(variable, digit.extent, digit.stride, steps, number in pinned)
            last = loops[-1] if loops else None
            if (
                last
                and not (last.pinned or loop.pinned)
                and last.stride == loop.stride * loop.extent
                and all(last.steps[at] == step * loop.extent for at, step in steps.items())
            ):
                loops.pop()
                loop = Loop(variable, last.extent * loop.extent, loop.stride, steps, False)
            loops.append(loop)
        return loops

    def _pinned(self) -> set[int]:
        expressions = [
            self.view.element,
            *(load.address for load, line in zip(self.view.loads, self.lines) if not line),
        ]
        used = [variable for e in expressions for variable in tirx.analysis.undefined_vars(tirx.Evaluate(e), [])]
        return {n for n, variable in enumerate(self.view.variables) if any(variable.same_as(other) for other in used)}

    def _address(self, number: int) -> Any:
        line = self.lines[number]
        if not line:
            return self.view.loads[number].address
        return line[1] + sum((loop.variable * loop.steps[number] for loop in self.loops), 0)

    # The four ways through a box

    def _scalar(self) -> None:
        """Element by element: nothing lies side by side in the result."""
        self.outer = [(loop.variable, loop.extent) for loop in self.loops]
        self.inner = self._store({}, 1)

    def _vectors(self, pieces: int) -> None:
        """Vectors along the innermost loop."""
        *around, loop = self.loops
        self.outer = [(outer.variable, outer.extent) for outer in around]
        width = min(self.lanes, 1 << (loop.extent.bit_length() - 1))
        cuts = min(-(-pieces // self.rows), loop.extent // width)
        length, start = loop.extent, tirx.IntImm("int32", 0)
        if cuts > 1:
            length = -(-loop.extent // (cuts * width)) * width
            piece = tirx.Var("piece", "int32")
            self.outer.append((piece, -(-loop.extent // length)))
            start = _from_the_end(piece, length, loop.extent)
        body = []
        if length > width:
            chunk = tirx.Var("chunk", "int32")
            store = self._store({loop.variable: start + chunk * width}, width)
            body.append(tirx.For(chunk, 0, length // width, tirx.ForKind.SERIAL, store))
        if length % width or length == width:
            # The last vector overlaps the one before: the same elements are written twice.
            body.append(self._store({loop.variable: start + (length - width)}, width))
        self.inner = tirx.stmt_seq(*body)

    def _transposed_loop(self) -> int | None:
        """The loop along which the operands lie that do not lie along the innermost one, if tiles can be used."""
        inner = len(self.loops) - 1
        if self.loops[inner].extent < self.lanes:
            return None
        for number, step in self.loops[inner].steps.items():
            if step in (0, 1) or np.dtype(str(self.view.loads[number].name.ty.dtype)).itemsize < 4:
                continue
            for along in range(inner):
                loop = self.loops[along]
                short = max(self.lanes - loop.extent, 0)
                if loop.steps[number] == 1 and self._last_address(number) + short < self._size(number):
                    return along
        return None

    def _tiles(self, along: int) -> None:
        """Squares of `lanes` x `lanes` elements, transposed in registers between loading and storing."""
        lanes, rows, inner = self.lanes, self.loops[along], self.loops[-1]
        self.outer = [(loop.variable, loop.extent) for loop in self.loops[:-1] if loop is not rows]
        height = min(lanes, rows.extent)
        places = {}
        for loop, size in ((rows, height), (inner, lanes)):
            tile = tirx.Var("tile", "int32")
            places[loop.variable] = _from_the_end(tile, size, loop.extent)
            self.outer.append((tile, -(-loop.extent // size)))
        body: list[tirx.Stmt] = []
        local = {}
        for number, load in enumerate(self.view.loads):
            if rows.steps.get(number) != 1 or inner.steps[number] in (0, 1):
                continue
            square = tirx.decl_buffer((lanes * lanes,), load.name.ty.dtype, f"square{number}", scope="local")
            body.append(tirx.AllocBuffer(square))
            loaded = [
                self._name(body, self._ramp(number, {**places, inner.variable: places[inner.variable] + lane}))
                for lane in range(lanes)
            ]
            for i, row in enumerate(transpose(loaded, lambda vector: self._name(body, vector))[:height]):
                body.append(tirx.BufferStore(square, row, [tirx.Ramp(i * lanes, 1, lanes)]))
            local[number] = square
        for i in range(height):
            at = {**places, rows.variable: places[rows.variable] + i}
            body.append(self._store(at, lanes, {number: (square, i * lanes) for number, square in local.items()}))
        self.inner = tirx.stmt_seq(*body)

    def _interleaves(self) -> bool:
        """Whether the innermost loop is shorter than a vector and the next one continues it."""
        if len(self.loops) < 2:
            return False
        after, inner = self.loops[-2:]
        return 1 < inner.extent <= MOST_UNROLLED and after.stride == inner.extent and after.extent >= self.lanes

    def _interleaved(self) -> None:
        """A vector along the second innermost loop for each step of the innermost one, then interleaved."""
        *around, after, inner = self.loops
        lanes, tile = self.lanes, tirx.Var("tile", "int32")
        self.outer = [(loop.variable, loop.extent) for loop in around] + [(tile, -(-after.extent // lanes))]
        start = _from_the_end(tile, lanes, after.extent)
        phases = tirx.decl_buffer((inner.extent * lanes,), self.memory.result.dtype, "phases", scope="local")
        body: list[tirx.Stmt] = [tirx.AllocBuffer(phases)]
        for phase in range(inner.extent):
            lane = tirx.Var("lane", "int32")
            value = self._value({after.variable: start + lane, inner.variable: tirx.IntImm("int32", phase)})
            store = tirx.BufferStore(phases, value, [lane + phase * lanes])
            body.append(tirx.For(lane, 0, lanes, tirx.ForKind.VECTORIZED, store))
        ramps = [tirx.Ramp(phase * lanes, 1, lanes) for phase in range(inner.extent)]
        rows = [self._name(body, tirx.BufferLoad(phases, [ramp])) for ramp in ramps]
        target = _substitute(self.target, {after.variable: start, inner.variable: tirx.IntImm("int32", 0)})
        for i, vector in enumerate(interleave(rows, lanes)):
            body.append(tirx.BufferStore(self.memory.result, vector, [tirx.Ramp(target + i * lanes, 1, lanes)]))
        self.inner = tirx.stmt_seq(*body)

    # Statements

    def _store(
        self, at: Mapping[tirx.Var, Any], width: int, local: Mapping[int, tuple[tirx.Var, int]] | None = None
    ) -> tirx.Stmt:
        """Store `width` elements along the innermost loop, with some loop variables at given places and some loads
        made from local memory."""
        if width == 1:
            return tirx.BufferStore(self.memory.result, self._value(at), [_substitute(self.target, at)])
        inner, lane = self.loops[-1].variable, tirx.Var("lane", "int32")
        at = {**at, inner: at[inner] + lane}
        known = {number: tirx.BufferLoad(square, [lane + row]) for number, (square, row) in (local or {}).items()}
        store = tirx.BufferStore(self.memory.result, self._value(at, known), [_substitute(self.target, at)])
        return tirx.For(lane, 0, width, tirx.ForKind.VECTORIZED, store)

    def _value(self, at: Mapping[tirx.Var, Any], known: Mapping[int, Any] | None = None) -> Any:
        value = _substitute(self.view.element, at)
        for number, load in reversed(list(enumerate(self.view.loads))):  # an address may use loads before it
            loaded = (known or {}).get(number)
            if loaded is None:
                loaded = self._load(number, _substitute(self.addresses[number], at))
            value = let(load.name, loaded, value)
        return value

    def _load(self, number: int, address: Any) -> Any:
        operand = self.view.loads[number].operand
        return opaque(address) if operand is None else tirx.BufferLoad(self.memory.operands[operand], [address])

    def _ramp(self, number: int, at: Mapping[tirx.Var, Any]) -> Any:
        return self._load(number, tirx.Ramp(_substitute(self.addresses[number], at), 1, self.lanes))

    def _name(self, body: list[tirx.Stmt], vector: Any) -> tirx.Var:
        name = tirx.Var("v", vector.ty)
        body.append(tirx.Bind(name, vector))
        return name

    def _last_address(self, number: int) -> int:
        line = self.lines[number]
        assert line
        return line[1] + sum(max(loop.steps[number], 0) * (loop.extent - 1) for loop in self.loops)

    def _size(self, number: int) -> int:
        operand = self.view.loads[number].operand
        assert operand is not None
        return int(self.memory.operands[operand].shape[0])


def _from_the_end(tile: tirx.Var, size: int, extent: int) -> Any:
    """Where a tile begins. The last one overlaps the one before rather than leave the loop."""
    if extent == size:
        return tirx.IntImm("int32", 0)
    start = tile * size
    return start if extent % size == 0 else tirx.min(start, extent - size)


def _substitute(expression: Any, values: Mapping[tirx.Var, Any]) -> Any:
    if isinstance(expression, int):
        return tirx.IntImm("int32", expression)
    pairs = list(values.items())

    def value_of(variable: tirx.Var) -> Any:
        return next((value for name, value in pairs if name.same_as(variable)), variable)

    return tvm_ffi.structural_map(expression, (tirx.Var, value_of))
