// @microsoft/microsoft-graph-client: the objects of an agent's identity.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import {
  BatchRequestContent, BatchResponseContent, PageIterator, RetryHandlerOptions,
} from "@microsoft/microsoft-graph-client";
import { ClientCertificateCredential, ClientSecretCredential } from "@azure/identity";
import { certificate, operation, refused, throttled } from "./protocol.mjs";
import { application, graph, graphFor, graphURL, here, keyCredential, operator, scopes, tenant } from "./world.mjs";

const reader = "df021288-bdef-4463-88db-98f22de89214"; // User.Read.All, an application permission of Microsoft Graph
const graphAppId = "00000003-0000-0000-c000-000000000000";

export async function applications() {
  const names = ["js-graph-1", "js-graph-2", "js-graph-3"];
  const [app] = await operation("applications: create", async () => {
    const made = [];
    for (const displayName of names) made.push(await graph.api("/applications").post({ displayName, signInAudience: "AzureADMyOrg" }));
    assert.deepEqual(made.map((a) => a.displayName), names);
    return made;
  });
  const at = `/applications/${app.id}`;

  await operation("applications: get", async () => assert.equal((await graph.api(at).get()).appId, app.appId));
  await operation("applications: get by appId, $select", async () => {
    const found = await graph.api(`/applications(appId='${app.appId}')`).select("id,displayName").get();
    assert.deepEqual([found.id, found.displayName, found.appId], [app.id, names[0], undefined]);
  });
  await operation("applications: list with $filter", async () => {
    const { value } = await graph.api("/applications").filter(`displayName eq '${names[1]}'`).get();
    assert.deepEqual(value.map((a) => a.displayName), [names[1]]);
  });
  await operation("applications: list by advanced query with $count and $orderby", async () => {
    const answer = await graph.api("/applications").header("ConsistencyLevel", "eventual").count(true)
      .filter("startsWith(displayName,'js-graph-')").orderby("displayName desc").get();
    assert.equal(answer["@odata.count"], 3);
    assert.deepEqual(answer.value.map((a) => a.displayName), names.toReversed());
  });
  await operation("applications: list page by page with PageIterator", async () => {
    const seen = [];
    const first = await graph.api("/applications").filter("startsWith(displayName,'js-graph-')").top(1).get();
    assert.ok(first["@odata.nextLink"].startsWith(graphURL));
    await new PageIterator(graph, first, (a) => seen.push(a.displayName) > 0).iterate();
    assert.deepEqual(seen.sort(), names);
  });
  await operation("applications: patch", async () => {
    await graph.api(at).patch({ notes: "changed", tags: ["suite"], identifierUris: [`api://${app.appId}`] });
    const now = await graph.api(at).get();
    assert.deepEqual([now.notes, now.tags, now.identifierUris], ["changed", ["suite"], [`api://${app.appId}`]]);
  });
  await operation("applications: addPassword, removePassword", async () => {
    const made = await graph.api(`${at}/addPassword`).post({ passwordCredential: { displayName: "one" } });
    assert.ok(made.secretText.length >= 32 && made.secretText.startsWith(made.hint));
    assert.equal((await graph.api(at).get()).passwordCredentials[0].secretText, null, "it is told once");
    await graph.api(`${at}/removePassword`).post({ keyId: made.keyId });
    assert.deepEqual((await graph.api(at).get()).passwordCredentials, []);
  });
  const [one, two] = [await certificate("graph-one"), await certificate("graph-two")];
  await operation("applications: replace keyCredentials, keeping one", async () => {
    await graph.api(at).patch({ keyCredentials: [keyCredential(one, "one")] });
    const { keyCredentials } = await graph.api(at).select("keyCredentials").get();
    assert.equal(keyCredentials[0].key, keyCredential(one).key);
    await graph.api(at).patch({ keyCredentials: [...keyCredentials, keyCredential(two, "two")] });
    const after = (await graph.api(at).select("id,keyCredentials").get()).keyCredentials;
    assert.deepEqual(after.map((k) => k.displayName).sort(), ["one", "two"]);
    assert.ok(after.some((k) => k.keyId === keyCredentials[0].keyId), "the first is still the same one");
  });
  await operation("applications: owners add, list, remove", async () => {
    const other = await application("js-owner");
    const owner = `/directoryObjects/${other.principal}`;
    await graph.api(`${at}/owners/$ref`).post({ "@odata.id": `${graphURL}/v1.0${owner}` });
    const { value } = await graph.api(`${at}/owners`).get(); // who made it is its first owner
    assert.deepEqual(value.map((o) => o.displayName).sort(), ["js-owner", "sp-operator"]);
    assert.equal(value.find((o) => o.id === other.principal)["@odata.type"], "#microsoft.graph.servicePrincipal");
    await graph.api(`${at}/owners/${other.principal}/$ref`).delete();
    assert.deepEqual((await graph.api(`${at}/owners`).get()).value.map((o) => o.displayName), ["sp-operator"]);
  });
  await operation("applications: federatedIdentityCredentials create, get, list, patch, delete", async () => {
    const all = `${at}/federatedIdentityCredentials`;
    const made = await graph.api(all).post({ name: "ci", issuer: "https://issuer.example", subject: "repo:x", audiences: ["api://AzureADTokenExchange"] });
    await graph.api(`${all}/${made.id}`).patch({ subject: "repo:y" });
    assert.equal((await graph.api(`${all}/ci`).get()).subject, "repo:y", "the name is a key too");
    assert.equal((await graph.api(all).get()).value.length, 1);
    await graph.api(`${all}/${made.id}`).delete();
    assert.deepEqual((await graph.api(all).get()).value, []);
  });
  await operation("$batch of reads and a write, one of which depends on another", async () => {
    // The client keeps the path alone, which $batch takes as relative to its own version.
    const request = (id, url, init, dependsOn) => ({ id, dependsOn, request: new Request(`${graphURL}${url}`, init) });
    const batch = new BatchRequestContent([
      request("1", at),
      request("2", at, { method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ notes: "batched" }) }, ["1"]),
      request("3", `${at}?$select=notes`, undefined, ["2"]),
      request("4", `/applications/${randomUUID()}`, undefined, ["3"]),
    ]);
    const answers = new BatchResponseContent(await graph.api("/$batch").post(await batch.getContent()));
    assert.deepEqual(["1", "2", "3", "4"].map((id) => answers.getResponseById(id).status), [200, 204, 200, 404]);
    assert.equal((await answers.getResponseById("3").json()).notes, "batched");
  });
  await operation("applications: delete, deletedItems list, restore, delete for good", async () => {
    const deleted = `/directory/deletedItems/${app.id}`;
    await graph.api(at).delete();
    const { value } = await graph.api("/directory/deletedItems/microsoft.graph.application").get();
    assert.ok(value.some((a) => a.id === app.id && a.deletedDateTime));
    await graph.api(`${deleted}/restore`).post({});
    assert.equal((await graph.api(at).get()).displayName, names[0]);
    await graph.api(at).delete();
    await graph.api(deleted).delete();
  });
  await refused("applications: get one that was deleted for good", "Request_ResourceNotFound", () => graph.api(at).get());
  await refused("deletedItems: get one that was deleted for good", "Request_ResourceNotFound", () =>
    graph.api(`/directory/deletedItems/${app.id}`).get());
}

export async function servicePrincipals() {
  const role = { id: randomUUID(), value: "Jobs.Run", displayName: "Run jobs", description: "Run jobs", allowedMemberTypes: ["Application"], isEnabled: true };
  const scope = {
    id: randomUUID(), value: "Jobs.Read", type: "Admin", isEnabled: true,
    adminConsentDisplayName: "Read jobs", adminConsentDescription: "Read jobs",
  };
  const cert = await certificate("caller");
  const [api, caller] = await operation("an API with a role and a scope, and an application that calls it", async () => {
    const [made, calling] = [await application("js-api"), await application("js-caller", { certificate: cert })];
    await graph.api(`/applications/${made.id}`).patch({
      identifierUris: [`api://${made.appId}`], appRoles: [role], api: { oauth2PermissionScopes: [scope] },
    });
    return [made, calling];
  });
  await operation("servicePrincipals: get by appId", async () => {
    const found = await graph.api(`/servicePrincipals(appId='${api.appId}')`).get();
    assert.equal(found.id, api.principal);
    assert.deepEqual(found.appRoles.map((r) => r.value), ["Jobs.Run"]);
  });
  await operation("servicePrincipals: find Microsoft Graph and its permissions", async () => {
    const { value } = await graph.api("/servicePrincipals").filter(`appId eq '${graphAppId}'`).select("id,appRoles").get();
    assert.equal(value[0].appRoles.find((r) => r.id === reader).value, "User.Read.All");
  });
  const at = `/servicePrincipals/${caller.principal}/appRoleAssignments`;
  const assignment = await operation("servicePrincipals: appRoleAssignments create, list", async () => {
    const made = await graph.api(at).post({ principalId: caller.principal, resourceId: api.principal, appRoleId: role.id });
    const { value } = await graph.api(at).get();
    assert.deepEqual(value.map((a) => [a.id, a.resourceDisplayName, a.principalType]), [[made.id, "js-api", "ServicePrincipal"]]);
    const to = await graph.api(`/servicePrincipals/${api.principal}/appRoleAssignedTo`).get();
    assert.deepEqual(to.value.map((a) => a.principalId), [caller.principal]);
    return made;
  });
  await operation("the role is in the token", async () => {
    const credential = new ClientCertificateCredential(tenant, caller.appId, { certificatePath: cert.both }, here);
    const { token } = await credential.getToken(`api://${api.appId}/.default`);
    assert.deepEqual(JSON.parse(Buffer.from(token.split(".")[1], "base64url")).roles, ["Jobs.Run"]);
  });
  await refused("servicePrincipals: appRoleAssignments create one that is there", "Permission being assigned already exists", () =>
    graph.api(at).post({ principalId: caller.principal, resourceId: api.principal, appRoleId: role.id }));
  await operation("servicePrincipals: appRoleAssignments delete", async () => {
    await graph.api(`${at}/${assignment.id}`).delete();
    assert.deepEqual((await graph.api(at).get()).value, []);
  });
  await operation("oauth2PermissionGrants: create, list, patch, delete", async () => {
    const made = await graph.api("/oauth2PermissionGrants").post({
      clientId: caller.principal, consentType: "AllPrincipals", resourceId: api.principal, scope: "Jobs.Read",
    });
    const { value } = await graph.api("/oauth2PermissionGrants").filter(`clientId eq '${caller.principal}'`).get();
    assert.deepEqual(value.map((g) => [g.id, g.scope]), [[made.id, "Jobs.Read"]]);
    await graph.api(`/oauth2PermissionGrants/${made.id}`).patch({ scope: "Jobs.Read openid" });
    assert.equal((await graph.api(`/oauth2PermissionGrants/${made.id}`).get()).scope, "Jobs.Read openid");
    await graph.api(`/oauth2PermissionGrants/${made.id}`).delete();
  });
  await operation("servicePrincipals: patch, delete", async () => {
    const one = `/servicePrincipals/${api.principal}`;
    await graph.api(one).patch({ appRoleAssignmentRequired: true, tags: ["HideApp"] });
    assert.equal((await graph.api(one).get()).appRoleAssignmentRequired, true);
    await graph.api(one).delete();
  });
  await refused("servicePrincipals: get one that was deleted", "Request_ResourceNotFound", () => graph.api(`/servicePrincipals/${api.principal}`).get());
}

export async function graphRefusals() {
  const plain = await operation("an application without permissions", () => application("js-plain", { secret: {} }));
  const credential = new ClientSecretCredential(tenant, plain.appId, plain.secret, here);
  const graphId = (await operation("the service principal of Microsoft Graph", () => graph.api(`/servicePrincipals(appId='${graphAppId}')`).select("id").get())).id;

  await refused("a token for ARM at Graph", "InvalidAuthenticationToken", () => graphFor(operator, scopes.arm).api("/applications").get());
  await refused("applications: create without a permission", "Authorization_RequestDenied", () =>
    graphFor(credential).api("/applications").post({ displayName: "js-never" }));
  await refused("applications: list without a permission", "Authorization_RequestDenied", () => graphFor(credential).api("/applications").get());
  await refused("a permission of Graph given by somebody who is only Application Administrator", "Authorization_RequestDenied", () =>
    graph.api(`/servicePrincipals/${plain.principal}/appRoleAssignments`).post({ principalId: plain.principal, resourceId: graphId, appRoleId: reader }));
  await refused("applications: get one that does not exist", "Request_ResourceNotFound", () => graph.api(`/applications/${randomUUID()}`).get());
  await refused("applications: create without a name", "Request_BadRequest", () => graph.api("/applications").post({}));
  await refused("applications: list with a filter that is none", "Request_UnsupportedQuery", () =>
    graph.api("/applications").filter("endsWith(displayName,'x')").get());
  await refused("servicePrincipals: create a second one", "Request_MultipleObjectsWithSameKeyValue", () =>
    graph.api("/servicePrincipals").post({ appId: plain.appId }));
  await refused("servicePrincipals: create for an application that does not exist", "does not reference a valid application object", () =>
    graph.api("/servicePrincipals").post({ appId: randomUUID() }));
  await refused("applications: removePassword of a key that does not exist", "No password credential found", () =>
    graph.api(`/applications/${plain.id}/removePassword`).post({ keyId: randomUUID() }));
  await throttled(() => refused("applications: list while Graph throttles", "TooManyRequests", () =>
    graph.api("/applications").middlewareOptions([new RetryHandlerOptions(0, 0)]).get()));
}
