// @azure/msal-node without an SDK around it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { ConfidentialClientApplication, PublicClientApplication } from "@azure/msal-node";
import { assertion } from "./assertion.mjs";
import { certificate, management, operation, refused } from "./protocol.mjs";
import { application, armURL, claims, graphURL, login, person, scopes, tenant } from "./world.mjs";

const azureCLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"; // a public client that every tenant has

// authority is what MSAL has to be told; without knownAuthorities it would ask a public service whether the host may be trusted.
const authority = (name = tenant) => ({ authority: `${login}/${name}`, knownAuthorities: [new URL(login).host] });

export async function msal() {
  const cert = await certificate("msal");
  const app = await operation("an application for MSAL", () => application("js-msal", { certificate: cert, secret: {} }));
  const privateKey = readFileSync(cert.key, "utf8");
  const clientCertificate = { thumbprintSha256: cert.sha256, privateKey };
  const confidential = (how, more = {}, clientId = app.appId) =>
    new ConfidentialClientApplication({ auth: { clientId, ...authority(), ...how, ...more } });
  const proves = (result) => assert.equal(claims(result.accessToken).appid, app.appId);

  const client = confidential({ clientCertificate });
  await operation("acquireTokenByClientCredential with a certificate, thumbprintSha256", async () => {
    const first = await client.acquireTokenByClientCredential({ scopes: [scopes.arm] });
    proves(first);
    assert.deepEqual([first.fromCache, first.tokenType], [false, "Bearer"]);
    assert.equal((await client.acquireTokenByClientCredential({ scopes: [scopes.arm] })).fromCache, true);
    assert.equal((await client.acquireTokenByClientCredential({ scopes: [scopes.graph] })).fromCache, false);
  });
  // MSAL keeps an assertion for ten minutes, so this sends the first one again. The local cloud is stricter than Entra in that.
  await refused("acquireTokenByClientCredential with skipCache, which presents its assertion again", "AADSTS50013", () =>
    client.acquireTokenByClientCredential({ scopes: [scopes.arm], skipCache: true }));
  await operation("acquireTokenByClientCredential with a certificate and x5c", async () =>
    proves(await confidential({ clientCertificate: { ...clientCertificate, x5c: readFileSync(cert.cert, "utf8") } })
      .acquireTokenByClientCredential({ scopes: [scopes.graph] })));
  await operation("acquireTokenByClientCredential with a secret", async () =>
    proves(await confidential({ clientSecret: app.secret }).acquireTokenByClientCredential({ scopes: [scopes.vault] })));
  await operation("acquireTokenByClientCredential with clientAssertion", async () => {
    // MSAL tells the callback for which client and endpoint it is.
    const clientAssertion = async ({ clientId, tokenEndpoint }) => assertion(clientId, cert, { aud: tokenEndpoint });
    proves(await confidential({ clientAssertion }).acquireTokenByClientCredential({ scopes: [scopes.arm] }));
  });

  const admin = person("admin");
  const device = new PublicClientApplication({ auth: { clientId: azureCLI, ...authority() } });
  const account = await operation("acquireTokenByDeviceCode, approved by a user", async () => {
    const result = await device.acquireTokenByDeviceCode({
      scopes: [scopes.graph],
      // A person takes a moment, in which MSAL asks once; it asks again after five seconds.
      deviceCodeCallback: async ({ userCode }) => {
        await sleep(2000);
        await management("POST /devicecode/approve", { user_code: userCode, upn: admin.upn });
      },
    });
    assert.equal(result.account.username, admin.upn);
    assert.equal(claims(result.accessToken).oid, admin.object_id);
    return result.account;
  });
  await operation("acquireTokenSilent with the refresh token, for another resource", async () => {
    const result = await device.acquireTokenSilent({ account, scopes: [scopes.arm] });
    const said = claims(result.accessToken);
    assert.deepEqual([said.aud.replace(/\/$/, ""), said.oid], [armURL, admin.object_id]);
  });
  await operation("acquireTokenByUsernamePassword", async () => {
    const { upn, password, object_id } = person("reader");
    const client = new PublicClientApplication({ auth: { clientId: azureCLI, ...authority() } });
    const { accessToken } = await client.acquireTokenByUsernamePassword({ scopes: [scopes.graph], username: upn, password });
    const said = claims(accessToken);
    assert.deepEqual([said.aud.replace(/\/$/, ""), said.oid], [graphURL, object_id]);
  });
  await refused("acquireTokenByUsernamePassword with a wrong password", "AADSTS50126", () =>
    new PublicClientApplication({ auth: { clientId: azureCLI, ...authority() } })
      .acquireTokenByUsernamePassword({ scopes: [scopes.graph], username: admin.upn, password: "not-the-password" }));

  const stranger = await certificate("msal-stranger");
  await refused("acquireTokenByClientCredential with a key that is not registered", "AADSTS700027", () =>
    confidential({ clientCertificate: { thumbprintSha256: stranger.sha256, privateKey: readFileSync(stranger.key, "utf8") } })
      .acquireTokenByClientCredential({ scopes: [scopes.arm] }));
  await refused("acquireTokenByClientCredential with a certificate and another one's key", "AADSTS700027", () =>
    confidential({ clientCertificate: { thumbprintSha256: cert.sha256, privateKey: readFileSync(stranger.key, "utf8") } })
      .acquireTokenByClientCredential({ scopes: [scopes.arm] }));
  await refused("acquireTokenByClientCredential with a wrong secret", "7000215", () =>
    confidential({ clientSecret: "not-the-secret" }).acquireTokenByClientCredential({ scopes: [scopes.arm] }));
  await refused("acquireTokenByClientCredential for an application that does not exist", "AADSTS700016", () =>
    confidential({ clientSecret: "any" }, {}, randomUUID()).acquireTokenByClientCredential({ scopes: [scopes.arm] }));

  // With the discovery document given, MSAL goes to the token endpoint at once, as it does on the public cloud.
  const nowhere = randomUUID();
  const authorityMetadata = JSON.stringify({
    authorization_endpoint: `${login}/${nowhere}/oauth2/v2.0/authorize`, token_endpoint: `${login}/${nowhere}/oauth2/v2.0/token`,
    issuer: `${login}/${nowhere}/v2.0`, jwks_uri: `${login}/${nowhere}/discovery/v2.0/keys`,
  });
  await refused("acquireTokenByClientCredential in a tenant that does not exist", "AADSTS90002", () =>
    confidential({ clientSecret: app.secret, authorityMetadata }, authority(nowhere)).acquireTokenByClientCredential({ scopes: [scopes.arm] }));
}
