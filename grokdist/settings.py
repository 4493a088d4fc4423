"""Where grokdist keeps things, and the configuration file.

Precedence: flags, then ``GROKDIST_*``, then the configuration file, then defaults. Every flag
``--name`` of a command ``cmd`` can be set as ``GROKDIST_CMD_NAME`` in the environment, or as
``name`` under ``[cmd]`` in the file.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

import platformdirs

from grokdist.errors import UsageError

PROJECT_POLICY = "grokdist-policy.toml"
"""Name of a project's policy file."""

_MAX_CONFIG_BYTES = 1 << 20


def home() -> Path:
    """The store and state: ``GROKDIST_HOME``, else the platform's user data folder."""
    if value := os.environ.get("GROKDIST_HOME"):
        return Path(value).expanduser().absolute()
    return Path(platformdirs.user_data_dir("grokdist", appauthor=False))


def compile_caches() -> Path:
    """The folder of the compile caches, one a version of the compiler."""
    return home() / "cache" / "jax"


def compile_cache() -> Path:
    """Where compiled programs are kept between processes; what is found there is run."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return compile_caches() / version("jaxlib")
    except PackageNotFoundError:
        return compile_caches() / "none"


def config_path() -> Path:
    """The configuration file: ``GROKDIST_CONFIG``, else the platform's user config folder."""
    if value := os.environ.get("GROKDIST_CONFIG"):
        return Path(value).expanduser().absolute()
    return Path(platformdirs.user_config_dir("grokdist", appauthor=False)) / "config.toml"


def policy_paths() -> tuple[Path, ...]:
    """The policy files that may bind, the machine's first; those that exist all count together.

    The machine's (the platform's site config folder), the user's (``GROKDIST_POLICY``, else
    ``policy.toml`` in the user config folder), and the project's: the nearest
    ``grokdist-policy.toml`` in the working directory or above it.
    """
    paths = [Path(platformdirs.site_config_dir("grokdist", appauthor=False)) / "policy.toml"]
    if value := os.environ.get("GROKDIST_POLICY"):
        paths.append(Path(value).expanduser().absolute())
    else:
        folder = platformdirs.user_config_dir("grokdist", appauthor=False)
        paths.append(Path(folder) / "policy.toml")
    here = Path.cwd()
    for above in (here, *here.parents):
        if (above / PROJECT_POLICY).exists():
            paths.append(above / PROJECT_POLICY)
            break
    return tuple(paths)


def load_config(path: Path) -> dict[str, Any]:
    """Read the configuration file into tables by command; an absent file is an empty one.

    Raises:
        UsageError: the file cannot be read, is not TOML, or holds something else than tables of
            flags.
    """
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise UsageError(f"configuration file {path} is over {_MAX_CONFIG_BYTES} bytes")
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        # Of the values, also a number of more digits than Python reads.
        raise UsageError(f"configuration file {path} cannot be read: {error}") from error
    tables: dict[str, Any] = {}
    for command, flags in document.items():
        if not isinstance(flags, dict):
            raise UsageError(
                f"configuration file {path}: {command!r} is not a table; "
                f"expected flags under the name of a command, as in [run]"
            )
        tables[command] = {name.replace("-", "_"): value for name, value in flags.items()}
    return tables
