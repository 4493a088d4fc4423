"""What every test gets: a home of its own and no say from the user's environment."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import hypothesis
import pytest

# No test has a time limit of its own: machines are busy.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Whoever runs the tests in the background may have had interrupts ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Modules compiled once serve both workers and the processes that tests start, and the next run.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Expectations are the CPU's, also where an accelerator is at hand.
os.environ["JAX_PLATFORMS"] = "cpu"

# What one test compiled serves the next, though that has another home: with these caches, of which
# a CPU uses none, the path of the folder would be part of every program's key.
os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"

# Most of what the tests take is the compiler's. Nearly all of them are about what is computed and
# not how fast, so that the same programs are optimised less, here and in the processes that they
# start; where it is the point, ``full_compilation`` and README's page have what users have.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
QUICKLY = {"xla_cpu_use_fusion_emitters": "false"}
os.environ["XLA_FLAGS"] = " ".join(
    [os.environ.get("XLA_FLAGS", ""), *(f"--{name}={value}" for name, value in QUICKLY.items())]
).strip()


def pytest_xdist_auto_num_workers() -> int:
    """Two more than cores: with one more, waiting for disks and peers left a sixth of them idle."""
    return (os.cpu_count() or 1) + 2


REPOSITORY = Path(__file__).resolve().parent.parent
# The latter say that this process shares a run with others.
_OURS = ("GROKDIST_", "SLURM_", "OMPI_", "JAX_NUM_PROCESSES")
_FOREIGN = ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "http_proxy", "https_proxy", "all_proxy")


COMPARED = [
    "grok-1",
    "grok-2",
    "grok-3",
    "mixtral-8x7b",
    "flan-t5-xxl",
    "llama-3.1-405b",
    "deepseek-r1",
    "gpt-4o",
    "claude",
    "gemini",
    "grok-mini",
]
"""Models of the catalog that the press compares, in the order of README's picture."""


def _ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _ipv6(), reason="this kernel has no IPv6 loopback")


@pytest.fixture(autouse=True)
def _isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(_OURS) or name in _FOREIGN or name.lower() in _FOREIGN:
            monkeypatch.delenv(name)
    monkeypatch.setenv("GROKDIST_HOME", str(tmp_path / "grokdist-home"))
    monkeypatch.setenv("GROKDIST_CONFIG", str(tmp_path / "no-config.toml"))
    monkeypatch.setenv("NO_PROXY", "*")
    # Each test has a home of its own, and would compile the kernel anew; tests of it ask for it.
    for command in ("RUN", "SCORE", "SERVE"):
        monkeypatch.setenv(f"GROKDIST_{command}_KERNELS", "plain")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY
