#!/usr/bin/env bash
# Runs the hostile suite with ever new seeds, SEEDBATCH (200) at a time, until SEEDTIME seconds (600) have passed. The first seed is
# SEEDFIRST, by default one that no earlier run began with. The last line counts.
set -euo pipefail

batch=${SEEDBATCH:-200}
first=${SEEDFIRST:-$(date +%s)000}
until=$((SECONDS + ${SEEDTIME:-600}))
began=$first seeds=0 violations=0 failed=0

log=$(mktemp)
trap 'rm -f "$log"' EXIT

while [ "$SECONDS" -lt "$until" ]; do
	status=0
	script/suite.sh hostile go test -count=1 -timeout 30m -v ./internal/testkit/hostile -seeds "$batch" -first "$first" >"$log" 2>&1 || status=$?
	verdict=$(tail -n 1 "$log")
	if [[ $verdict =~ ^hostile:\ ([0-9]+)\ seeds,\ ([0-9]+)\ violations$ ]]; then
		seeds=$((seeds + BASH_REMATCH[1]))
		violations=$((violations + BASH_REMATCH[2]))
	fi
	if [ "$status" -ne 0 ]; then
		failed=1
		cat "$log"
	else
		echo "from seed $first: $verdict"
	fi
	first=$((first + batch))
done

echo "seeds: $seeds seeds from $began in ${SECONDS}s, $violations violations"
[ "$failed" -eq 0 ] && [ "$seeds" -gt 0 ]
