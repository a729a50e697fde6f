#!/usr/bin/env bash
# The demo: four hosts on this machine, as four daemons on loopback with state and backup space below ./.demo, back up a tree,
# lose one host for good, and restore everything.
#   hack/demo.sh start|stop      SOURCE=dir: the tree to back up (default: Go's own source tree)
set -euo pipefail
cd "$(dirname "$0")/.."
demo=$PWD/.demo
hosts=(mini rpi1 rpi2 rack)
base_port=${DEMO_PORT:-17420}

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
port() { echo $((base_port + 2 * $1)); }
http() { echo $((base_port + 2 * $1 + 1)); }
ctl() { local host=$1; shift; bin/cbctl --state "$demo/$host/state" "$@"; }

stop_host() {
  local pidfile=$demo/$1/pid pid
  [ -f "$pidfile" ] || return 0
  pid=$(cat "$pidfile")
  # The number may belong to another process by now: only a cbd of this demo is ended.
  if ps -p "$pid" -o args= 2>/dev/null | grep -qF "$demo/$1/state"; then
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$pidfile"
}

stop_all() {
  for h in "${hosts[@]}"; do stop_host "$h"; done
  rm -rf "$demo"
}

port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

start_host() {
  local i=$1 h=${hosts[$1]}
  setsid nohup bin/cbd run --state "$demo/$h/state" --http "127.0.0.1:$(http "$i")" >"$demo/$h/log" 2>&1 </dev/null &
  echo $! >"$demo/$h/pid"
  for _ in $(seq 100); do
    ctl "$h" version >/dev/null 2>&1 && return 0
    kill -0 "$(cat "$demo/$h/pid")" 2>/dev/null || break
    sleep 0.1
  done
  tail -n 5 "$demo/$h/log" >&2
  die "start $h: it is not up; its log is $demo/$h/log"
}

start() {
  command -v rsync >/dev/null || die "demo: rsync is not installed: run hack/setup.sh"
  source=${SOURCE:-$(go env GOROOT)/src}
  [ -d "$source" ] || die "demo: SOURCE=$source is not a folder"
  source=$(cd "$source" && pwd -P)
  case "$demo/" in "$source"/*) die "demo: SOURCE=$source holds the demo's own folder $demo: choose another tree" ;; esac
  if [ -d "$demo" ]; then
    say "Ending the demo that was here"
    stop_all
  fi
  for i in "${!hosts[@]}"; do
    for p in "$(port "$i")" "$(http "$i")"; do
      port_free "$p" || die "demo: port $p on 127.0.0.1 is taken; end what listens there, or choose others: DEMO_PORT=27420 make demo"
    done
  done

  say "Four hosts: ${hosts[*]}"
  mkdir -p "$demo"
  for i in "${!hosts[@]}"; do
    h=${hosts[$i]} address=127.0.0.1:$(port "$i")
    mkdir -p "$demo/$h"
    if [ "$i" = 0 ]; then
      bin/cbd init --state "$demo/$h/state" --name "$h" --listen "$address" --advertise "$address" >"$demo/$h/init"
    else
      token=$(ctl "${hosts[0]}" create token 2>>"$demo/$h/join")
      bin/cbd join "127.0.0.1:$(port 0)" --token "$token" --state "$demo/$h/state" --name "$h" --listen "$address" --advertise "$address" >>"$demo/$h/join"
    fi
    start_host "$i"
  done

  say "One source, four locations, two replicas of each file"
  sed -e "s|@DEMO@|$demo|g" -e "s|@SOURCE@|$source|g" config/samples/demo.yaml.in >"$demo/demo.yaml"
  ctl mini apply -f "$demo/demo.yaml"

  say "Waiting until every file has two confirmed replicas on other hosts"
  ctl mini wait source/demo --for=condition=Protected --timeout 540s
  ctl mini get sources,locations 2>/dev/null || { ctl mini get sources; ctl mini get locations; }

  say "rpi1 dies, for good"
  stop_host rpi1
  ctl mini wait host/rpi1 --for=condition=Ready=False --timeout 60s
  ctl mini get hosts

  say "Every file is still there: restoring from the hosts that are up, and comparing"
  ctl mini restore demo --to "$demo/restored"
  diff -r "$source" "$demo/restored" || die "demo: the restored tree differs"
  echo "diff -r finds no difference: $(find "$demo/restored" -type f | wc -l) files"

  say "The cluster is left running"
  cat <<END
Look at it:
  bin/cbctl --state .demo/mini/state get all
  bin/cbctl --state .demo/mini/state describe source demo
  bin/cbctl --state .demo/mini/state get files demo -o wide --limit 5
  bin/cbctl --state .demo/mini/state get files --underserved --limit 5
  curl -s http://127.0.0.1:$(http 0)/metrics | grep clusterbackup_source
  http://127.0.0.1:$(http 0)/ is the status page; .demo/HOST/log are the logs; .demo/HOST/backup the plain files.
End it:
  make demo-stop
END
}

case "${1:-}" in
  start) start ;;
  stop) stop_all; echo "demo: ended" ;;
  *) die "usage: hack/demo.sh start|stop" ;;
esac
