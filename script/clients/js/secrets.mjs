// @azure/keyvault-secrets.
import assert from "node:assert/strict";
import { ClientSecretCredential } from "@azure/identity";
import { SecretClient } from "@azure/keyvault-secrets";
import { give, vaultScope } from "./arm.mjs";
import { operation, refused, throttled } from "./protocol.mjs";
import { all, application, here, legacyVaultURL, tenant, vaultURL } from "./world.mjs";

// options of the vault clients: the challenge names https://vault.azure.net, of which a vault on localhost is no part.
export const options = { disableChallengeResourceVerification: true, retryOptions: { maxRetries: 0 } };

// keeper makes an application with the role at the vault, and its credential.
export const keeper = (name, role) => operation(`an application with the role ${role}`, async () => {
  const made = await application(name, { secret: {} });
  await give(made.principal, role, vaultScope);
  return { ...made, credential: new ClientSecretCredential(tenant, made.appId, made.secret, here) };
});

export async function secrets() {
  const officer = await keeper("js-secrets", "Key Vault Secrets Officer");
  const client = new SecretClient(vaultURL, officer.credential, options);

  const first = await operation("SecretClient.setSecret, getSecret", async () => {
    const made = await client.setSecret("js-secret", "one", { contentType: "text/plain", tags: { suite: "js" } });
    const got = await client.getSecret("js-secret");
    assert.deepEqual([got.value, got.properties.contentType, got.properties.tags], ["one", "text/plain", { suite: "js" }]);
    assert.equal(got.properties.id, made.properties.id);
    return made;
  });
  await operation("SecretClient.setSecret, a new version; the old one stays", async () => {
    await client.setSecret("js-secret", "two");
    assert.equal((await client.getSecret("js-secret")).value, "two");
    assert.equal((await client.getSecret("js-secret", { version: first.properties.version })).value, "one");
  });
  await operation("SecretClient.listPropertiesOfSecrets, listPropertiesOfSecretVersions", async () => {
    assert.ok((await all(client.listPropertiesOfSecrets())).some((s) => s.name === "js-secret"));
    assert.equal((await all(client.listPropertiesOfSecretVersions("js-secret"))).length, 2);
  });
  await operation("SecretClient.updateSecretProperties", async () => {
    const changed = await client.updateSecretProperties("js-secret", first.properties.version, { enabled: false });
    assert.equal(changed.enabled, false);
  });
  await refused("SecretClient.getSecret of a version that is disabled", "Forbidden", () =>
    client.getSecret("js-secret", { version: first.properties.version }));
  await operation("SecretClient.backupSecret", async () => assert.ok((await client.backupSecret("js-secret")).length > 0));
  await operation("SecretClient.beginDeleteSecret, getDeletedSecret, listDeletedSecrets", async () => {
    const poller = await client.beginDeleteSecret("js-secret", { intervalInMs: 50 });
    assert.ok((await poller.pollUntilDone()).deletedOn);
    assert.equal((await client.getDeletedSecret("js-secret")).name, "js-secret");
    assert.ok((await all(client.listDeletedSecrets())).some((s) => s.name === "js-secret"));
  });
  await refused("SecretClient.getSecret of one that was deleted", "SecretNotFound", () => client.getSecret("js-secret"));
  await refused("SecretClient.setSecret over one that was deleted", "ObjectIsDeletedButRecoverable", () => client.setSecret("js-secret", "three"));
  await operation("SecretClient.beginRecoverDeletedSecret", async () => {
    await (await client.beginRecoverDeletedSecret("js-secret", { intervalInMs: 50 })).pollUntilDone();
    assert.equal((await client.getSecret("js-secret")).value, "two");
  });

  await refused("SecretClient.purgeDeletedSecret of one that was not deleted", "SecretNotFound", () => client.purgeDeletedSecret("js-secret"));
  await refused("SecretClient.getSecret that does not exist", "SecretNotFound", () => client.getSecret("js-none"));
  await throttled(() => refused("SecretClient.getSecret while the vault throttles", "Throttled", () => client.getSecret("js-secret")));

  const user = await keeper("js-secrets-user", "Key Vault Secrets User");
  const reading = new SecretClient(vaultURL, user.credential, options);
  await operation("SecretClient.getSecret with a role that reads", async () => assert.equal((await reading.getSecret("js-secret")).value, "two"));
  await refused("SecretClient.setSecret with a role that only reads", "ForbiddenByRbac", () => reading.setSecret("js-secret", "three"));
  await refused("SecretClient.getSecret from a vault whose access policies do not name the caller", "ForbiddenByPolicy", () =>
    new SecretClient(legacyVaultURL, user.credential, options).getSecret("js-secret"));

  await operation("SecretClient.purgeDeletedSecret", async () => {
    await (await client.beginDeleteSecret("js-secret", { intervalInMs: 50 })).pollUntilDone();
    await client.purgeDeletedSecret("js-secret");
    assert.equal((await all(client.listDeletedSecrets())).length, 0);
  });
}
