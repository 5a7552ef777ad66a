#!/usr/bin/env bash
# Make sure that the few system libraries are there: installs them where it may, and says what to type where not.
set -euo pipefail

missing=()
have_library() { ldconfig -p 2>/dev/null | grep -q "$1" || ls /usr/lib/*/"$1"* >/dev/null 2>&1; }
have_library libEGL.so.1 || have_library libOSMesa.so || missing+=(libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri)
have_library libGL.so.1 || missing+=(libgl1)
have_library libglib-2.0.so.0 || missing+=(libglib2.0-0)
python3 -c "import ensurepip" 2>/dev/null || missing+=(python3-venv)
for package in "$@"; do
  case "$package" in
    chromium) command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core) ;;
    postgresql) ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql) ;;
    *) echo "unknown package $package" >&2; exit 2 ;;
  esac
done
[ ${#missing[@]} -eq 0 ] && exit 0

export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y --no-install-recommends "${missing[@]}")
if ! command -v apt-get >/dev/null; then
  echo "Missing system libraries; install what your distribution calls: ${missing[*]}" >&2
  exit 2
elif [ "$(id -u)" = 0 ]; then
  apt-get update -qq
  "${install[@]}"
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  sudo apt-get update -qq
  sudo "${install[@]}"
else
  echo "Missing system libraries. Please run:  sudo ${install[*]}" >&2
  exit 2
fi
