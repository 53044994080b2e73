"""Comparison with onnxruntime, and the search for the node where the two part."""

from convc.runtime.compare import Difference, compare
from convc.runtime.inputs import random_inputs
from convc.verify.bisect import Finding, bisect
from convc.verify.precision import FP32, PRECISIONS, Precision
from convc.verify.reference import Reference, ReferenceFailure
from convc.verify.report import OutputReport, Report, VerificationError, verify
from convc.verify.variants import verify_variants

__all__ = [
    "FP32",
    "PRECISIONS",
    "Difference",
    "Finding",
    "OutputReport",
    "Precision",
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
