"""The description of an NVIDIA GPU that XLA compiles for where there is none: a `GpuTargetConfigProto` as text.        (no jax)

The numbers are those of openxla/xla, xla/backends/gpu/target_config/specs; only the fields that both locked versions of the
compiler read are written.
"""

from typing import NamedTuple


class Card(NamedTuple):
    """What differs between the cards."""

    description: str
    capability: tuple[int, int]
    cores: int
    fpus_per_core: int
    clock_ghz: float
    memory: int
    """Bytes."""
    memory_bandwidth: int
    l2_cache: int
    shared_per_core: int
    shared_per_block: int
    """Where a kernel asks for it."""


CARDS = {
    "a100-40": Card("NVIDIA A100-SXM4-40GB", (8, 0), 108, 64, 1.41, 42331013120, 1555200000000, 41943040, 167936, 166912),
    "a100-80": Card("NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, 1.41, 85100068864, 2039040000000, 41943040, 167936, 166912),
    "h100": Card("NVIDIA H100 80GB HBM3", (9, 0), 132, 128, 1.98, 84942979072, 3352320000000, 52428800, 233472, 232448),
    "h200": Card("NVIDIA H200 141GB HBM3e", (9, 0), 132, 128, 1.98, 151397597184, 4800000000000, 52428800, 233472, 232448),
    "b200": Card("NVIDIA B200", (10, 0), 148, 128, 1.965, 191514411008, 7672320000000, 132644864, 233472, 232448),
}


def target_config(kind: str) -> str:
    """The text for `jax.experimental.topologies` of a card of configs/hardware.yaml."""
    card = CARDS[kind]
    major, minor = card.capability
    return f"""gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {card.shared_per_core}
  threads_per_core_limit: 2048
  core_count: {card.cores}
  fpus_per_core: {card.fpus_per_core}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {card.memory_bandwidth}
  l2_cache_size: {card.l2_cache}
  clock_rate_ghz: {card.clock_ghz}
  device_memory_size: {card.memory}
  shared_memory_per_block_optin: {card.shared_per_block}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
runtime_version {{ major: 12 minor: 8 patch: 0 }}
device_description_str: "{card.description}"
"""
