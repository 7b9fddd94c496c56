// The cloud as `leastkey cloud env --for js` tells it, the operator, and the applications that the suite makes for itself.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { X509Certificate } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { ClientCertificateCredential } from "@azure/identity";
import { Client } from "@microsoft/microsoft-graph-client";
import { TokenCredentialAuthenticationProvider } from "@microsoft/microsoft-graph-client/authProviders/azureTokenCredentials/index.js";

function variable(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: eval "$(leastkey cloud env --for js)"`);
  return value;
}

export const tenant = variable("AZURE_TENANT_ID");
export const subscription = variable("AZURE_SUBSCRIPTION_ID");
export const login = variable("LEASTKEY_LOGIN");
export const graphURL = variable("LEASTKEY_GRAPH");
export const armURL = variable("LEASTKEY_ARM");
export const vaultURL = variable("LEASTKEY_VAULT_KV_POLYCLAW");
export const legacyVaultURL = variable("LEASTKEY_VAULT_KV_LEGACY");

export const scopes = { arm: `${armURL}/.default`, graph: `${graphURL}/.default`, vault: "https://vault.azure.net/.default" };

// here is what every credential needs: the login host comes from AZURE_AUTHORITY_HOST, and no public service is asked whether it may be
// trusted. retryOptions keeps a refusal from being repeated.
export const here = { disableInstanceDiscovery: true, retryOptions: { maxRetries: 0 } };

const operatorPEM = variable("LEASTKEY_OPERATOR_PEM");
export const operator = new ClientCertificateCredential(tenant, variable("LEASTKEY_OPERATOR_APP_ID"), { certificatePath: operatorPEM }, here);

// person is one of the cloud's test users, from the file beside the operator's certificate.
export function person(name) {
  return JSON.parse(readFileSync(join(dirname(operatorPEM), "operators.json"), "utf8")).operators.find((o) => o.name === name);
}

// graphFor is a Graph client. Without customHosts it would not send its token to this host.
export function graphFor(credential, scope = scopes.graph) {
  return Client.initWithMiddleware({
    baseUrl: graphURL,
    customHosts: new Set(["localhost"]),
    authProvider: new TokenCredentialAuthenticationProvider(credential, { scopes: [scope] }),
  });
}

export const graph = graphFor(operator);

// options of the clients for ARM: those of the older generator take credentialScopes, those of the newer one credentials.scopes.
export const arm = { endpoint: armURL, credentialScopes: scopes.arm, credentials: { scopes: [scopes.arm] }, retryOptions: { maxRetries: 0 } };

// claims of a token, which are for its resource to judge; here they show what the cloud put in.
export const claims = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url"));

// keyCredential is how Graph takes a certificate.
export function keyCredential(certificate, displayName = "suite") {
  const der = new X509Certificate(readFileSync(certificate.cert)).raw;
  return { type: "AsymmetricX509Cert", usage: "Verify", key: der.toString("base64"), displayName };
}

// application makes an application and its service principal: {id, appId, principal, secret}.
export async function application(displayName, { certificate, secret, principal = true } = {}) {
  const keyCredentials = certificate ? [keyCredential(certificate)] : [];
  const app = await graph.api("/applications").post({ displayName, keyCredentials });
  const made = { id: app.id, appId: app.appId };
  if (principal) made.principal = (await graph.api("/servicePrincipals").post({ appId: app.appId })).id;
  if (secret) {
    const passwordCredential = { displayName: "suite", ...secret };
    made.secret = (await graph.api(`/applications/${app.id}/addPassword`).post({ passwordCredential })).secretText;
  }
  return made;
}

// end is when a certificate ends.
export const end = (certificate) => new Date(new X509Certificate(readFileSync(certificate.cert)).validTo);

// after waits until a moment has passed, by the clock that the local cloud shares with us.
export async function after(moment) {
  for (let left; (left = moment.getTime() + 50 - Date.now()) > 0; ) await sleep(left);
}

export async function all(pages) {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
}
