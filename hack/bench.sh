#!/usr/bin/env bash
# Measures whole programs and prints ratios against rsync and find in the same run; absolute times mean little on a shared machine.
#   hack/bench.sh [first|restore|scan|idle …]     default: all
# TREES: which trees the first backup is measured with (default: "gosrc small giant"); ROUNDS: how often each (3).
# SMALL: number of small files (100000); SCAN: number of files of the scan (200000); GIANT: MiB of each of four files (1024).
# As root on Linux each destination is an ext4 of its own, fresh: on a used one, what was deleted in the last minutes slows down
# whoever creates files next (ext4 looks for inodes that were not deleted lately), many times over.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/bin
work=$(mktemp -d "${BENCH_DIR:-/var/tmp}/clusterbackup-bench.XXXXXX")
pids=()
end() {
  stop
  for m in "$work"/*/; do umount "$m" 2>/dev/null || true; done
  rm -rf "$work"
}
stop() { # the hosts
  for p in "${pids[@]}"; do kill -9 "$p" 2>/dev/null || true; wait "$p" 2>/dev/null || true; done
  pids=()
}
trap end EXIT
small=${SMALL:-100000} scan=${SCAN:-200000} giant=${GIANT:-1024}
now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
metric() { curl -s "http://127.0.0.1:$1/metrics" | awk -v m="$2" 'index($0, m) == 1 { s += $NF } END { printf "%.0f", s }'; }

median() { printf '%s\n' "$@" | sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# fresh DIR MIB: an empty folder, on a file system of its own where that can be had.
fresh() {
  mkdir -p "$1"
  if [ "$(id -u)" = 0 ] && [ -e /dev/loop-control ] && command -v mkfs.ext4 >/dev/null; then
    truncate -s "$2M" "$1.image"
    mkfs.ext4 -q -F -i 4096 -E lazy_itable_init=0,lazy_journal_init=0 "$1.image" 2>/dev/null
    mount -o loop "$1.image" "$1" 2>/dev/null || true
  fi
}

# clean DIR …: ends what fresh began.
clean() {
  for d in "$@"; do umount "$d" 2>/dev/null || true; rm -rf "$d" "$d.image"; done
}

# tree NAME DIR
tree() {
  mkdir -p "$2"
  case "$1" in
    gosrc) cp -r "$(go env GOROOT)/src/." "$2" ;;
    small) files "$small" "$2" ;;
    giant) for i in 1 2 3 4; do dd if=/dev/urandom of="$2/giant$i" bs=1M count="$giant" status=none; done ;;
  esac
}

# files N DIR: N files of about 4 KiB, 500 in a folder.
files() {
  awk -v n="$1" -v d="$2" 'BEGIN {
    s = sprintf("%64s\n", "x"); for (i = 0; i < 5; i++) s = s s
    for (f = 0; f < n; f++) {
      if (f % 500 == 0) { folder = d "/d" int(f / 500); system("mkdir -p " folder) }
      file = folder "/f" f
      printf "%d %s%s", f, s, substr(s, 1, f % 2000) > file
      close(file)
    }
  }'
}

# cluster N MIB: hosts h0 (the source's) to hN, new; each but h0 lends a location of MIB.
cluster() {
  local n=$1 i
  stop
  for i in $(seq 1 "$n"); do fresh "$work/disk$i" "$2"; done
  rm -rf "$work/hosts"
  for i in $(seq 0 "$n"); do
    local state=$work/hosts/h$i/state address=127.0.0.1:$((27500 + 2 * i))
    mkdir -p "$work/hosts/h$i"
    if [ "$i" = 0 ]; then
      "$bin/cbd" init --state "$state" --name h0 --listen "$address" --advertise "$address" >/dev/null
    else
      "$bin/cbd" join 127.0.0.1:27500 --token "$(ctl create token 2>/dev/null)" --state "$state" --name "h$i" --listen "$address" --advertise "$address" >/dev/null
    fi
    "$bin/cbd" run --state "$state" --http "127.0.0.1:$((27501 + 2 * i))" >"$work/hosts/h$i/log" 2>&1 &
    pids+=($!)
    until "$bin/cbctl" --state "$state" version >/dev/null 2>&1; do sleep 0.05; done
  done
  for i in $(seq 1 "$n"); do ctl create location "l$i" --host "h$i" --path "$work/disk$i/backup" --reserve 64Mi >/dev/null; done
}
ctl() { "$bin/cbctl" --state "$work/hosts/h0/state" "$@"; }

first() {
  printf '\n%-10s %12s %9s %7s %12s   (first backup to 2 holders; medians of %s rounds)\n' tree "rsync -a ×2" this ratio copied/need "${ROUNDS:-3}"
  local name round need size plain ours copied ratios
  for name in ${TREES:-gosrc small giant}; do
    tree "$name" "$work/source"
    need=$(find "$work/source" -type f -printf '%s\n' | awk '{ s += $1 } END { printf "%.0f", 2 * s }')
    size=$(($(du -sm "$work/source" | cut -f1) * 5 / 4 + 1024))
    find "$work/source" -type f -exec cat {} + >/dev/null
    plain=() ours=() ratios=()
    for round in $(seq "${ROUNDS:-3}"); do
      plain+=("$(plain_first "$size")")
      first_backup "$size"
      ratios+=("$(ratio "${ours[-1]}" "${plain[-1]}")")
    done
    printf '%-10s %11ss %8ss %7s %12s\n' "$name" "$(median "${plain[@]}")" "$(median "${ours[@]}")" "$(median "${ratios[@]}")" "$(ratio "$copied" "$need")"
    rm -rf "$work/source"
  done
}

# plain_first MIB: seconds for two copies by rsync alone.
plain_first() {
  local start seconds
  fresh "$work/plain1" "$1"; fresh "$work/plain2" "$1"
  sync; start=$(now)
  rsync -a "$work/source/" "$work/plain1/"; rsync -a "$work/source/" "$work/plain2/"
  seconds=$(since "$start")
  clean "$work/plain1" "$work/plain2"
  echo "$seconds"
}

# protect N MIB: backs the source up to N holders, new. The hosts are up and rest when it begins. Sets took.
protect() {
  local start
  cluster "$1" "$2"
  sleep 3
  sync; start=$(now)
  ctl create source bench --host h0 --path "$work/source" --replicas "$1" >/dev/null
  ctl wait source/bench --for=condition=Protected --timeout 550s >/dev/null
  took=$(since "$start")
}

# first_backup MIB: appends to ours, sets copied.
first_backup() {
  protect 2 "$1"
  ours+=("$took")
  copied=$(($(metric 27503 clusterbackup_copied_bytes_total) + $(metric 27505 clusterbackup_copied_bytes_total)))
  stop
  clean "$work/disk1" "$work/disk2"
}

restore() {
  tree small "$work/source"
  local size=$(($(du -sm "$work/source" | cut -f1) * 5 / 4 + 1024)) round start plain=() ours=() ratios=()
  protect 1 "$size"
  for round in $(seq "${ROUNDS:-3}"); do
    fresh "$work/to" "$size"
    sync; start=$(now); rsync -a "$work/disk1/backup/bench/" "$work/to/files/"; plain+=("$(since "$start")")
    clean "$work/to"; fresh "$work/to" "$size"
    sync; start=$(now); ctl restore bench --to "$work/to/files" >/dev/null; ours+=("$(since "$start")")
    diff -r "$work/source" "$work/to/files"
    clean "$work/to"
    ratios+=("$(ratio "${ours[-1]}" "${plain[-1]}")")
  done
  printf '\nrestore of %s small files from one holder (medians of %s rounds): rsync -a %ss, this %ss, ratio %s\n' \
    "$small" "${ROUNDS:-3}" "$(median "${plain[@]}")" "$(median "${ours[@]}")" "$(median "${ratios[@]}")"
  stop
  clean "$work/disk1"
  rm -rf "$work/source"
}

scan() {
  files "$scan" "$work/source"
  cluster 0 0
  cat > "$work/source.yaml" <<END
apiVersion: clusterbackup/v1
kind: Source
metadata: {name: scan}
spec: {host: h0, path: "$work/source", scanInterval: 1s}
END
  ctl apply -f "$work/source.yaml" >/dev/null
  ctl wait source/scan --for=condition=Scanned --timeout 300s >/dev/null
  local finds=() scans=() start i seen last
  for i in 1 2 3 4 5; do
    start=$(now); find "$work/source" -printf '%s %T@ %C@ %i %p\n' >/dev/null; finds+=("$(since "$start")")
    last=$(curl -s http://127.0.0.1:27501/metrics | awk '/^clusterbackup_source_last_scan_timestamp_seconds/ { print $2 }')
    while :; do
      seen=$(curl -s http://127.0.0.1:27501/metrics | awk '/^clusterbackup_source_last_scan_timestamp_seconds/ { print $2 }')
      [ "$seen" = "$last" ] || break
      sleep 0.1
    done
    scans+=("$(curl -s http://127.0.0.1:27501/metrics | awk '/^clusterbackup_source_scan_duration_seconds/ { print $2 }')")
  done
  printf '\nscan of %s unchanged files, warm (medians of 5): find -printf %ss, this %ss, ratio %s; daemon peak memory %s MB (anonymous %s MB)\n' \
    "$scan" "$(median "${finds[@]}")" "$(median "${scans[@]}")" "$(ratio "$(median "${scans[@]}")" "$(median "${finds[@]}")")" \
    "$(awk '/VmHWM/ { printf "%.0f", $2 / 1024 }' "/proc/${pids[0]}/status")" "$(awk '/RssAnon/ { printf "%.0f", $2 / 1024 }' "/proc/${pids[0]}/status")"
  rm -rf "$work/source"
}

idle() {
  files "$scan" "$work/source"
  cluster 1 4096
  ctl create source idle --host h0 --path "$work/source" --replicas 1 >/dev/null
  ctl wait source/idle --for=condition=Protected --timeout 550s >/dev/null
  sleep 100 # manifests and checksum files are written once all is at rest, and a minute after it opened a location looks what is to be verified
  local i before=() written=()
  ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
  bytes() { awk '/^write_bytes/ { print $2 }' "/proc/$1/io"; }
  for i in 0 1; do before+=("$(ticks "${pids[$i]}")"); written+=("$(bytes "${pids[$i]}")"); done
  sleep 60
  for i in 0 1; do
    printf 'idle with %s files at rest, one minute: %s uses %s %% of a core, writes %s bytes to disk\n' "$scan" \
      "$([ "$i" = 0 ] && echo "source's host" || echo holder)" \
      "$(awk -v a="${before[$i]}" -v b="$(ticks "${pids[$i]}")" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", (b - a) / hz / 60 * 100 }')" \
      "$(($(bytes "${pids[$i]}") - written[i]))"
  done
  rm -rf "$work/source"
}

[ $# -gt 0 ] || set -- first restore scan idle
for part in "$@"; do "$part"; done
