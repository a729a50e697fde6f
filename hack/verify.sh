#!/usr/bin/env bash
# The checks of `make verify` that are not tests: each says what it looks at, and fails with what it found.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
tools=bin/tools # made by `make tools`
step() { printf 'verify: %s\n' "$*"; }

step "formatting"
unformatted=$(git ls-files -z '*.go' | xargs -0 gofmt -l)
[ -z "$unformatted" ] || { printf 'not gofmt-ed:\n%s\n' "$unformatted"; exit 1; }

step "generated code is up to date"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
$tools/controller-gen object paths=./api/v1 output:object:dir="$work/api"
$tools/controller-gen crd paths=./api/v1 output:crd:dir="$work/crd"
diff -u api/v1/zz_generated.deepcopy.go "$work/api/zz_generated.deepcopy.go" || { echo "run: make generate"; exit 1; }
for f in "$work"/crd/*.yaml; do
  diff -u "config/crd/$(basename "$f")" "$f" || { echo "run: make generate"; exit 1; }
done

step "modules are tidy"
$go mod tidy -diff
(cd transport/bench && $go mod tidy -diff)

step "vet"
$go vet ./...

step "lint"
$tools/golangci-lint run ./...

step "nothing of this machine in the repository"
if git grep -nIE '/(root|home/[a-z]+)/[A-Za-z.]' -- ':!hack/verify.sh' ':!docs' ':!*_test.go'; then
  echo "a path of one machine is named above"; exit 1
fi

step "scripts"
for f in hack/*.sh; do bash -n "$f"; done

step "Prometheus configuration"
hack/setup.sh promtool
promtool check config --syntax-only config/prometheus/prometheus.yml
promtool check rules config/prometheus/*.rules.yml
for f in config/prometheus/*.test.yml; do [ -e "$f" ] && promtool test rules "$f"; done

step "systemd unit"
if command -v systemd-analyze >/dev/null; then
  # verify wants the program where the unit says it is: one that exists stands in for it.
  sed 's|/usr/local/bin/cbd|/bin/true|' config/systemd/clusterbackup.service > "$work/clusterbackup.service"
  systemd-analyze verify --man=no "$work/clusterbackup.service"
else
  echo "skipped: systemd-analyze is not here"
fi
