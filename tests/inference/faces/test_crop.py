import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from fer_hierarchy.hierarchy.data.images import load_images
from fer_hierarchy.hierarchy.data.manifest import make_manifest
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.inference.faces.crop import Face, crop
from fer_hierarchy.inference.faces.detectors import make_detector
from fer_hierarchy.inference.model import prepared
from fer_hierarchy.inference.settings import FaceConfig
from tests.inference.stand_ins import facts

EYES = np.array([[220, 190], [308, 186]])  # (column, row) in the portrait
YUNET_HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}  # values for each cell
LIT = 255


@pytest.fixture(scope="module")
def portrait():
    """600x512 RGB, one face."""
    path = Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(scope="module")
def haar():
    return detector(detector="haar")


@pytest.fixture(scope="module", params=["blazeface", "haar"])
def finder(request):
    """Each detector that needs no file of the user's."""
    return detector(detector=request.param)


def detector(**settings):
    return make_detector(FaceConfig(**settings))


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def is_the_portrait(face, *, scale=1.0, at=(0, 0)):
    """Whether a box is as large as the portrait's face and holds both of its eyes in its upper half."""
    left, top, width, height = face.box
    eyes = EYES * scale + at
    across = (eyes[:, 0] > left) & (eyes[:, 0] < left + width)
    down = (eyes[:, 1] > top) & (eyes[:, 1] < top + height / 2)
    return across.all() and down.all() and 180 * scale < height < 280 * scale


# --- Haar


def test_haar_finds_the_face_of_a_portrait_in_colour_and_grey(haar, portrait):
    grey = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    for faces in haar.find([portrait, grey]):
        assert len(faces) == 1
        assert is_the_portrait(faces[0])
        assert (faces[0].score, faces[0].points) == (None, None)


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 3), (2, 3, 3), (1, 3000), (3000, 1, 3), (480, 640), (480, 640, 3)])
@pytest.mark.parametrize("value", [0, 255])
def test_it_finds_no_face_where_there_is_nothing(finder, shape, value):
    assert finder.find([np.full(shape, value, np.uint8)]) == [[]]


def test_it_finds_no_face_in_noise_and_none_in_no_picture(finder):
    assert finder.find([noise((400, 500, 3))]) == [[]]
    assert finder.find([]) == []


def test_every_picture_of_a_batch_gets_its_own_faces(finder, portrait):
    half = cv2.resize(portrait, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    found = finder.find([half, np.zeros((5, 5), np.uint8), portrait, half])
    assert [len(faces) for faces in found] == [1, 0, 1, 1]
    assert is_the_portrait(found[0][0], scale=0.5)
    assert is_the_portrait(found[2][0])
    assert found[3] == found[0]


def test_it_finds_forty_faces(finder, portrait):
    tile = cv2.resize(portrait[40:400, 90:450], (140, 140), interpolation=cv2.INTER_AREA)
    canvas = np.full((5 * 180, 8 * 180, 3), 128, np.uint8)
    for row in range(5):
        for column in range(8):
            canvas[row * 180 + 20 :, column * 180 + 20 :][:140, :140] = tile
    (faces,) = finder.find([canvas])
    assert 38 <= len(faces) <= 42
    assert len({(face.box[0] // 180, face.box[1] // 180) for face in faces}) >= 38


def test_the_largest_face_comes_first(finder, portrait):
    face = portrait[40:400, 90:450]
    canvas = np.full((420, 1100, 3), 128, np.uint8)
    for left, side in ((20, 100), (200, 360), (620, 200)):
        canvas[30 : 30 + side, left : left + side] = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    (faces,) = finder.find([canvas])
    assert [face.box[0] // 200 for face in faces] == [1, 3, 0]


@pytest.mark.parametrize("scale", [0.25, 2, 5])
def test_boxes_come_in_the_pixels_of_the_picture(finder, portrait, scale):
    """The largest has eight megapixels: it is shrunk for the search."""
    picture = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    (faces,) = finder.find([picture])
    assert is_the_portrait(faces[0], scale=scale)


def test_a_very_wide_picture_is_searched_quickly_and_keeps_its_shape(finder, portrait):
    wide = noise((2000, 20000))
    wide[700:1300, 15000:15512] = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    began = time.process_time()
    (faces,) = finder.find([wide])
    assert time.process_time() - began < 5  # seconds; at full size it takes far more
    assert len(faces) == 1
    assert is_the_portrait(faces[0], at=(15000, 700))


def test_faces_below_the_smallest_are_left_out(portrait):
    small = cv2.resize(portrait, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)  # the face has 60 pixels
    assert len(detector(min_face=40).find([small])[0]) == 1
    assert detector(min_face=100).find([small]) == [[]]
    assert detector(min_face=4096).find([small]) == [[]]


def test_boxes_stay_in_the_picture(finder, portrait):
    cut = portrait[95:345, 140:390]  # hardly more than the face
    (faces,) = finder.find([cut])
    left, top, width, height = faces[0].box
    assert left >= 0
    assert top >= 0
    assert left + width <= 250
    assert top + height <= 250


def test_threads_may_share_a_detector(finder, portrait):
    small = cv2.resize(portrait, (256, 300), interpolation=cv2.INTER_AREA)
    pictures = [small, np.fliplr(small).copy()]
    alone = finder.find(pictures)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(finder.find, [pictures] * 8))
    assert together == [alone] * 8


def test_without_cascades_one_line_says_so(monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(UserError, match=r"haar needs OpenCV's cascades.*opencv-python<5"):
        detector(detector="haar")


# --- Making a detector


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"detector": "dlib"}, "--detector: expected one of blazeface, haar, mtcnn, yunet, got 'dlib'"),
        ({"min_face": 0}, "--min-face: expected at least 8"),
        ({"margin": -0.5}, "--margin: expected at least -0.4 and at most 2"),
        ({"margin": float("nan")}, "--margin: expected a number"),
        ({"detector_model": "net.onnx"}, "--detector blazeface takes no --detector-model"),
        ({"detector": "yunet"}, "--detector yunet needs --detector-model FILE"),
        ({"detector": "haar", "min_score": 0.5}, "--min-score does not go with --detector haar"),
        ({"min_score": 1.0}, "--min-score: expected at least 0.01 and at most 0.99"),
        ({"max_faces": 0}, "--max-faces: expected at least 1"),
        ({"faces": "first"}, "--faces: expected one of all, largest, got 'first'"),
    ],
)
def test_wrong_settings_are_one_line(options, words):
    with pytest.raises(UserError, match=words) as caught:
        detector(**options)
    assert "\n" not in str(caught.value)


def test_faces_cut_out_already_need_no_detector():
    assert detector(cropped=True) is None


# --- Crops


def test_a_crop_inside_is_exactly_those_pixels():
    picture = noise((60, 80, 3))
    cut = crop(picture, Face(box=(13, 7, 21, 21)), margin=0, align=False)
    assert np.array_equal(cut, picture[7:28, 13:34])
    cut[:] = 0
    assert picture[7:28, 13:34].any()


def test_the_margin_widens_the_box_at_every_side():
    picture = noise((100, 100))
    assert np.array_equal(crop(picture, Face(box=(40, 30, 20, 20)), margin=0.5), picture[20:60, 30:70])
    own = crop(picture, Face(box=(40, 30, 20, 20), margin=0.25))
    assert np.array_equal(own, picture[25:55, 35:65])


def test_an_oblong_box_becomes_a_square_about_its_middle():
    picture = noise((100, 100, 3))
    assert np.array_equal(crop(picture, Face(box=(40, 20, 10, 30)), margin=0), picture[20:50, 30:60])


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3), (1, 1), (1, 1, 3)])
def test_outside_the_picture_its_border_is_repeated(shape):
    picture = noise(shape)
    height, width = shape[:2]
    face = Face(box=(0, 0, width, height))
    wide = 2 * max(height, width)  # of the square: half a box more at every side
    cut = crop(picture, face, margin=0.5)
    rows = np.clip(np.arange(wide) - (wide - height) // 2, 0, height - 1)
    columns = np.clip(np.arange(wide) - (wide - width) // 2, 0, width - 1)
    assert np.array_equal(cut, picture[rows][:, columns])


def test_a_box_outside_the_picture_gives_its_border():
    picture = noise((20, 20))
    assert np.array_equal(crop(picture, Face(box=(50, 5, 4, 4)), margin=0), np.repeat(picture[5:9, -1:], 4, axis=1))


def dotted(eyes, shape=(200, 300)):
    """A grey picture, dark at the left and bright at the right, with two white eyes."""
    picture = np.tile(np.linspace(60, 120, shape[1]).astype(np.uint8), (shape[0], 1))
    for column, row in np.rint(eyes).astype(int).tolist():
        cv2.circle(picture, (column, row), 3, LIT, -1)
    return picture


def eyes_in(cut):
    """(column, row) of the two eyes in a crop."""
    _, _, _, centres = cv2.connectedComponentsWithStats((cut > 180).astype(np.uint8))
    return centres[1:][np.argsort(centres[1:, 0])]


@pytest.mark.parametrize("box", [(100, 50, 90, 90), (0, 0, 90, 90), (230, 130, 70, 70)])
@pytest.mark.parametrize("degrees", [-60, -20, 0, 7, 35])
def test_tilted_eyes_become_level_and_the_face_stays_in_the_middle(box, degrees):
    middle = np.array(box[:2]) + (np.array(box[2:]) - 1) / 2
    turn = cv2.getRotationMatrix2D((0, 0), -degrees, 1.0)[:, :2]
    eyes = middle + np.array([[-18, -10], [18, -10]]) @ turn.T
    cut = crop(dotted(eyes), Face(box=box, points=eyes), margin=0.2)
    side = round(box[2] * 1.4)
    assert cut.shape == (side, side)
    assert np.abs(eyes_in(cut) - (side - 1) / 2 - [[-18, -10], [18, -10]]).max() < 1.2
    assert cut.min() >= 59  # nothing black comes in from outside


def test_without_the_wish_or_without_eyes_nothing_is_turned():
    eyes = np.array([[120.0, 80.0], [160.0, 100.0]])
    picture, box = dotted(eyes), (100, 50, 90, 90)
    straight = picture[50:140, 100:190]
    assert np.array_equal(crop(picture, Face(box=box, points=eyes), margin=0, align=False), straight)
    assert np.array_equal(crop(picture, Face(box=box), margin=0, align=True), straight)
    assert not np.array_equal(crop(picture, Face(box=box, points=eyes), margin=0, align=True), straight)


def test_the_eyes_of_a_profile_turn_nothing():
    eyes = np.array([[140.0, 80.0], [144.0, 86.0]])
    picture = dotted(eyes)
    assert np.array_equal(crop(picture, Face(box=(100, 50, 90, 90), points=eyes), margin=0), picture[50:140, 100:190])


@pytest.mark.parametrize(("size", "channels"), [(48, 1), (64, 3)])
def test_crops_are_prepared_as_training_faces_are(haar, portrait, size, channels, tmp_path, monkeypatch):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    (faces,) = haar.find([portrait])
    cuts = [crop(portrait, faces[0]), crop(portrait[..., 0].copy(), faces[0], margin=0.3), portrait]
    paths = [tmp_path / f"{number}.png" for number in range(len(cuts))]
    for path, cut in zip(paths, cuts, strict=True):
        Image.fromarray(cut).save(path)
    manifest = make_manifest(
        ids=[path.stem for path in paths], paths=[str(path) for path in paths], emotions=["happy"] * 3, source="folder"
    )
    trained = load_images(manifest, size=size, channels=channels, skip_bad=False).pixels
    assert np.array_equal(prepared(cuts, facts(size=size, channels=channels)), trained)


# --- YuNet


@pytest.fixture(scope="module")
def yunet(tmp_path_factory):
    return detector(
        detector="yunet", detector_model=write_yunet(tmp_path_factory.mktemp("yunet") / "face.onnx"), min_face=16
    )


def write_yunet(path):
    """An ONNX file with YuNet's outputs, which sees a face of 32 pixels around every white cell of 8x8 pixels."""
    nodes, weights, outputs = [], [numpy_helper.from_array(np.array([1, -1, n]), f"as_{n}") for n in (1, 4, 10)], []
    for stride in (8, 16, 32):
        for head, values in YUNET_HEADS.items():
            name = f"{head}_{stride}"
            kernel, bias = yunet_head(head, stride)
            weights += [numpy_helper.from_array(kernel, f"{name}_w"), numpy_helper.from_array(bias, f"{name}_b")]
            convolved = ["input", f"{name}_w", f"{name}_b"]
            nodes += [
                helper.make_node("Conv", convolved, [f"{name}_map"], kernel_shape=[stride] * 2, strides=[stride] * 2),
                helper.make_node("Transpose", [f"{name}_map"], [f"{name}_last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_last", f"as_{values}"], [name]),
            ]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, values]))
    picture = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 640, 640])
    save_onnx(path, nodes, picture, outputs, weights)
    return str(path)


def yunet_head(head, stride):
    """Kernel and bias: brightness is the score; boxes and landmarks are in cells from the cell's corner."""
    values = YUNET_HEADS[head]
    kernel, bias = np.zeros((values, 3, stride, stride), np.float32), np.zeros(values, np.float32)
    if stride == 8 and head in ("cls", "obj"):
        kernel += 1 / (LIT * kernel[0].size)
    if head == "bbox":
        bias[:] = [0.5, 0.5, np.log(4), np.log(4)]
    if head == "kps":
        bias[:4] = [1.5, 0, -0.5, 0.25]  # the eyes, the one on the picture's right first
    return kernel, bias


def save_onnx(path, nodes, picture, outputs, weights=()):
    graph = helper.make_graph(nodes, "g", [picture], outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


@pytest.mark.parametrize("shape", [(120, 200), (120, 200, 3)])
def test_yunet_finds_a_face_where_it_is(yunet, shape):
    picture = np.zeros(shape, np.uint8)
    picture[32:40, 48:56] = LIT
    (faces,) = yunet.find([picture])
    (face,) = faces
    assert face.box == (36, 20, 32, 32)
    assert face.score == pytest.approx(1, abs=1e-3)
    assert np.allclose(face.points, [[60, 32], [44, 34]])
    assert crop(picture, face, align=False, margin=0)[16, 16].min() == LIT


def test_yunet_finds_several_in_pictures_of_several_sizes(yunet):
    pair = np.zeros((100, 300, 3), np.uint8)
    pair[40:48, 40:48] = pair[40:48, 200:208] = LIT
    edge = np.zeros((50, 61), np.uint8)
    edge[0:8, 0:8] = LIT
    found = yunet.find([pair, np.zeros((1, 1), np.uint8), edge])
    assert [len(faces) for faces in found] == [2, 0, 1]
    assert found[2][0].box == (0, 0, 20, 20)  # clipped into the picture


def test_yunet_searches_a_large_picture_in_a_smaller_one(yunet):
    picture = np.zeros((1280, 1280, 3), np.uint8)
    picture[320:336, 640:656] = LIT
    (faces,) = yunet.find([picture])
    assert [face.box for face in faces] == [(616, 296, 64, 64)]
    assert np.allclose(faces[0].points, [[664.5, 320.5], [632.5, 324.5]])


def test_a_missing_model_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none\.onnx: file is missing; expected the ONNX file of YuNet"):
        detector(detector="yunet", detector_model=str(tmp_path / "none.onnx"))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "empty file"), (b"not a network\n", "is not YuNet's"), (bytes(range(256)) * 20, "is not YuNet's")],
)
def test_a_file_that_is_no_model_is_one_line(tmp_path, capfd, content, says):
    path = tmp_path / "text.onnx"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"text\.onnx.* {says}.*; expected the ONNX file") as caught:
        detector(detector="yunet", detector_model=str(path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_another_network_is_one_line(tmp_path, capfd):
    """A classifier of 10x10 pictures: OpenCV reads it, and has much to say when it meets the first picture."""
    path = tmp_path / "other.onnx"
    ends = [
        helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 10, 10]),
        helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 7]),
    ]
    nodes = [helper.make_node("Flatten", ["input"], ["flat"]), helper.make_node("Gemm", ["flat", "w"], ["out"])]
    save_onnx(path, nodes, ends[0], ends[1:], [numpy_helper.from_array(np.ones((300, 7), np.float32), "w")])
    with pytest.raises(UserError, match=r"other\.onnx is not YuNet's"):
        detector(detector="yunet", detector_model=str(path))
    assert capfd.readouterr().err == ""


# --- MTCNN


@pytest.fixture(scope="module")
def mtcnn():
    pytest.importorskip("mtcnn", reason="the optional package mtcnn is not installed")
    return detector(detector="mtcnn")


@pytest.mark.slow
def test_mtcnn_finds_the_face_its_eyes_and_its_score(mtcnn, portrait):
    grey = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)
    for faces in mtcnn.find([portrait, grey]):
        assert len(faces) == 1
        assert is_the_portrait(faces[0])
        assert np.abs(faces[0].points - EYES).max() < 12
        assert 0.9 < faces[0].score <= 1


@pytest.mark.slow
def test_mtcnn_takes_pictures_of_different_sizes_and_without_faces(mtcnn, portrait):
    wide = np.zeros((700, 900, 3), np.uint8)
    wide[50:650, 300:812] = portrait
    sizes = [(1, 1), (11, 30, 3), (700, 900, 3), (30, 3000)]
    blank = [np.zeros(size, np.uint8) for size in sizes]
    found = mtcnn.find([*blank, portrait, wide])
    assert [len(faces) for faces in found] == [0, 0, 0, 0, 1, 1]
    assert is_the_portrait(found[4][0])
    assert is_the_portrait(found[5][0], at=(300, 50))


@pytest.mark.slow
@pytest.mark.parametrize(("smallest", "count"), [(20, 1), (64, 1), (150, 1), (400, 0)])
def test_mtcnn_finds_faces_above_the_smallest_whatever_it_is(mtcnn, portrait, smallest, count):
    (faces,) = detector(detector="mtcnn", min_face=smallest).find([portrait])
    assert len(faces) == count


def test_without_mtcnn_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mtcnn", None)
    with pytest.raises(UserError, match="detector mtcnn: no package mtcnn is installed; pip install mtcnn"):
        detector(detector="mtcnn")
