"""Wheels of this project and of what it needs, and virtual environments to install them into, as strangers do.

Nothing here touches the environment that the tests run in. What comes from the network is fetched once, into
`.local/wheelhouse`; after that pip is told to look nowhere else.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable, Mapping
from pathlib import Path

from kcl_app.local.own_venv import lock
from kcl_app.settings import PROJECT_ROOT

WHEELHOUSE = PROJECT_ROOT / ".local" / "wheelhouse"
BUILDS_WITH = ("setuptools", "wheel")
SOURCES = ("kcl_app", "processors", "emr_plugins", "setup.cfg", "pyproject.toml", "README.md")
TIMEOUT = 540


def wheelhouse() -> Path:
    """The folder with a wheel of all that the base install and the extra `plugins` need; filled if need be."""
    wanted = [*_requirements(), *BUILDS_WITH]
    constraints = PROJECT_ROOT / "constraints.txt"
    state = hashlib.sha256("\n".join([*wanted, sys.version, constraints.read_text()]).encode()).hexdigest()
    stamp = WHEELHOUSE / "complete"
    with lock(WHEELHOUSE.with_name("wheelhouse.lock")):
        if not (stamp.is_file() and stamp.read_text() == state):
            shutil.rmtree(WHEELHOUSE, ignore_errors=True)
            command = ["wheel", "--quiet", "-c", str(constraints), "--wheel-dir", str(WHEELHOUSE), *wanted]
            pip(Path(sys.executable), *command)
            stamp.write_text(state)
    return WHEELHOUSE


def _requirements() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(PROJECT_ROOT / "setup.cfg", encoding="utf-8")
    texts = setup["options"]["install_requires"], setup["options.extras_require"]["plugins"]
    return [line for text in texts for line in text.split("\n") if line]


def project_wheel(folder: Path) -> Path:
    """A wheel of this project as it is now.

    Args:
        folder: where a copy of it and the wheel come; a folder of the test's own.
    """
    return built([PROJECT_ROOT / name for name in SOURCES], folder)


def built(sources: Iterable[Path], folder: Path) -> Path:
    """The wheel of a package, built by pip from a copy, since building leaves files behind.

    Args:
        sources: what stands at its top.
        folder: where the copy comes, and the wheel into `dist`.
    """
    copy, dist = folder / "copy", folder / "dist"
    copy.mkdir(parents=True)
    for source in sources:
        if source.is_dir():
            shutil.copytree(source, copy / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    arguments = ("wheel", "--quiet", "--no-deps", "--wheel-dir", str(dist), str(copy))
    pip(Path(sys.executable), *arguments, env=offline(wheelhouse()))
    shutil.rmtree(copy)
    (wheel,) = dist.glob("*.whl")
    return wheel


def offline(*folders: Path) -> dict[str, str]:
    """The environment in which pip finds wheels in these folders and asks no one else, and no setting comes through."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    env.pop("VIRTUAL_ENV", None)
    return {
        **env,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": " ".join(str(folder) for folder in folders),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def pip(python: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
    """Run pip; what it says is shown if it fails."""
    done = subprocess.run(
        [str(python), "-m", "pip", "--disable-pip-version-check", *arguments],
        env=env, capture_output=True, text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"pip {' '.join(arguments)}:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"


def fresh_venv(folder: Path) -> Path:
    """A virtual environment with nothing but pip in it; its Python."""
    venv.create(folder, with_pip=True, symlinks=True)
    return folder / "bin" / "python"


def venv_over_this(folder: Path) -> Path:
    """A virtual environment in which all that the tests' own has is there too, and which can have more; its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    below = sysconfig.get_paths()["purelib"]
    # By `addsitedir`, so that packages that are installed as editable are found as well.
    link = folder / "lib" / version / "site-packages" / "_below.pth"
    link.write_text(f"import site; site.addsitedir({below!r})\n")
    return python
