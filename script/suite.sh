#!/usr/bin/env bash
# Runs a suite and makes its verdict the last line:
#
#   script/suite.sh crash go test -v ./internal/testkit/crash
#
# ends with the last line of the output of the form "crash: N points, V violations" or "clients: N operations, M negative cases, F
# failed", and fails if the command fails, if there is no such line, if nothing was run (0 of anything that is not wrong), or if its last
# number is not 0. Without a name only the command's success counts.
set -euo pipefail

name=$1
shift
if [ -z "$name" ]; then
	exec "$@"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

status=0
"$@" 2>&1 | tee "$log" || status=$?

verdict=$(grep -oE "(^|[[:space:]])$name: ([0-9]+ [a-z ]+, )+[0-9]+ (violations|failed)" "$log" | tail -n 1 | sed 's/^[[:space:]]*//' || true)
if [ -z "$verdict" ]; then
	echo "$name: it gave no verdict" >&2
	exit 1
fi
echo "$verdict"
if [[ $verdict =~ [:,]\ 0\ [a-z\ ]+, || ! $verdict =~ ,\ 0\ (violations|failed)$ ]]; then
	exit 1
fi
exit "$status"
