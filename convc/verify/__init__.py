"""Comparison with onnxruntime, and the search for the node where the two part."""

from convc.verify.bisect import Finding, bisect
from convc.verify.compare import Difference, compare
from convc.verify.inputs import random_inputs
from convc.verify.reference import Reference, ReferenceFailure
from convc.verify.report import TOLERANCES, OutputReport, Report, VerificationError, verify
from convc.verify.variants import verify_variants

__all__ = [
    "TOLERANCES",
    "Difference",
    "Finding",
    "OutputReport",
    "Reference",
    "ReferenceFailure",
    "Report",
    "VerificationError",
    "bisect",
    "compare",
    "random_inputs",
    "verify",
    "verify_variants",
]
