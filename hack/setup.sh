#!/bin/sh
# Installs what building, testing and running need beyond Go and make: rsync (3.1 or later), and for the checks of `make verify`
# whatever is named as arguments. Says what it does before it does it; does nothing when all is there.
#   hack/setup.sh [rsync] [promtool] …
set -eu

[ $# -gt 0 ] || set -- rsync
missing=
for tool in "$@"; do
  command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
[ -n "$missing" ] || exit 0

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null 2>&1; then sudo "$@"
  elif command -v doas >/dev/null 2>&1; then doas "$@"
  else
    echo "setup: missing:$missing; installing needs root: run as root: $*" >&2
    exit 1
  fi
}

# The package that has a tool, under each package manager, is the tool's own name but for promtool.
package() {
  case "$2:$1" in
    apt-get:promtool|dnf:promtool|pacman:promtool|apk:promtool|brew:promtool|pkg:promtool) echo prometheus ;;
    *) echo "$1" ;;
  esac
}

for manager in apt-get dnf pacman apk brew pkg; do
  command -v "$manager" >/dev/null 2>&1 || continue
  packages=
  for tool in $missing; do packages="$packages $(package "$tool" "$manager")"; done
  echo "setup: installing$packages with $manager" >&2
  case "$manager" in
    apt-get)
      as_root apt-get update -qq
      # Prometheus' package would start a server; only its promtool is wanted.
      as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $packages >/dev/null ;;
    dnf) as_root dnf install -y -q $packages ;;
    pacman) as_root pacman -Sy --noconfirm --needed $packages ;;
    apk) as_root apk add -q $packages ;;
    brew) brew install -q $packages ;;
    pkg) as_root pkg install -y -q $packages ;;
  esac
  for tool in $missing; do
    command -v "$tool" >/dev/null 2>&1 || { echo "setup: $tool is still missing after installing$packages" >&2; exit 1; }
  done
  exit 0
done
echo "setup: missing:$missing; none of apt-get, dnf, pacman, apk, brew, pkg is here: install them by hand" >&2
exit 1
