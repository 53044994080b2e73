"""Matrix products, determinants and Einsum against onnxruntime."""

import numpy as np
import pytest
from onnx import helper

GEMM = [
    ("plain", [(3, 4), (4, 5)], {}),
    ("bias", [(3, 4), (4, 5), (5,)], {}),
    ("transposed", [(4, 3), (5, 4)], {"transA": 1, "transB": 1}),
    ("scaled", [(3, 4), (4, 5), (3, 5)], {"alpha": 0.5, "beta": 2.0}),
    ("beta 0", [(3, 4), (4, 5), (3, 5)], {"beta": 0.0}),
    ("scalar bias", [(3, 4), (4, 5), ()], {"beta": 0.25}),
    ("column bias", [(3, 4), (5, 4), (3, 1)], {"transB": 1}),
]


@pytest.mark.parametrize(("operands", "attributes"), [case[1:] for case in GEMM], ids=[case[0] for case in GEMM])
@pytest.mark.parametrize("opset", [7, 11, 13])
def test_gemm(agrees, opset, operands, attributes):
    operands = operands if opset >= 11 or len(operands) == 3 else [*operands, (1,)]  # C was not always optional
    agrees("Gemm", operands, opset=opset, **attributes)


def test_gemm_scales_its_weight_at_import(agrees, model_of, operations):
    w = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
    agrees("Gemm", [(3, 4), w], alpha=0.5)
    model = model_of([helper.make_node("Gemm", ["x", "w"], ["y"], alpha=0.5)], {"x": (3, 4)}, ["y"], weights={"w": w})
    assert operations(model) == ["matmul"]


MATMULS = [
    [(3, 4), (4, 5)],
    [(4,), (4, 5)],
    [(3, 4), (4,)],
    [(4,), (4,)],
    [(2, 3, 4), (4, 5)],
    [(2, 3, 4), (2, 4, 1)],
    [(2, 1, 3, 4), (5, 4, 2)],
    [(4,), (2, 4, 3)],
    [(2, 3, 4), (4,)],
]


@pytest.mark.parametrize("shapes", MATMULS, ids=str)
def test_matmul(agrees, shapes):
    agrees("MatMul", shapes)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [(), (7,), (3, 1, 2)], ids=str)
def test_det(agrees, live, batch, n):
    agrees("Det", [(*batch, n, n)], opset=22)
    x = np.random.default_rng(1).standard_normal((*batch, n, n))
    agrees("Det", [live(x)], opset=22, tolerance=1e-13, expected=[np.linalg.det(x)])


@pytest.mark.parametrize("shape", [(2, 5, 5), (2, 3)], ids=str)
def test_determinants_that_are_not_written_out(refusal, model_of, shape):
    model = model_of([helper.make_node("Det", ["x"], ["y"])], {"x": shape}, ["y"], opset=22)
    assert f"expected square matrices of 1 to 4 rows, got shape {shape}" in refusal(model)


EINSUMS = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,kj->ik", [(2, 3), (4, 3)]),
    ("bij,bjk->bik", [(5, 2, 3), (5, 3, 4)]),
    ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
    ("bhwc,hkc->bhwk", [(2, 3, 4, 5), (3, 6, 5)]),
    ("bijk,bil->bjkl", [(2, 3, 4, 5), (2, 3, 6)]),
    ("i,j->ij", [(3,), (4,)]),
    ("i,i", [(3,), (3,)]),
    ("i,i->i", [(3,), (3,)]),
    ("ij->ji", [(2, 3)]),
    ("ij->j", [(2, 3)]),
    ("ij", [(2, 3)]),
    ("ba", [(2, 3)]),
    ("ij->", [(2, 3)]),
    ("ijk,ik->kj", [(2, 3, 4), (2, 4)]),
    ("ij,ik->j", [(2, 3), (2, 4)]),
    ("...ij,...jk->...ik", [(2, 5, 3, 4), (5, 4, 6)]),
    ("...ij,jk->...ik", [(2, 3, 4), (4, 5)]),
    ("...ij->...ji", [(2, 3, 4)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ("ii->i", [(4, 4)]),
    ("bii->b", [(3, 4, 4)]),
    ("bij,bjb->ib", [(3, 2, 4), (3, 4, 3)]),
    (" i j , j k -> i k ", [(2, 3), (3, 4)]),
]


@pytest.mark.parametrize(("equation", "shapes"), EINSUMS, ids=[case[0] for case in EINSUMS])
def test_einsum(agrees, equation, shapes):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    # onnxruntime knows no repeated label in a term: numpy is the reference there.
    want = np.einsum(equation.replace(" ", ""), *arrays)
    agrees("Einsum", [a.astype(np.float32) for a in arrays], equation=equation, expected=[want.astype(np.float32)])
    if not any(part in equation for part in ("ii", "jb", "jk->...")):  # nor ellipses of several ranks
        agrees("Einsum", shapes, equation=equation)
