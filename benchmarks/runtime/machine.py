"""What a measurement ran on: processor, memory, system, versions, and how busy it was."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any


def describe(llama_python: Path | None) -> dict[str, Any]:
    """Facts about this machine, for the record.

    Args:
        llama_python: The interpreter that has ``llama_cpp``, to ask what it was built for.
    """
    cpu = _read("/proc/cpuinfo")
    model = re.search(r"model name\s*:\s*(.+)", cpu)
    flags = re.search(r"flags\s*:\s*(.+)", cpu)
    wide = sorted(set(flags[1].split()) & {"avx2", "avx512f", "avx512_vnni"}) if flags else []
    found: dict[str, Any] = {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "instructions": wide,
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "jax": metadata.version("jax"),
        "jaxlib": metadata.version("jaxlib"),
    }
    if llama_python is not None:
        found["llama_cpp"] = _ask(
            llama_python,
            "import llama_cpp; print('llama-cpp-python', llama_cpp.__version__);"
            "print(llama_cpp.llama_print_system_info().decode())",
        )
    return found


def has_llama(python: Path) -> bool:
    """Whether an interpreter has ``llama_cpp`` and ``gguf``."""
    try:
        return bool(_ask(python, "import llama_cpp, gguf; print('yes')"))
    except (OSError, subprocess.SubprocessError):
        return False


def _ask(python: Path, code: str) -> str:
    done = subprocess.run(
        [str(python), "-P", "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


def _read(path: str) -> str:
    return Path(path).read_text("utf-8") if Path(path).exists() else ""
