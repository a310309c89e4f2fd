#!/bin/sh
# Installs the worker into a new virtual environment, without what it needs to be installed with.
#
#   scripts/install_worker.sh FOLDER [EXTRA [PACKAGE ...]]
#
# FOLDER is the environment, which must not be there yet. EXTRA is what of the project: `worker` unless given. A PACKAGE
# is an EMR plugin, as pip names it. Python is that of $PYTHON, else `python3`.
set -eu

folder=$1
extra=${2:-worker}
shift
[ $# -eq 0 ] || shift
project=$(cd "$(dirname "$0")/.." && pwd)

if [ -e "$folder" ]; then
    echo "install_worker.sh: $folder is there already" >&2
    exit 1
fi

"${PYTHON:-python3}" -m venv "$folder"
pip() { "$folder/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }
pip install --quiet --constraint "$project/constraints.txt" "${project}[${extra}]" "$@"
pip check
# Nothing is ever installed into a running container.
pip uninstall --quiet --yes setuptools wheel 2>/dev/null || true
pip uninstall --quiet --yes pip
# It starts sooner, and the file system is read-only later.
"$folder/bin/python" -m compileall -q "$folder/lib" || true
"$folder/bin/kcl-app" --version
