"""Import of ONNX models.

`import_model` returns a module whose @main takes and returns plain tensors; the function's attributes
`convc.input_names` and `convc.output_names` hold the model's own names (see `convc.ir.signature`).
"""

from convc.frontends.onnx.importer import import_model
from convc.frontends.onnx.problem import ImportProblem
from convc.frontends.onnx.registry import supported_operators

__all__ = ["ImportProblem", "import_model", "supported_operators"]
