#!/usr/bin/env bash
# Makes sure that the programs are there that tests run: installs their Debian packages when one is missing and we are root, and
# otherwise says what is missing and fails. ALLOW_MISSING=1 goes on without them; CI never sets it.
#
#   script/deps.sh            check, and install
#   script/deps.sh --skipped  list the tests that a missing program has skipped; quiet if none
set -euo pipefail

# What is needed, its Debian package, and what cannot be tested without it. It is a program, of a major version from N on with :N, or with
# python: a module of Debian's Python.
needs=(
	"az|azure-cli|the az witness, az as the operator, and az in the client suite"
	"curl|curl|curl in the client suite"
	"node:18|nodejs|the JavaScript clients of the client suite"
	"npm|npm|the JavaScript clients of the client suite, and the validator of the preflight's SARIF"
	"python:msal|python3-msal|the Python clients of the client suite"
	"python:azure.identity|python3-azure|the Python clients of the client suite"
	"python:junitparser|python3-junitparser|the reader of the preflight's JUnit"
)
if [ "$(uname -s)" = Linux ]; then
	needs+=(
		"chromium|chromium|the web suite"
		"dbus-daemon|dbus|the keychain tests"
		"gnome-keyring-daemon|gnome-keyring|the keychain tests"
		"secret-tool|libsecret-tools|the keychain tests' second opinion"
	)
fi

# has tells whether something of needs is there.
has() {
	local program=${1%%:*} rest=${1#*:} version
	if [ "$program" = python ]; then
		/usr/bin/python3 -c "import $rest" 2>/dev/null
		return
	fi
	command -v "$program" >/dev/null || return
	[ "$program" != "$1" ] || return 0
	version=$("$program" --version)
	version=${version#v}
	[ "${version%%.*}" -ge "$rest" ]
}

# missing prints the lines of needs that are not there.
missing() {
	local need
	for need in "${needs[@]}"; do
		has "${need%%|*}" || printf '%s\n' "$need"
	done
}

# install installs the packages of the lines on stdin, and shows what apt said only if it fails.
install() {
	local packages log
	mapfile -t packages < <(cut -d '|' -f 2 | sort -u)
	echo "installing ${packages[*]}"
	log=$(mktemp)
	if ! {
		apt-get update -qq &&
			DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 "${packages[@]}"
	} >"$log" 2>&1; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		return 1
	fi
	rm -f "$log"
}

left=$(missing)
[ -n "$left" ] || exit 0

if [ "${1-}" = --skipped ]; then
	while IFS='|' read -r program package tests; do
		echo "skipped: $tests ($program is missing; Debian package $package)"
	done <<<"$left"
	exit 0
fi

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
	install <<<"$left" || echo "the installation failed" >&2
	left=$(missing)
	[ -n "$left" ] || exit 0
fi

while IFS='|' read -r program package tests; do
	echo "missing: $program (Debian package $package), for $tests" >&2
done <<<"$left"
if [ "${ALLOW_MISSING-}" = 1 ]; then
	echo "ALLOW_MISSING=1: going on without" >&2
	exit 0
fi
echo "install them, or set ALLOW_MISSING=1 to run the other tests" >&2
exit 1
