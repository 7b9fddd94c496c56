#!/usr/bin/env bash
# Makes sure that the programs are there that tests run: installs their Debian packages when one is missing and we are root, and
# otherwise says what is missing and fails. ALLOW_MISSING=1 goes on without them; CI never sets it.
#
#   script/deps.sh            check, and install
#   script/deps.sh --skipped  list the tests that a missing program has skipped; quiet if none
set -euo pipefail

# program, its Debian package, and what cannot be tested without it
needs=(
	"az|azure-cli|the az witness, and az as the operator"
)
if [ "$(uname -s)" = Linux ]; then
	needs+=(
		"dbus-daemon|dbus|the keychain tests"
		"gnome-keyring-daemon|gnome-keyring|the keychain tests"
		"secret-tool|libsecret-tools|the keychain tests' second opinion"
	)
fi

# missing prints the lines of needs whose program is not there.
missing() {
	local need
	for need in "${needs[@]}"; do
		command -v "${need%%|*}" >/dev/null || printf '%s\n' "$need"
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
