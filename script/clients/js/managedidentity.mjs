// Managed identities: what the code on a resource sees of them, App Service's endpoint and IMDS.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { ManagedServiceIdentityClient } from "@azure/arm-msi";
import { container, resources } from "./arm.mjs";
import { identity as endpointsOf, operation, refused } from "./protocol.mjs";
import { arm, armURL, claims, graphURL, operator, scopes, subscription } from "./world.mjs";

const group = "js-managed", location = "eastus";

// ask gets a token in a thread of its own: MSAL looks once in a process which kind of endpoint there is.
async function ask(environment, options, scope) {
  const { IDENTITY_ENDPOINT, IDENTITY_HEADER, AZURE_POD_IDENTITY_AUTHORITY_HOST, ...env } = process.env;
  const worker = new Worker(fileURLToPath(new URL("managedidentity.worker.mjs", import.meta.url)), {
    env: { ...env, ...environment }, workerData: { options, scope },
  });
  const answer = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  if (answer.error) throw Object.assign(new Error(answer.error.message), { name: answer.error.name });
  return claims(answer.token);
}

export async function managedIdentities() {
  const api = new ManagedServiceIdentityClient(operator, subscription, arm).userAssignedIdentities;
  const [mine, other] = await operation("two identities", async () => {
    await resources.resourceGroups.createOrUpdate(group, { location });
    return [await api.createOrUpdate(group, "js-mine", { location }), await api.createOrUpdate(group, "js-other", { location })];
  });
  const [both, lone] = await operation("resources that have identities", async () => [
    await container(group, "js-both", { type: "SystemAssigned, UserAssigned", userAssignedIdentities: { [mine.id]: {} } }),
    await container(group, "js-lone", { type: "UserAssigned", userAssignedIdentities: { [mine.id]: {} } }),
  ]);
  const appService = async (resource) => {
    const { identity_endpoint, identity_header } = await endpointsOf(resource.id);
    return { IDENTITY_ENDPOINT: identity_endpoint, IDENTITY_HEADER: identity_header };
  };
  const imds = async (resource) => ({ AZURE_POD_IDENTITY_AUTHORITY_HOST: (await endpointsOf(resource.id)).imds });

  for (const [kind, where] of [["App Service", await appService(both)], ["IMDS", await imds(both)]]) {
    await operation(`ManagedIdentityCredential, system-assigned, from ${kind}`, async () => {
      const said = await ask(where, {}, scopes.arm);
      assert.deepEqual([said.aud.replace(/\/$/, ""), said.oid], [armURL, both.identity.principalId]);
    });
    await operation(`ManagedIdentityCredential, user-assigned by client id, from ${kind}`, async () => {
      const said = await ask(where, { clientId: mine.clientId }, scopes.graph);
      assert.deepEqual([said.aud.replace(/\/$/, ""), said.appid, said.oid], [graphURL, mine.clientId, mine.principalId]);
    });
    await operation(`ManagedIdentityCredential, user-assigned by resource id, from ${kind}`, async () =>
      assert.equal((await ask(where, { resourceId: mine.id }, scopes.arm)).oid, mine.principalId));
    await operation(`ManagedIdentityCredential, user-assigned by object id, from ${kind}`, async () =>
      assert.equal((await ask(where, { objectId: mine.principalId }, scopes.vault)).oid, mine.principalId));
    await operation(`DefaultAzureCredential finds ${kind}`, async () =>
      assert.equal((await ask(where, { default: true, managedIdentityClientId: mine.clientId }, scopes.arm)).oid, mine.principalId));
  }
  await operation("ManagedIdentityCredential of the only identity, from IMDS", async () =>
    assert.equal((await ask(await imds(lone), {}, scopes.arm)).oid, mine.principalId));

  await refused("ManagedIdentityCredential with an identity of another resource, from App Service",
    "No User Assigned or Delegated Managed Identity found", async () => ask(await appService(both), { clientId: other.clientId }, scopes.arm));
  await refused("ManagedIdentityCredential with an identity of another resource, from IMDS",
    "Identity not found", async () => ask(await imds(both), { clientId: other.clientId }, scopes.arm));
  await refused("ManagedIdentityCredential, system-assigned, on a resource that has none, from App Service",
    "Unable to load the proper Managed Identity", async () => ask(await appService(lone), {}, scopes.arm));
  await refused("ManagedIdentityCredential with a header that is not the resource's", "X-IDENTITY-HEADER", async () =>
    ask({ ...(await appService(both)), IDENTITY_HEADER: "guessed" }, {}, scopes.arm));
  await refused("ManagedIdentityCredential for a resource that does not exist", "AADSTS500011", async () =>
    ask(await imds(both), {}, "api://nobody/.default"));

  const where = await imds(both);
  await operation("the identity is taken away", () => container(group, "js-both", { type: "SystemAssigned" }));
  await refused("ManagedIdentityCredential with an identity that was taken away", "Identity not found", () =>
    ask(where, { clientId: mine.clientId }, scopes.arm));
}
