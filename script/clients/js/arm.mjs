// @azure/arm-resources, arm-authorization, arm-msi and arm-keyvault: groups, resources, roles and identities.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { AuthorizationManagementClient } from "@azure/arm-authorization";
import { KeyVaultManagementClient } from "@azure/arm-keyvault";
import { ManagedServiceIdentityClient } from "@azure/arm-msi";
import { ResourceManagementClient } from "@azure/arm-resources";
import { ClientSecretCredential } from "@azure/identity";
import { operation, refused, throttled } from "./protocol.mjs";
import { all, application, arm, here, operator, scopes, subscription, tenant } from "./world.mjs";

export const resources = new ResourceManagementClient(operator, subscription, arm);
const authorization = new AuthorizationManagementClient(operator, subscription, arm);
const identities = new ManagedServiceIdentityClient(operator, subscription, arm);
const vaults = new KeyVaultManagementClient(operator, subscription, arm);

const location = "eastus";
const subscriptionScope = `/subscriptions/${subscription}`;
const groupScope = (name) => `${subscriptionScope}/resourceGroups/${name}`;
export const vaultScope = `${groupScope("polyclaw-rg")}/providers/Microsoft.KeyVault/vaults/kv-polyclaw`;
const appVersion = "2024-03-01"; // of Microsoft.App/containerApps, for the generic calls, which do not know it

// roleID finds a built-in role by its name.
export async function roleID(name, scope = subscriptionScope) {
  const [role] = await all(authorization.roleDefinitions.list(scope, { filter: `roleName eq '${name}'` }));
  return role.id;
}

// give assigns a role; naming the principal's type spares ARM a look into a directory that may lag.
export const give = async (principalId, role, scope) =>
  authorization.roleAssignments.create(scope, randomUUID(), {
    principalId, principalType: "ServicePrincipal", roleDefinitionId: await roleID(role, scope),
  });

// container makes a resource with managed identities and returns it.
export const container = (group, name, identity) =>
  resources.resources.beginCreateOrUpdateAndWait(group, "Microsoft.App", "", "containerApps", name, appVersion, { location, identity, properties: {} });

export async function groups() {
  await operation("resourceGroups: createOrUpdate, get, checkExistence", async () => {
    const made = await resources.resourceGroups.createOrUpdate("js-rg", { location, tags: { suite: "js" } });
    assert.deepEqual([made.id, made.location, made.tags], [groupScope("js-rg"), location, { suite: "js" }]);
    assert.equal((await resources.resourceGroups.get("js-rg")).properties.provisioningState, "Succeeded");
    assert.equal((await resources.resourceGroups.checkExistence("js-rg")).body, true);
    assert.equal((await resources.resourceGroups.checkExistence("js-none")).body, false);
  });
  await operation("resourceGroups: list", async () => {
    const names = (await all(resources.resourceGroups.list())).map((g) => g.name);
    assert.ok(["js-rg", "polyclaw-rg", "legacy-rg"].every((n) => names.includes(n)));
  });
  await operation("resources: beginCreateOrUpdate, get", async () => {
    const made = await container("js-rg", "js-app", { type: "SystemAssigned" });
    assert.match(made.identity.principalId, /^[0-9a-f-]{36}$/);
    const got = await resources.resources.get("js-rg", "Microsoft.App", "", "containerApps", "js-app", appVersion);
    assert.equal(got.identity.principalId, made.identity.principalId);
  });
  await operation("resources: list of a group, list of the subscription", async () => {
    assert.deepEqual((await all(resources.resources.listByResourceGroup("js-rg"))).map((r) => r.name), ["js-app"]);
    const found = await all(resources.resources.list({ filter: "resourceType eq 'Microsoft.KeyVault/vaults'" }));
    assert.ok(found.some((r) => r.name === "kv-polyclaw"));
  });
  await operation("resources: getById, deleteById", async () => {
    const id = `${groupScope("js-rg")}/providers/Microsoft.App/containerApps/js-app`;
    assert.equal((await resources.resources.getById(id, appVersion)).name, "js-app");
    await resources.resources.beginDeleteByIdAndWait(id, appVersion);
  });
  await operation("resourceGroups: delete", async () => {
    await resources.resourceGroups.createOrUpdate("js-gone", { location });
    await resources.resourceGroups.beginDeleteAndWait("js-gone");
    assert.equal((await resources.resourceGroups.checkExistence("js-gone")).body, false);
  });
  await refused("resourceGroups: get one that was deleted", "ResourceGroupNotFound", () => resources.resourceGroups.get("js-gone"));
}

export async function roles() {
  const who = await operation("an application to give roles", () => application("js-roles"));
  const at = { subscription: subscriptionScope, group: groupScope("polyclaw-rg"), resource: vaultScope };
  const reader = await operation("roleDefinitions: list with a filter, get, getById", async () => {
    const id = await roleID("Reader");
    const role = await authorization.roleDefinitions.get(subscriptionScope, id.split("/").at(-1));
    assert.deepEqual([role.roleName, role.roleType, role.permissions[0].actions], ["Reader", "BuiltInRole", ["*/read"]]);
    assert.equal((await authorization.roleDefinitions.getById(id)).roleName, "Reader");
    return id;
  });
  await operation("roleDefinitions: list all of a scope", async () =>
    assert.ok((await all(authorization.roleDefinitions.list(at.resource))).some((r) => r.roleName === "Key Vault Secrets User")));

  const made = {};
  for (const [kind, scope] of Object.entries(at)) {
    await operation(`roleAssignments: create at a ${kind}`, async () => {
      made[kind] = await give(who.principal, "Reader", scope);
      const { principalId, roleDefinitionId, principalType } = made[kind];
      assert.deepEqual([made[kind].scope, principalId, roleDefinitionId, principalType], [scope, who.principal, reader, "ServicePrincipal"]);
    });
  }
  const filter = `principalId eq '${who.principal}'`;
  const scopesOf = async (pages) => (await all(pages)).map((a) => a.scope).sort();
  await operation("roleAssignments: list for the subscription, a group, a resource and a scope", async () => {
    assert.equal((await scopesOf(authorization.roleAssignments.listForSubscription({ filter }))).length, 3);
    assert.deepEqual(await scopesOf(authorization.roleAssignments.listForScope(at.group, { filter: `atScope() and assignedTo('${who.principal}')` })), [at.subscription, at.group].sort());
    assert.ok((await scopesOf(authorization.roleAssignments.listForResourceGroup("polyclaw-rg", { filter }))).includes(at.group));
    assert.ok((await scopesOf(authorization.roleAssignments.listForResource("polyclaw-rg", "Microsoft.KeyVault", "vaults", "kv-polyclaw", { filter }))).includes(at.resource));
  });
  await operation("roleAssignments: get, getById", async () => {
    assert.equal((await authorization.roleAssignments.get(at.group, made.group.name)).id, made.group.id);
    assert.equal((await authorization.roleAssignments.getById(made.resource.id)).name, made.resource.name);
  });
  await refused("roleAssignments: create one that is there under another name", "RoleAssignmentExists", () => give(who.principal, "Reader", at.group));
  await refused("roleAssignments: create for a principal that does not exist", "PrincipalNotFound", async () =>
    authorization.roleAssignments.create(at.group, randomUUID(), { principalId: randomUUID(), roleDefinitionId: reader }));
  await refused("roleAssignments: create with a role that does not exist", "RoleDefinitionDoesNotExist", () =>
    authorization.roleAssignments.create(at.group, randomUUID(), {
      principalId: who.principal, roleDefinitionId: `${subscriptionScope}/providers/Microsoft.Authorization/roleDefinitions/${randomUUID()}`,
    }));
  await operation("roleAssignments: delete, deleteById", async () => {
    await authorization.roleAssignments.delete(at.subscription, made.subscription.name);
    await authorization.roleAssignments.delete(at.group, made.group.name);
    await authorization.roleAssignments.deleteById(made.resource.id);
    assert.deepEqual(await scopesOf(authorization.roleAssignments.listForSubscription({ filter })), []);
  });
  await refused("roleAssignments: get one that was deleted", "RoleAssignmentNotFound", () => authorization.roleAssignments.get(at.group, made.group.name));
}

export async function managed() {
  const api = identities.userAssignedIdentities;
  await operation("userAssignedIdentities: createOrUpdate, get, update", async () => {
    await resources.resourceGroups.createOrUpdate("js-msi", { location });
    const made = await api.createOrUpdate("js-msi", "js-identity", { location });
    assert.equal(made.tenantId, tenant);
    assert.deepEqual((await api.update("js-msi", "js-identity", { tags: { suite: "js" } })).tags, { suite: "js" });
    assert.equal((await api.get("js-msi", "js-identity")).clientId, made.clientId);
  });
  await operation("userAssignedIdentities: list of a group, list of the subscription", async () => {
    assert.deepEqual((await all(api.listByResourceGroup("js-msi"))).map((i) => i.name), ["js-identity"]);
    assert.ok((await all(api.listBySubscription())).some((i) => i.name === "js-identity"));
  });
  await operation("federatedIdentityCredentials: createOrUpdate, get, list, delete", async () => {
    const inner = identities.federatedIdentityCredentials, of = ["js-msi", "js-identity"];
    const body = { issuer: "https://issuer.example", subject: "system:serviceaccount:a:b", audiences: ["api://AzureADTokenExchange"] };
    await inner.createOrUpdate(...of, "cluster", body);
    const { issuer, subject, audiences } = await inner.get(...of, "cluster");
    assert.deepEqual({ issuer, subject, audiences }, body);
    assert.deepEqual((await all(inner.list(...of))).map((c) => c.name), ["cluster"]);
    await inner.delete(...of, "cluster");
    assert.deepEqual(await all(inner.list(...of)), []);
  });
  await operation("userAssignedIdentities: delete", () => api.delete("js-msi", "js-identity"));
  await refused("userAssignedIdentities: get one that was deleted", "ResourceNotFound", () => api.get("js-msi", "js-identity"));
}

export async function vaultsOfARM() {
  // What the vault goes by is left out: role assignments, since the version of the API that this client speaks.
  const properties = { tenantId: tenant, sku: { family: "A", name: "standard" }, enableSoftDelete: true };
  await operation("vaults: createOrUpdate, get, list", async () => {
    await resources.resourceGroups.createOrUpdate("js-vaults", { location });
    const made = await vaults.vaults.createOrUpdate("js-vaults", "js-vault-1", { location, properties });
    assert.equal(made.properties.enableRbacAuthorization, true);
    assert.equal((await vaults.vaults.get("js-vaults", "js-vault-1")).properties.vaultUri, made.properties.vaultUri);
    assert.deepEqual((await all(vaults.vaults.listByResourceGroup("js-vaults"))).map((v) => v.name), ["js-vault-1"]);
  });
  await operation("vaults: delete, getDeleted, purgeDeleted", async () => {
    await vaults.vaults.delete("js-vaults", "js-vault-1");
    assert.equal((await vaults.vaults.getDeleted("js-vault-1", location)).name, "js-vault-1");
    await vaults.vaults.purgeDeleted("js-vault-1", location);
  });
  await refused("vaults: get one that was purged", "ResourceNotFound", () => vaults.vaults.get("js-vaults", "js-vault-1"));
}

export async function armRefusals() {
  const plain = await operation("an application without roles", () => application("js-roleless", { secret: {} }));
  const credential = new ClientSecretCredential(tenant, plain.appId, plain.secret, here);
  const poor = new ResourceManagementClient(credential, subscription, arm);
  const wrong = new ResourceManagementClient(operator, subscription, { ...arm, credentialScopes: scopes.graph });

  await refused("a token for Graph at ARM", "InvalidAuthenticationTokenAudience", () => wrong.resourceGroups.get("polyclaw-rg"));
  await refused("resourceGroups: get without a role", "AuthorizationFailed", () => poor.resourceGroups.get("polyclaw-rg"));
  await refused("resourceGroups: create without a role", "AuthorizationFailed", () => poor.resourceGroups.createOrUpdate("js-never", { location }));
  await operation("a role that reads", () => give(plain.principal, "Reader", groupScope("polyclaw-rg")));
  await operation("resourceGroups: get with a role that reads", () => poor.resourceGroups.get("polyclaw-rg"));
  await refused("roleAssignments: create with a role that only reads", "AuthorizationFailed", async () => {
    const roleDefinitionId = await roleID("Owner");
    await new AuthorizationManagementClient(credential, subscription, arm).roleAssignments.create(groupScope("polyclaw-rg"), randomUUID(), {
      principalId: plain.principal, principalType: "ServicePrincipal", roleDefinitionId,
    });
  });
  await refused("resources: get with an API version that does not exist", "NoRegisteredProviderFound", () =>
    resources.resources.getById(vaultScope, "1999-01-01"));
  await refused("resources: get one that does not exist", "ResourceNotFound", () => resources.resources.getById(`${vaultScope}-none`, "2023-07-01"));
  await throttled(() => refused("resourceGroups: list while ARM throttles", "TooManyRequests", () => all(resources.resourceGroups.list())));
}
