"""One operation for every elementwise function."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.dialects.builtin import ArrayAttr, FloatAttr, TensorType, i1
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import irdl_op_definition, opt_prop_def, prop_def, result_def, traits_def, var_operand_def
from xdsl.traits import Pure

from convc.ir import shapes
from convc.ir.attributes import element_type, shape_of
from convc.ir.dtypes import is_storage
from convc.ir.functions import FUNCTIONS, Fn, FnAttr, FnSpec
from convc.ir.op import TensorOp, float_values, floats, result_type


@irdl_op_definition
class ElementwiseOp(TensorOp):
    """`fn(operands)` with numpy broadcasting. `params` are the function's scalars, in its table's order."""

    name = "convc.elementwise"
    fn = prop_def(FnAttr)
    inputs = var_operand_def(TensorType)
    params = opt_prop_def(ArrayAttr[FloatAttr])
    result = result_def(TensorType)
    traits = traits_def(Pure())
    assembly_format = "$fn `(` $inputs `)` (`params` $params^)? attr-dict `:` functional-type(operands, results)"

    def __init__(self, fn: Fn, *inputs: SSAValue, result: TensorType | None = None, **params: float) -> None:
        spec = FUNCTIONS[fn]
        if unknown := set(params) - set(spec.params):
            raise ValueError(f"{fn} takes the parameters {list(spec.params)}, got {sorted(unknown)}")
        values = {**spec.params, **params}
        if result is None:
            shape = shapes.broadcast(*(shape_of(value) for value in inputs))
            element = i1 if spec.predicate else element_type(inputs[-1])
            result = result_type(inputs[0], shape, element)
        super().__init__(
            operands=[inputs],
            properties={
                "fn": FnAttr(fn),
                "params": floats(values[name] for name in spec.params) if spec.params else None,
            },
            result_types=[result],
        )

    @property
    def function(self) -> Fn:
        return self.fn.data

    @property
    def spec(self) -> FnSpec:
        return FUNCTIONS[self.fn.data]

    @property
    def param_values(self) -> Mapping[str, float]:
        """The parameters by name."""
        return dict(zip(self.spec.params, float_values(self.params), strict=True))

    def inferred_shape(self) -> tuple[int, ...]:
        if len(self.inputs) != self.spec.arity:
            raise ValueError(f"{self.function} takes {self.spec.arity} operands, got {len(self.inputs)}")
        if len(float_values(self.params)) != len(self.spec.params):
            raise ValueError(f"{self.function} takes the parameters {list(self.spec.params)}")
        return shapes.broadcast(*(shape_of(value) for value in self.inputs))

    def inferred_element(self) -> Attribute:
        # The last operand: `where` chooses between its second and third by a boolean first.
        elements = [element_type(value) for value in self.inputs[-2:]]
        if len(set(elements)) > 1:
            raise ValueError(f"operands have the types {' and '.join(map(str, elements))}")
        if self.function is Fn.WHERE and element_type(self.inputs[0]) != i1:
            raise ValueError(f"expected a condition of i1, got {element_type(self.inputs[0])}")
        if is_storage(elements[-1]):
            raise ValueError(f"{elements[-1]} is for storage: expected operands cast to another type")
        return i1 if self.spec.predicate else elements[-1]
