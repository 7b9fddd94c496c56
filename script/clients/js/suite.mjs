// Microsoft's JavaScript clients against a Leastkey local cloud. `go test ./internal/testkit/clients` starts this program and answers
// it; see protocol.mjs. What it makes stays, for the cloud that it uses is its own.
import { part } from "./protocol.mjs";
import { identity, federation } from "./identity.mjs";
import { armRefusals, groups, managed, roles, vaultsOfARM } from "./arm.mjs";
import { applications, graphRefusals, servicePrincipals } from "./graph.mjs";
import { certificates, keys } from "./keys.mjs";
import { managedIdentities } from "./managedidentity.mjs";
import { msal } from "./msal.mjs";
import { refusals } from "./refusals.mjs";
import { secrets } from "./secrets.mjs";

const parts = {
  identity, refusals, msal, federation, managedIdentities,
  applications, servicePrincipals, graphRefusals,
  groups, roles, managed, vaultsOfARM, armRefusals,
  secrets, keys, certificates,
};
const asked = process.argv.slice(2);
for (const [name, f] of Object.entries(parts)) {
  if (asked.length === 0 || asked.includes(name)) await part(name, f);
}
process.exit(0); // the line reader would wait for more
