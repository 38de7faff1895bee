"""The table of slices against Google's pages, what is said of one that does not exist, and which slice a run gets."""

import pytest
from cells import cell

from scaling.errors import ScalingError
from scaling.sweeps.launchers.topologies import GENERATIONS, choose_slice, read_slice


@pytest.mark.parametrize(
    ("text", "chips", "hosts", "devices"),
    [  # docs.cloud.google.com/tpu/docs/v5e and v6e, "Configurations"; a host of a larger slice is a VM with four chips
        ("v5e:1x1", 1, 1, 1),
        ("v5e:2x4", 8, 1, 8),
        ("v5e:4x4", 16, 4, 16),
        ("v6e:16x16", 256, 64, 256),
        ("v4:2x2x1", 4, 1, 4),
        ("v5p:4x4x4", 64, 16, 64),
        ("v5p:4x4x8", 128, 32, 128),
        ("v7x:2x2x1", 4, 1, 8),  # two devices a chip (docs.cloud.google.com/tpu/docs/tpu7x)
    ],
)
def test_a_slice_has_the_chips_and_hosts_that_google_says(text, chips, hosts, devices):
    place = read_slice(text)
    assert (place.chips, place.hosts, place.devices) == (chips, hosts, devices)
    assert str(place) == text


@pytest.mark.parametrize(("name", "most"), [("v4", 4096), ("v5e", 256), ("v5p", 8960), ("v6e", 256), ("v7x", 9216)])
def test_no_slice_is_larger_than_a_pod(name, most):
    sizes = [read_slice(f"{name}:{'x'.join(map(str, shape))}").chips for shape in GENERATIONS[name].shapes]
    assert max(sizes) == most
    assert sizes == sorted(sizes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("v5e:4x5", "no TPU slice 'v5e:4x5'; the nearest of v5e is v5e:4x4 (16 chips on 4 hosts)"),
        ("v5p:4x4", "the nearest of v5p is v5p:2x2x4 (16 chips on 4 hosts)"),
        ("v5p:4x8x4", "the nearest of v5p is v5p:4x4x8 (128 chips on 32 hosts)"),
        ("v6e", "the nearest of v6e is v6e:1x1 (1 chip on 1 host)"),
        ("v6:4x4", "no TPU generation 'v6' in 'v6:4x4'; did you mean v6e?"),
        ("v5litepod-16", "did you mean v5e?"),
    ],
)
def test_a_slice_that_does_not_exist_names_the_nearest(text, said):
    with pytest.raises(ScalingError) as error:
        read_slice(text)
    assert said in str(error.value)


def test_a_run_gets_the_smallest_slice_that_it_fits():
    offered = [read_slice(each) for each in ("v5e:4x4", "v5e:2x4", "v5e:1x1", "v5e:2x2")]
    assert str(choose_slice(cell(), offered, "/runs")) == "v5e:1x1"
    assert str(choose_slice(cell(data=2, fsdp=2), offered, "/runs")) == "v5e:2x2"
    assert str(choose_slice(cell(data=3), offered, "/runs")) == "v5e:2x2"  # one host may leave chips idle
    assert str(choose_slice(cell(fsdp=16), offered, "/runs")) == "v5e:4x4"


def test_a_run_that_fits_no_offered_slice_is_said():
    offered = [read_slice(each) for each in ("v5e:2x2", "v5e:4x4")]
    with pytest.raises(
        ScalingError, match=r"run 0123456789ab fits no offered slice: execution.mesh takes 12 devices, and .*4x4"
    ):
        choose_slice(cell(data=12), offered, "/runs")  # more than a host: a slice of several must be filled
    with pytest.raises(ScalingError, match=r"weights and gradient of 3B parameters take 22 GiB of a device of 16 GiB; split"):
        choose_slice(cell(parameters=3_000_000_000, data=4), offered, "/runs")  # 8 bytes x 3e9 / 2^30 = 22.4
    assert choose_slice(cell(parameters=3_000_000_000, fsdp=4), offered, "/runs").chips == 4


def test_several_hosts_of_one_run_and_a_bucket_are_refused_before_anything_is_submitted():
    offered = [read_slice(each) for each in ("v5e:2x2", "v5e:4x4")]
    assert choose_slice(cell(fsdp=4), offered, "gs://bucket/runs").hosts == 1
    with pytest.raises(ScalingError, match=r"takes 4 hosts \(v5e:4x4\), and several hosts .* in a bucket \(gs://bucket/runs\)"):
        choose_slice(cell(fsdp=16), offered, "gs://bucket/runs")
