"""Names of hardware: those of Google's pages, and what a wrong one is told."""

import pytest
import yaml

from scaling.errors import ScalingError
from scaling.preflight.gpu import CARDS, target_config
from scaling.preflight.hardware import TABLE, TPUS, parse_target

TOPOLOGIES = {
    # docs.cloud.google.com/tpu/docs/v6e, /v5e, /v4, /v5p and /tpu7x: supported configurations
    "v5e-16": ("v5e:4x4", 16),
    "v5litepod-8": ("v5e:2x4", 8),
    "v6e-128": ("v6e:8x16", 128),
    "v4-8": ("v4:2x2x1", 4),
    "v4-64": ("v4:2x4x4", 32),
    "v4-384": ("v4:4x4x12", 192),
    "v5p-256": ("v5p:4x4x8", 128),
    "v5p-768": ("v5p:4x8x12", 384),
    "v5p-4096": ("v5p:8x16x16", 2048),
    "tpu7x-16": ("tpu7x:2x2x2", 16),
    "V5P:2x2x2": ("v5p:2x2x2", 8),
    "2xv5e-16": ("v5e:4x4", 32),
    "a100": ("1x1x1", 1),
    "8xh100": ("1x1x8", 8),
    "h200x16": ("1x2x8", 16),
}


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_name_is_the_slice_that_the_cloud_gives_for_it(name):
    target = parse_target(name)
    assert (target.topology, target.devices) == TOPOLOGIES[name]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("v5x-16", ["v5x-16", "v5e-16"]),
        ("h1000", ["h100"]),
        ("v5e-12", ["12 chips", "v5e-8", "v5e-16"]),
        ("v5p-100", ["100 cores", "v5p-64", "v5p-128"]),
        ("12xh100", ["12 GPUs", "8xh100"]),
        ("0xv5e-16", ["0xv5e-16"]),
        ("", ["unknown hardware"]),
    ],
)
def test_an_unknown_name_is_told_the_nearest(name, parts):
    with pytest.raises(ScalingError) as error:
        parse_target(name)
    assert "\n" not in str(error.value)
    for part in parts:
        assert part in str(error.value)


def test_half_a_chip_has_half_of_everything():
    """A chip of TPU7x is two devices to jax."""
    row, device = yaml.safe_load(TABLE.read_text())["v7x"], parse_target("v7x-16").device
    assert device.peak_flops == row["peak_flops"] / 2
    assert device.memory_bandwidth == row["memory_bandwidth"] / 2
    assert device.price is None


def test_the_hour_of_a_slice_costs_that_of_its_chips():
    row = yaml.safe_load(TABLE.read_text())["v4"]
    assert parse_target("2xv4-8").hourly_price == pytest.approx(8 * row["price"])


def test_every_device_of_the_table_is_a_tpu_or_has_a_description_for_the_compiler():
    kinds = set(yaml.safe_load(TABLE.read_text()))
    assert kinds == set(TPUS) | set(CARDS)
    for kind, card in CARDS.items():
        assert f"device_memory_size: {card.memory}\n" in target_config(kind)
        assert card.memory == pytest.approx(yaml.safe_load(TABLE.read_text())[kind]["memory_bytes"], rel=0.08)


def test_a_hardware_file_of_ones_own_stands_for_the_table(tmp_path):
    row = {**yaml.safe_load(TABLE.read_text())["v5e"], "price": 7.0}
    (tmp_path / "hardware.yaml").write_text(yaml.safe_dump({"v5e": row}))
    assert parse_target("v5e-4", tmp_path / "hardware.yaml").hourly_price == 28.0
    with pytest.raises(ScalingError, match="v6e-4"):
        parse_target("v6e-4", tmp_path / "hardware.yaml")
