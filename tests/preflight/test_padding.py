"""Padding: what a matrix unit computes beside what was asked for."""

import pytest

from scaling.config import MeshConfig, ModelConfig, ProgramConfig, build
from scaling.preflight.padding import padding_waste
from scaling.preflight.programs import Shape


def shape(tensor=1, vocabulary=1024, **model):
    fields = {"width": 512, "layers": 2, "heads": 4, "mlp_width": 2048, **model}
    program = ProgramConfig(mesh=MeshConfig(tensor=tensor))
    return Shape(model=build(ModelConfig, fields), vocabulary=vocabulary, sequence_length=256, batch_size=8, program=program)


def test_multiples_of_the_tile_waste_nothing():
    assert padding_waste(shape(), 128) == (0.0, [])


def test_half_a_tile_doubles_what_it_is_a_factor_of():
    """Heads of 64 double attention, which is L H K of L H K + 2 D (2 H K + 2 H K) ... of each layer."""
    waste, names = padding_waste(shape(heads=8), 128)
    width, query = 512, 512
    layer = 2 * width * (query + query) + 3 * width * 2048 + 256 * query
    assert waste == pytest.approx(2 * 256 * query / (2 * layer + width * 1024))
    assert names == ["model.head_width 64 becomes 128"]


def test_the_tensor_axis_splits_dimensions_before_they_are_padded():
    waste, names = padding_waste(shape(tensor=8, heads=8, head_width=128, vocabulary=50304), 128)
    assert waste > 0
    assert names == ["the vocabulary 6288 on each of 8 devices becomes 6400"]


def test_a_wider_matrix_unit_wastes_more():
    assert padding_waste(shape(width=640, heads=5), 256)[0] > padding_waste(shape(width=640, heads=5), 128)[0] == 0
