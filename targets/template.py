"""What a schedule template is: one way of computing some kernels on some targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar

from tvm import tirx

from convc.ir.kernel import KernelOp
from convc.targets.target import AnyTarget

Config: TypeAlias = Mapping[str, int]
"""The free parameters of a template: tile sizes, unroll factors. Stored in the kernel op and in the database."""


T = TypeVar("T", bound=AnyTarget, contravariant=True)


class Template(Protocol[T]):
    """One family of kernels. `select` asks the registered templates in order and takes the first candidate of
    the first that applies; tuning only reorders candidates, so the first must already be fast."""

    name: str

    def applies(self, kernel: KernelOp, target: T) -> bool:
        """Whether this template can compute the kernel, in the layouts that it has."""

    def candidates(self, kernel: KernelOp, target: T) -> Sequence[Config]:
        """Configurations, best first by the analytic model. Never empty where the template applies."""

    def schedule(self, kernel: KernelOp, config: Config, target: T) -> tirx.PrimFunc:
        """The scheduled function: parameters are the kernel's operands, then its results, in physical shapes."""
