"""How kernels are launched, as manifests say it: plain JSON values, which are not trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ctypes import Array, addressof, c_char, c_uint, c_uint64, c_void_p, create_string_buffer
from dataclasses import dataclass, fields
from typing import Any

from convc.runtime.cuda.driver import Context, CudaError

ELEMENT_BYTES = 8
"""Of a tensor map's elements. They are copied, whatever they are: wide ones let boxes, at most 256 long, be wide."""
_UINT64 = 4  # CUtensorMapDataType
_L2_128_BYTES = 2  # CUtensorMapL2promotion
_MAP_BYTES, _MAP_ALIGNMENT = 128, 128
_MOST_RANK = 5


@dataclass(frozen=True)
class TensorMap:
    """What TMA copies tiles of: an operand as a tensor of elements of 8 bytes, innermost dimension first. `strides`
    are the bytes between neighbours in each dimension but the innermost; a `box` reaches so far in each dimension, of
    which every `steps`-th element is copied."""

    operand: int
    """The number of the kernel's parameter that the tensor begins with."""
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]
    steps: tuple[int, ...]

    @staticmethod
    def read(data: Mapping[str, Any]) -> TensorMap:
        """Of a manifest. Raises CudaError."""
        try:
            operand, *dimensions = (data[field.name] for field in fields(TensorMap))
            shape, strides, box, steps = map(tuple, dimensions)
        except (KeyError, TypeError):
            raise CudaError(f"the manifest has a malformed tensor map: {dict(data)}") from None
        return TensorMap(operand, shape, strides, box, steps)

    @property
    def nbytes(self) -> int:
        """From the tensor's first byte to its last."""
        outer = zip(self.shape[1:], self.strides, strict=True)
        return self.shape[0] * ELEMENT_BYTES + sum((extent - 1) * stride for extent, stride in outer)

    def encoded(self, context: Context, address: int, room: int) -> Array[c_char]:
        """The map of a tensor at an address, as a kernel takes it. Raises CudaError where it is none, or leaves the
        `room` bytes from there on."""
        rank = len(self.shape)
        numbers = (*self.shape, *self.strides, *self.box, *self.steps)
        lengths = (len(self.strides) + 1, len(self.box), len(self.steps))
        if not 0 < rank <= _MOST_RANK or lengths != (rank,) * 3 or not all(type(n) is int and n > 0 for n in numbers):
            raise CudaError(f"the manifest has a malformed tensor map: {self}")
        if self.nbytes > room:
            raise CudaError(f"a tensor map reaches over {self.nbytes} bytes, its operand has {room}")
        memory = create_string_buffer(_MAP_BYTES + _MAP_ALIGNMENT)
        result = (c_char * _MAP_BYTES).from_buffer(memory, -addressof(memory) % _MAP_ALIGNMENT)
        context.driver.call(
            "cuTensorMapEncodeTiled",
            *(result, _UINT64, c_uint(rank), c_void_p(address)),
            (c_uint64 * rank)(*self.shape),
            (c_uint64 * rank)(*self.strides),
            (c_uint * rank)(*self.box),
            (c_uint * rank)(*self.steps),
            *(0, 0, _L2_128_BYTES, 0),
        )
        return result


class Launch:
    """A launch of a manifest on given memory, ready to be done any number of times. `memory` gives the address of an
    operand by its number, and how many bytes there are from there on. Raises CudaError."""

    def __init__(
        self,
        context: Context,
        function: c_void_p,
        launch: Mapping[str, Any],
        memory: Callable[[int], tuple[int, int]],
    ) -> None:
        self.function = function
        self.grid, self.block, self.cluster = (tuple(launch[key]) for key in ("grid", "block", "cluster"))
        self.dynamic_bytes = launch["dynamic_bytes"]
        self.early = launch.get("early") is True
        # What the pointers point to must live as long as they do.
        self._values: list[c_void_p | Array[c_char]] = []
        for operand in launch["operands"]:
            if isinstance(operand, Mapping):
                tensor_map = TensorMap.read(operand)
                self._values.append(tensor_map.encoded(context, *memory(tensor_map.operand)))
            else:
                self._values.append(c_void_p(memory(operand)[0]))
        self.parameters = (c_void_p * len(self._values))(*map(addressof, self._values))


def memory_of(places: Sequence[tuple[int, int]], scratch: tuple[int, int], operand: int) -> tuple[int, int]:
    """The address of a kernel's operand (its number, or -1 - its offset in the scratch memory), and the bytes from
    there on to the end of the memory that it is in."""
    if operand >= 0:
        return places[operand]
    begin, end = scratch
    return begin - 1 - operand, end - (begin - 1 - operand)
