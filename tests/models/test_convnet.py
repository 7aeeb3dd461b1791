import pytest

from fer_hierarchy.models.registry import create_model


def test_3200_values_go_into_the_dense_layers_at_100_pixels():
    model = create_model("convnet", input_shape=(100, 100, 3))
    assert model.get_layer("flatten").output.shape == (None, 3200)
    assert [model.get_layer(f"dense{number}").units for number in (1, 2)] == [512, 64]


def test_other_sizes_work_as_long_as_a_pixel_is_left():
    model = create_model("convnet:widths=4", input_shape=(22, 48, 1))
    assert model.get_layer("conv1_pool").output.shape == (None, 10, 23, 4)
    with pytest.raises(ValueError, match=r"convnet needs .* at least 22x22 pixels"):
        create_model("convnet", input_shape=(21, 48, 1))


@pytest.mark.parametrize(
    ("spec", "message"),
    [("convnet:widths=8+8+8+8", "1 to 3 entries"), ("convnet:dense_widths=8+0", "dense_widths is .* 1 or more")],
)
def test_impossible_settings_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        create_model(spec)
