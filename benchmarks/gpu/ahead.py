"""An H100 to compile for, where there is none: XLA needs the plug-in and a description only.

    pip install --no-deps jax-cuda12-plugin==VERSION jax-cuda12-pjrt==VERSION nvidia-cuda-nvcc-cu12

with jaxlib's version. Nothing is tuned by running it, as XLA would on the device: where it would
choose between its own kernels and cuBLAS by time, it takes its default. What it fuses, copies and
widens stands before that choice.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from benchmarks.gpu.failure import BenchmarkError

_PLUGIN = "jax_plugins.xla_cuda12"

# NVIDIA's figures for the SXM part; the limits are those of compute capability 9.0.
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 3350000000000
  device_memory_size: 80000000000
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 patch: 0 }
device_description_str: "H100, described"
"""


def described_devices(count: int) -> list[Any]:
    """So many H100 in one machine, which programs can be compiled for and nothing can run on.

    Raises:
        BenchmarkError: The plug-in is not installed.
    """
    try:
        plugin = importlib.util.find_spec(_PLUGIN)
        nvcc = importlib.util.find_spec("nvidia.cuda_nvcc")
    except ModuleNotFoundError:
        plugin = nvcc = None
    if plugin is None or nvcc is None or plugin.origin is None:
        raise BenchmarkError(
            "XLA's plug-in for CUDA is not installed; see benchmarks/gpu/ahead.py for the command"
        )
    (tools,) = nvcc.submodule_search_locations or ()
    os.environ["PATH"] = f"{tools}/bin:{os.environ['PATH']}"
    flags = f"--xla_gpu_cuda_data_dir={tools}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()

    from jax._src import xla_bridge  # no public way leads past the search for a driver
    from jax.experimental import topologies

    name = "cuda"
    if name not in xla_bridge._topology_factories:
        library = Path(plugin.origin).with_name("xla_cuda_plugin.so")
        xla_bridge.register_plugin(name, library_path=str(library), priority=-1000)
    found = topologies.get_topology_desc(
        "", platform=name, topology=f"1x1x{count}", target_config=_H100
    )
    return list(found.devices)
