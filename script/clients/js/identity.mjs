// @azure/identity: every credential that needs no person.
import assert from "node:assert/strict";
import { readFileSync, rmSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  ClientAssertionCredential, ClientCertificateCredential, ClientSecretCredential, DefaultAzureCredential, EnvironmentCredential,
  WorkloadIdentityCredential,
} from "@azure/identity";
import { assertion } from "./assertion.mjs";
import { certificate, federated, operation, refused } from "./protocol.mjs";
import { application, armURL, claims, graph, graphURL, here, scopes, tenant } from "./world.mjs";

// proves asserts what the cloud says of the application: 2 stands for a certificate or an assertion, 1 for a secret, which is the
// optional claim appidacr (Microsoft, "Access token claims reference").
function proves(token, audience, app, how) {
  const said = claims(token.token);
  assert.equal(said.aud.replace(/\/$/, ""), audience);
  assert.deepEqual([said.appid, said.tid, said.oid, said.appidacr], [app.appId, tenant, app.principal, how]);
  assert.ok(token.expiresOnTimestamp > Date.now() + 30 * 60 * 1000);
}

// withEnvironment sets variables for the time of f.
async function withEnvironment(variables, f) {
  Object.assign(process.env, variables);
  try {
    return await f();
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
  }
}

export async function identity() {
  const cert = await certificate("identity");
  const app = await operation("an application with a certificate and a secret", () =>
    application("js-identity", { certificate: cert, secret: {} }));
  const byCertificate = (options) => new ClientCertificateCredential(tenant, app.appId, options, { ...here, ...options });

  await operation("ClientCertificateCredential.getToken for ARM", async () => {
    const credential = byCertificate({ certificatePath: cert.both });
    const token = await credential.getToken(scopes.arm);
    proves(token, armURL, app, "2");
    assert.equal((await credential.getToken(scopes.arm)).token, token.token, "the second comes from the cache");
  });
  await operation("ClientCertificateCredential.getToken for Graph", async () =>
    proves(await byCertificate({ certificatePath: cert.both }).getToken(scopes.graph), graphURL, app, "2"));
  await operation("ClientCertificateCredential.getToken for Key Vault, certificate as text", async () => {
    const said = claims((await byCertificate({ certificate: readFileSync(cert.both, "utf8") }).getToken(scopes.vault)).token);
    assert.equal(said.appid, app.appId);
  });
  await operation("ClientCertificateCredential with sendCertificateChain", async () =>
    proves(await byCertificate({ certificatePath: cert.both, sendCertificateChain: true }).getToken(scopes.arm), armURL, app, "2"));
  await operation("ClientSecretCredential.getToken for ARM", async () =>
    proves(await new ClientSecretCredential(tenant, app.appId, app.secret, here).getToken(scopes.arm), armURL, app, "1"));
  await operation("ClientAssertionCredential with an assertion signed by hand, PS256", async () =>
    proves(await new ClientAssertionCredential(tenant, app.appId, async () => assertion(app.appId, cert), here).getToken(scopes.arm), armURL, app, "2"));
  await operation("ClientAssertionCredential with an assertion signed by hand, RS256 and x5t", async () =>
    proves(await new ClientAssertionCredential(tenant, app.appId, async () => assertion(app.appId, cert, {}, true), here).getToken(scopes.graph), graphURL, app, "2"));
  await operation("EnvironmentCredential with a secret", async () =>
    withEnvironment({ AZURE_CLIENT_ID: app.appId, AZURE_CLIENT_SECRET: app.secret }, async () =>
      proves(await new EnvironmentCredential(here).getToken(scopes.arm), armURL, app, "1")));
  await operation("DefaultAzureCredential finds the certificate that the environment names", async () =>
    withEnvironment({ AZURE_CLIENT_ID: app.appId, AZURE_CLIENT_CERTIFICATE_PATH: cert.both }, async () =>
      proves(await new DefaultAzureCredential(here).getToken(scopes.arm), armURL, app, "2")));
}

// federation: tokens of an issuer that the cloud trusts because the application says so.
export async function federation() {
  const trusted = await federated("system:serviceaccount:agents:js");
  const app = await operation("an application that trusts an issuer", async () => {
    const made = await application("js-federated");
    await graph.api(`/applications/${made.id}/federatedIdentityCredentials`).post({
      name: "cluster", issuer: trusted.issuer, subject: "system:serviceaccount:agents:js", audiences: ["api://AzureADTokenExchange"],
    });
    return made;
  });
  const credential = (token) => new ClientAssertionCredential(tenant, app.appId, async () => token, here);
  await operation("ClientAssertionCredential with a federated token", async () =>
    proves(await credential(trusted.token).getToken(scopes.arm), armURL, app, "2"));

  const folder = mkdtempSync(join(tmpdir(), "leastkey-clients-"));
  try {
    const tokenFilePath = join(folder, "token");
    writeFileSync(tokenFilePath, trusted.token, { mode: 0o600 });
    await operation("WorkloadIdentityCredential with a token file", async () =>
      proves(await new WorkloadIdentityCredential({ tenantId: tenant, clientId: app.appId, tokenFilePath, ...here }).getToken(scopes.graph), graphURL, app, "2"));
    await operation("DefaultAzureCredential finds the token file that the environment names", async () =>
      withEnvironment({ AZURE_CLIENT_ID: app.appId, AZURE_FEDERATED_TOKEN_FILE: tokenFilePath }, async () =>
        proves(await new DefaultAzureCredential(here).getToken(scopes.vault), "https://vault.azure.net", app, "2")));
  } finally {
    rmSync(folder, { recursive: true });
  }

  const other = await federated("system:serviceaccount:agents:other");
  await refused("a federated token of another subject", "AADSTS700213", () => credential(other.token).getToken(scopes.arm));
  const elsewhere = await federated("system:serviceaccount:agents:js", "api://elsewhere");
  await refused("a federated token for another audience", "AADSTS700212", () => credential(elsewhere.token).getToken(scopes.arm));
  const [head, body, signature] = trusted.token.split(".");
  const forged = [head, body, (signature[0] === "A" ? "B" : "A") + signature.slice(1)].join(".");
  await refused("a federated token with a signature that is not the issuer's", "AADSTS50013", () => credential(forged).getToken(scopes.arm));
}
