#!/bin/sh
# Installs the local cloud into its folder, so that it starts without a network.
#
#   scripts/install_local_cloud.sh VENV FOLDER
#
# VENV is the environment made by install_worker.sh, with the extra `local`; FOLDER is what `local.directory` will be.
set -eu

"$1/bin/python" - "$2" <<'PYTHON'
import sys
from pathlib import Path

from kcl_app.local.local_cloud import LocalCloud
from kcl_app.settings import load

LocalCloud(load(local={"directory": Path(sys.argv[1])}), progress=print).install()
PYTHON
