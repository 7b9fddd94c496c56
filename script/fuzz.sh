#!/usr/bin/env bash
# Runs every fuzzer of the module for FUZZTIME (60s), one after the other, because each takes all processors. A failing input is
# written to the fuzzer's testdata by go test, which says so. The last line counts.
set -euo pipefail

time=${FUZZTIME:-60s}
listed=$(go test -list '^Fuzz' ./...)

targets=0 failures=0 names=()
while read -r first second _; do
	case $first in
	Fuzz*) names+=("$first") ;;
	ok)
		for name in "${names[@]}"; do
			echo "== $second $name"
			targets=$((targets + 1))
			go test "$second" -run '^$' -fuzz "^$name\$" -fuzztime "$time" -fuzzminimizetime 1x || failures=$((failures + 1))
		done
		names=()
		;;
	esac
done <<<"$listed"

echo "fuzz: $targets fuzzers, $time each, $failures failures"
[ "$targets" -gt 0 ] && [ "$failures" -eq 0 ]
