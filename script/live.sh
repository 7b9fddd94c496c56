#!/usr/bin/env bash
# The main job on a real tenant: provision one throwaway agent, prove it, look for drift, revoke and purge it.
#
# NOBODY HAS RUN THIS. It was written without a tenant at hand and is checked against the local cloud only as far as the commands go
# that it calls. Read it before you run it, and use a subscription and a resource group that you can afford to lose.
#
# It needs az with a session of somebody who may create applications in the tenant and role assignments on the group, and
#
#   LEASTKEY_LIVE_TENANT          GUID of the tenant
#   LEASTKEY_LIVE_SUBSCRIPTION    GUID of the subscription
#   LEASTKEY_LIVE_RESOURCE_GROUP  a throwaway group that exists; the agent gets Reader on it, and nothing in it is changed
#   LEASTKEY_LIVE_CLOUD           public (default), usgov or china
#   LEASTKEY_LIVE_KEYSTORE        auto (default: the keychain), keychain or age:PATH
#   LEASTKEY_LIVE_AGE_IDENTITY    identity file of an age keystore
#
# The reports, which hold ids and no secrets, stay in a temporary folder whose name is the last line. The exit code is 0 if everything
# was as it should be and nothing is left behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
	echo "live: $*" >&2
	exit 1
}

for name in LEASTKEY_LIVE_TENANT LEASTKEY_LIVE_SUBSCRIPTION LEASTKEY_LIVE_RESOURCE_GROUP; do
	[ -n "${!name-}" ] || fail "$name is not set. This runs against a real tenant, and nobody has run it yet: read script/live.sh first"
done
tenant=$LEASTKEY_LIVE_TENANT
subscription=$LEASTKEY_LIVE_SUBSCRIPTION
group=$LEASTKEY_LIVE_RESOURCE_GROUP
scope="/subscriptions/$subscription/resourceGroups/$group"

leastkey=$PWD/bin/leastkey
[ -x "$leastkey" ] || fail "bin/leastkey is missing: make build"
command -v az >/dev/null || fail "az is missing"
[ "$(az account show --subscription "$subscription" --query tenantId --output tsv)" = "$tenant" ] ||
	fail "subscription $subscription is not of tenant $tenant in az's session: az login --tenant $tenant"
[ "$(az group exists --subscription "$subscription" --name "$group")" = true ] || fail "resource group $group does not exist"

work=$(mktemp -d)
export LEASTKEY_HOME=$work/home
agent=leastkey-live-$(date +%Y%m%d%H%M%S)-$RANDOM
applied=0

cat >"$work/leastkey.yaml" <<YAML
cloud: ${LEASTKEY_LIVE_CLOUD:-public}
tenant: $tenant
subscription: $subscription
resource_group: $group
operator: az
agents:
  $agent:
    kind: service-principal
    certificate: {days: 2}
    env_file: agent.env
    roles:
      - role: Reader
        scope: $scope
YAML

run() {
	local flags=(--file "$work/leastkey.yaml" --keystore "${LEASTKEY_LIVE_KEYSTORE:-auto}")
	[ -z "${LEASTKEY_LIVE_AGE_IDENTITY-}" ] || flags+=(--age-identity "$LEASTKEY_LIVE_AGE_IDENTITY")
	"$leastkey" "$@" "${flags[@]}"
}

# leave takes away what was made, whatever has happened in between.
leave() {
	local status=$?
	trap - EXIT INT TERM
	if [ "$applied" -eq 1 ]; then
		echo "== revoke --purge" >&2
		run revoke "$agent" --purge --yes --json >"$work/revoke.json" || {
			status=1
			echo "live: revoke failed. Agent $agent may still exist; LEASTKEY_HOME=$LEASTKEY_HOME holds its record" >&2
		}
	fi
	echo "$work"
	exit "$status"
}
trap leave EXIT
trap 'exit 130' INT TERM

echo "== doctor" >&2
run doctor --json >"$work/doctor.json"

echo "== plan" >&2
run plan "$agent" --out "$work/plan.json"

echo "== apply" >&2
applied=1
run apply "$work/plan.json" --json >"$work/apply.json"

echo "== nothing is left to do" >&2
run plan "$agent" --exit-code >&2

echo "== status" >&2
run status "$agent" --json >"$work/status.json"

# The token goes through a pipe and nowhere else: a signed token has two dots.
echo "== token" >&2
[ "$(run token "$agent" | tr -cd . | wc -c)" -eq 2 ] || fail "token did not print a signed token"

echo "== what az sees" >&2
app_id=$(sed -n 's/.*"application_id": *"\([^"]*\)".*/\1/p' "$work/apply.json" | head -n 1)
[ -n "$app_id" ] || fail "the report names no application"
[ "$(az ad app show --id "$app_id" --query 'length(passwordCredentials)' --output tsv)" = 0 ] || fail "the application has a password"
[ "$(az ad app show --id "$app_id" --query 'length(keyCredentials)' --output tsv)" = 1 ] || fail "the application has not exactly one certificate"
[ "$(az role assignment list --subscription "$subscription" --assignee "$app_id" --all --query '[].[roleDefinitionName,scope]' --output tsv)" = "Reader	$scope" ] ||
	fail "its role assignments are not exactly Reader on $group"

echo "== revoke --purge" >&2
run revoke "$agent" --purge --yes --json >"$work/revoke.json"
applied=0

echo "== nothing is left" >&2
[ -z "$(az ad app list --filter "appId eq '$app_id'" --query '[].id' --output tsv)" ] || fail "the application is still there"
[ -z "$(az rest --method get --url "$(az cloud show --query endpoints.microsoftGraphResourceId --output tsv | sed 's|/$||')/v1.0/directory/deletedItems/microsoft.graph.application?\$filter=appId%20eq%20'$app_id'" --query 'value[].id' --output tsv)" ] ||
	fail "the application is still in the recycle bin"
if run token "$agent" >/dev/null 2>&1; then
	fail "the agent still gets tokens"
fi
