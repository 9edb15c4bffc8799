"""Which model packs can be used, and what is said about the others."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from photomaker.photos.faces import FaceFinder
from photomaker.weights.sources import CheckpointError
from tests.assets import PACK, face_root, photo

WHOLE = ("scrfd.onnx", "fr_feature.onnx")


def part(name: str) -> bytes:
    return (face_root() / "models" / PACK / name).read_bytes()


def test_a_detector_of_any_input_size_is_shown_smaller_photos(tmp_path: Path, finder: FaceFinder) -> None:
    folder = tmp_path / "models" / "flexible"
    folder.mkdir(parents=True)
    model = onnx.load_from_string(part("scrfd.onnx"))
    for axis, name in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    for output in model.graph.output:
        for dimension in output.type.tensor_type.shape.dim:
            dimension.ClearField("dim_value")
    onnx.save(model, folder / "scrfd.onnx")
    (folder / "fr_feature.onnx").write_bytes(part("fr_feature.onnx"))
    flexible = FaceFinder("flexible", tmp_path)
    assert flexible.detector.static_input_size is None
    for size in (640, 256):
        (face,) = flexible.detect(0, photo("obama"), size)
        (fixed,) = finder.detect(0, photo("obama"), size)
        np.testing.assert_allclose(face.box, fixed.box, atol=8)


def whole(folder: Path) -> None:
    for name in WHOLE:
        (folder / name).write_bytes(part(name))


def without_recogniser(folder: Path) -> None:
    (folder / WHOLE[0]).write_bytes(part(WHOLE[0]))


def without_detector(folder: Path) -> None:
    (folder / WHOLE[1]).write_bytes(part(WHOLE[1]))


def empty(folder: Path) -> None:
    pass


def torn(folder: Path) -> None:
    (folder / "torn.onnx").write_bytes(part(WHOLE[0])[:9000])


def boxes_only(folder: Path) -> None:
    whole(folder)
    model = onnx.load(folder / WHOLE[0])
    del model.graph.output[6:]  # of each of three sizes: scores, boxes, points
    onnx.save(model, folder / WHOLE[0])


def of_three_numbers(folder: Path) -> None:
    without_recogniser(folder)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["embedding"]),
        ],
        "mean colour",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "colour.onnx")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (without_recogniser, "there is no face recogniser"),
        (without_detector, "there is no face detector"),
        (empty, "there is no face detector"),
        (torn, "its models cannot be read"),
        (boxes_only, "its face detector gives boxes only"),
        (of_three_numbers, "its face recogniser gives 3 numbers a face, not 512"),
    ],
)
def test_a_pack_that_cannot_be_used_is_refused(write: Callable[[Path], None], said: str, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "pack"
    folder.mkdir(parents=True)
    write(folder)
    with pytest.raises(CheckpointError, match=f"{folder}: {said}"):
        FaceFinder("pack", tmp_path)


def test_a_folder_where_the_program_was_started_is_no_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = tmp_path / "store" / "models" / "pack"
    pack.mkdir(parents=True)
    whole(pack)
    (tmp_path / "pack").mkdir()
    monkeypatch.chdir(tmp_path)
    assert FaceFinder("pack", tmp_path / "store").find([photo("obama")])[0]
    assert FaceFinder("pack", "store").find([photo("obama")])[0]  # which is relative to where one is
