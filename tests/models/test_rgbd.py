import keras
import numpy as np
import pytest

from fer_hierarchy.models import losses, registry
from fer_hierarchy.models.cost import multiply_adds, parameters, planned_cost
from fer_hierarchy.models.layers import BranchDropout
from fer_hierarchy.models.registry import create_model, register_model
from fer_hierarchy.models.rgbd import depth_image
from fer_hierarchy.models.rgbd_settings import FUSIONS, READINGS

TINY = {
    "backbone": "compact_resnet:stem_width=4:widths=8+8:blocks=1+1:strides=2+2",
    "modules": 2,
    "dim": 8,
    "heads": 2,
    "blocks": 1,
    "mlp_dim": 8,
}
# Every fusion with every reading, and each modality alone; with colour and with grey.
CASES = [
    *(
        ({"fusion": fusion, "depth": reading}, planes)
        for fusion in FUSIONS
        for reading, planes in zip(READINGS, (4, 2, 4), strict=True)
    ),
    ({"modality": "rgb"}, 4),
    ({"modality": "rgb", "fusion": "early"}, 2),
    ({"modality": "depth"}, 2),
    ({"modality": "depth", "depth": "normals", "fusion": "sum"}, 4),
]


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


def build(planes=4, **keywords):
    return create_model("rgbd_fusion", input_shape=(32, 34, planes), num_classes=3, **{**TINY, **keywords})


def faces(count=3, planes=4, seed=0):
    """Stacks of noise: colours, and depth about 600 mm away with holes."""
    rng = np.random.default_rng(seed)
    stack = rng.integers(0, 256, (count, 32, 34, planes)).astype("float32")
    stack[..., -1] = np.where(rng.random(stack.shape[:-1]) < 0.05, 0, 12_000 + 2 * stack[..., -1])
    return stack


def predicted(model, stack):
    return np.asarray(model(stack, training=False))


@pytest.mark.parametrize(("settings", "planes"), CASES)
def test_network_is_flat_shares_nothing_and_is_saved_whole(settings, planes, tmp_path):
    model = build(planes, **settings)
    if depth := depth_image(model):
        depth.set_statistics(2.0, 30.0)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    names = {layer.name for layer in model.layers}
    assert ("depth_image" in names) == (settings.get("modality") != "rgb")
    assert len({id(weight) for weight in model.weights}) == len(model.weights)
    assert planned_cost("rgbd_fusion", input_shape=(32, 34, planes), num_classes=3, **TINY, **settings) == (
        parameters(model),
        multiply_adds(model),
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    stack = faces(planes=planes)
    np.testing.assert_array_equal(predicted(model, stack), predicted(loaded, stack))
    depth = depth_image(loaded)
    reading = depth and depth.reading
    assert reading == (None if settings.get("modality") == "rgb" else settings.get("depth", "normals"))


@pytest.mark.parametrize(
    ("fusion", "modality", "seen"),
    [
        *((fusion, "rgbd", (True, True)) for fusion in FUSIONS),
        *((fusion, "rgb", (True, False)) for fusion in ("attention", "early")),
        *((fusion, "depth", (False, True)) for fusion in ("attention", "early")),
    ],
)
def test_modality_decides_which_planes_count(fusion, modality, seen):
    model, stack, other = build(fusion=fusion, modality=modality), faces(), faces(seed=1)
    for planes, counts in zip((slice(0, 3), slice(3, 4)), seen, strict=True):
        changed = stack.copy()
        changed[..., planes] = other[..., planes]
        assert (predicted(model, stack) != predicted(model, changed)).any() == counts


def test_same_backbone_begins_with_other_weights_in_each_branch():
    model = build(fusion="sum")
    kernels = [model.get_layer(f"{sees}_stage1_block1_conv2").kernel.numpy() for sees in ("rgb", "depth")]
    assert kernels[0].shape == kernels[1].shape
    assert (kernels[0] != kernels[1]).all()


def test_branches_may_differ_where_nothing_is_added():
    other = "shallow_cnn/widths=4+4/dense_width=5"
    model = build(fusion="gated", depth_backbone=other)
    assert model.get_layer("both").output.shape == (None, 8 + 5)
    assert model.get_layer("predictions").input.shape == (None, 8)
    with pytest.raises(ValueError, match="fusion=sum adds what both backbones give, which is 8 and 5 values; use"):
        build(fusion="sum", depth_backbone=other)


def test_early_fusion_gives_one_backbone_all_planes():
    assert build(fusion="early", depth="relief").get_layer("planes").output.shape[-1] == 4
    assert build(2, fusion="early", depth="relief").get_layer("planes").output.shape[-1] == 2
    assert build(fusion="early", depth="normals").get_layer("planes").output.shape[-1] == 6


def test_attention_reads_a_token_for_each_place_of_the_late_map():
    model = build(fusion="attention")
    assert model.get_layer("rgb_weighed").output.shape == model.get_layer("depth_weighed").output.shape
    places = np.prod(model.get_layer("both").output.shape[1:3])
    assert model.get_layer("tokens").output.shape == (None, 1 + places, 8)
    masks = keras.Model(model.input, [model.get_layer(f"{sees}_mask").output for sees in ("rgb", "depth")])(faces())
    assert all(((np.asarray(mask) >= 0) & (np.asarray(mask) <= 1)).all() for mask in masks)
    assert all(mask.shape[-1] == 1 for mask in masks)


def test_statistics_reach_the_depth_layer_alone():
    model, stack = build(depth="relief"), faces()
    before = predicted(model, stack)
    layer = depth_image(model)
    layer.set_statistics(10.0, 60.0)
    assert (predicted(model, stack) != before).any()
    assert (float(layer.mean), float(layer.deviation)) == (10.0, 60.0)
    with pytest.raises(ValueError, match="deviation is 0"):
        layer.set_statistics(10.0, 0)
    normals = build(depth="normals")
    before = predicted(normals, stack)
    depth_image(normals).set_statistics(10.0, 60.0)
    np.testing.assert_array_equal(predicted(normals, stack), before)
    assert depth_image(build(modality="rgb")) is None
    assert depth_image(create_model("convnet")) is None


@pytest.fixture
def learned(monkeypatch):
    """A backbone that has "ImageNet weights": all of its kernels are 7."""
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))

    @register_model(pretrained=("imagenet",))
    def learned(*, input_shape, num_classes, weights="none"):
        pixels = keras.Input(input_shape)
        x = keras.layers.Conv2D(2, 1, name="conv")(pixels)
        x = keras.layers.GlobalAveragePooling2D(name="features")(x)
        model = keras.Model(pixels, keras.layers.Dense(num_classes, name="predictions")(x))
        if weights == "imagenet":
            model.get_layer("conv").set_weights([np.full((1, 1, input_shape[2], 2), 7.0), np.zeros(2)])
        return model


@pytest.mark.usefixtures("learned")
@pytest.mark.parametrize(("other", "starts"), [(None, (True, True)), ("learned/weights=none", (True, False))])
def test_weights_go_to_the_colours_and_to_depth_in_the_same_backbone(other, starts):
    model = build(backbone="learned", depth_backbone=other, weights="imagenet", fusion="sum")
    for sees, start in zip(("rgb", "depth"), starts, strict=True):
        assert (model.get_layer(f"{sees}_conv").kernel.numpy() == 7).all() == start


def test_frozen_backbone_and_centres_train():
    """As training does it: a head on the features, a penalty on what goes into it, all else still."""
    model = build(fusion="attention")
    for layer in model.layers[:-1]:
        layer.trainable = False
    head = model.get_layer("predictions")
    assert {id(weight) for weight in model.trainable_weights} == {id(weight) for weight in head.weights}
    penalty = losses.CenterLoss(num_classes=3)
    both = keras.Model(model.input, [head.output, head.input])
    assert np.isfinite(float(penalty((both(faces())[1], np.eye(3, dtype="float32")), training=True)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fusion": "middle"}, "fusion is 'middle'; it must be late or sum or gated or attention or early"),
        ({"branch_dropout": 0.6}, r"branch_dropout is 0\.6; it must lie in \[0, 0\.5\]"),
        ({"modality": "d"}, "modality is 'd'; it must be rgbd or rgb or depth"),
        ({"depth": "hha"}, "depth is 'hha'; it must be relief or distance or normals"),
        ({"dim": 9}, "dim is 9 and heads is 2; dim must be a multiple of heads"),
        ({"modules": 0}, "modules is 0; it must be 1 or more"),
        ({"token_dropout": 1.0}, r"token_dropout is 1.0; it must lie in \[0, 1\)"),
        ({"backbone": "resnet9"}, "backbone resnet9 for rgb: unknown model 'resnet9'"),
        ({"backbone": "shallow_cnn/width=3"}, "backbone shallow_cnn:width=3 for rgb: shallow_cnn has no keyword width"),
        ({"backbone": "rgbd_fusion"}, "rgbd_fusion is no model for pictures alone"),
        (
            {"backbone": "shallow_cnn", "fusion": "attention"},
            "fusion=attention needs the map .* and shallow_cnn has none; use fusion gated",
        ),
        (
            {"backbone": "vit_small_patch/patch=2/depth=1/dim=8/heads=1", "fusion": "attention"},
            "vit_small_patch.* has none",
        ),
        ({"backbone": "mobilenet", "fusion": "early"}, "backbone mobilenet for rgbd: .* 1 or 3 channels, not for 6"),
        ({"weights": "imagenet"}, "backbone compact_resnet.* for rgb: compact_resnet has no ImageNet weights"),
        (
            {"depth_backbone": "mobilenet/alpha=0.25", "fusion": "attention"},
            "fusion=attention adds what both .* is 4x5x8 and 2x2x128 values",
        ),
    ],
)
def test_bad_settings_end_in_one_line(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(**settings)
    assert "\n" not in str(caught.value)


def lit(count, size=32):
    """Faces of four classes: a bright spot up or down in the colours, a bump left or right in the depth."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, count)
    rows, columns = np.mgrid[:size, :size]
    stack = np.empty((count, size, size, 4), "float32")
    for face, label in zip(stack, labels, strict=True):
        (x, y), (u, v) = rng.uniform(4, 12, (2, 2))
        x, v = rng.uniform(4, size - 4, 2)
        y, u = (y if label % 2 else size - y), (u if label // 2 else size - u)
        spot, bump = (np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 12) for r, c in ((y, x), (v, u)))
        face[..., :3] = (rng.uniform(60, 150) + 80 * spot + rng.normal(0, 10, (size, size)))[..., None]
        distance = rng.uniform(400, 900) - 15 * bump + rng.normal(0, 0.5, (size, size))
        distance[rng.random((size, size)) < 0.01] = 0
        face[..., 3] = np.rint(distance / 0.05)
    return stack, labels


@pytest.mark.slow
@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_learns_from_both(fusion):
    """Either modality alone separates two of four classes at best: 50 %."""
    stack, labels = lit(256)
    keras.utils.set_random_seed(0)
    backbone = "compact_resnet/stem_width=8/widths=16+32/blocks=1+1/strides=2+2"
    settings = {"backbone": backbone, "fusion": fusion, "branch_dropout": 0.0}
    tokens = {"modules": 2, "dim": 32, "blocks": 1, "heads": 2, "mlp_dim": 32}  # small, since tracing takes the time
    model = create_model("rgbd_fusion", input_shape=stack.shape[1:], num_classes=4, **settings, **tokens)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(2e-3), loss, metrics=["accuracy"], jit_compile=False)
    for _ in range(15):
        if model.fit(stack, labels, batch_size=32, verbose=0).history["accuracy"][0] > 0.8:
            return
    pytest.fail("80 % of the train faces were not reached")


def test_branch_dropout_leaves_each_face_one_branch_at_least():
    layer = BranchDropout(rate=0.25, seed=3)
    branches = [np.ones((400, 2), "float32"), np.ones((400, 2, 2, 1), "float32")]
    first, second = (np.asarray(x).reshape(400, -1) for x in layer(branches, training=True))
    assert set(np.unique(first)) | set(np.unique(second)) == {0.0, 1.0}
    assert (first == first[:, :1]).all()
    assert (second == second[:, :1]).all()
    seen = first[:, 0] + 2 * second[:, 0]  # 1 colour alone, 2 depth alone, 3 both
    shares = [(seen == kind).mean() for kind in (0, 1, 2, 3)]
    assert shares[0] == 0
    np.testing.assert_allclose(shares[1:], [0.25, 0.25, 0.5], atol=0.07)
    for kept, given in zip(layer(branches), branches, strict=True):
        np.testing.assert_array_equal(kept, given)
