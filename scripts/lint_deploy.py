"""Lints what is deployed: the CloudFormation templates, the Dockerfile with its scripts, and compose.yaml.

The linters have a virtual environment of their own, `.local/lint`, which is made once and reused. Nothing that they
look at leaves this machine.

    python scripts/lint_deploy.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from kcl_app.errors import UserError
from kcl_app.local import own_venv

PROJECT = Path(__file__).resolve().parent.parent
REQUIREMENTS = Path(__file__).with_name("lint_deploy_requirements.txt")
VENV = PROJECT / ".local" / "lint"
TEMPLATES = ("deploy/ecs/data.yaml", "deploy/ecs/service.yaml")
SHELL = sorted(
    str(path.relative_to(PROJECT))
    for folder in ("scripts", "deploy/ecs")
    for path in PROJECT.glob(f"{folder}/*.sh")
)

LINTERS = {
    "cfn-lint": ("cfn-lint", "--non-zero-exit-code", "informational", *TEMPLATES),
    "checkov": (
        # Without --skip-download it asks its maker for advice on what it found.
        *(
            "checkov",
            "--skip-download",
            "--quiet",
            "--compact",
            "--framework",
            "cloudformation",
            "dockerfile",
        ),
        *("--file", *TEMPLATES, "Dockerfile"),
    ),
    "hadolint": ("hadolint", "--failure-threshold", "style", "Dockerfile"),
    "shellcheck": ("shellcheck", *SHELL),
    "docker compose": ("docker-compose", "--file", "compose.yaml", "config", "--quiet"),
}
"""What is run: a program of the virtual environment, and its arguments."""


def say(line: str) -> None:
    """Tell whoever waits."""
    sys.stderr.write(f"{line}\n")


def main() -> int:
    """Run all of them; the exit status."""
    try:
        own_venv.install(VENV, REQUIREMENTS, "the linters of deploy/", lambda line: say(f"{line} ..."))
    except UserError as error:
        say(str(error))
        return 1
    # Whatever the caller has set of Docker or AWS is none of their business.
    environment = {
        name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TMPDIR") if name in os.environ
    }
    failed = []
    for name, (program, *arguments) in LINTERS.items():
        done = subprocess.run([VENV / "bin" / program, *arguments], cwd=PROJECT, env=environment, check=False)
        say(f"{name}: {'clean' if done.returncode == 0 else 'not clean'}")
        if done.returncode:
            failed.append(name)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
