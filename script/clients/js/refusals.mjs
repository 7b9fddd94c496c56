// What the login host must not give a token for, in the words of @azure/identity.
import { ClientAssertionCredential, ClientCertificateCredential, ClientSecretCredential } from "@azure/identity";
import { randomUUID } from "node:crypto";
import { assertion } from "./assertion.mjs";
import { certificate, operation, refused, throttled } from "./protocol.mjs";
import { after, application, end, graph, here, keyCredential, scopes, tenant } from "./world.mjs";

export async function refusals() {
  const [good, stranger] = [await certificate("refusals"), await certificate("stranger")];
  const app = await operation("an application to refuse", () => application("js-refused", { certificate: good, secret: {} }));
  const token = (cert, { tenantId = tenant, appId = app.appId, scope = scopes.arm } = {}) =>
    new ClientCertificateCredential(tenantId, appId, { certificatePath: cert.both }, here).getToken(scope);
  const secret = (value) => new ClientSecretCredential(tenant, app.appId, value, here).getToken(scopes.arm);
  const asserted = (text) => new ClientAssertionCredential(tenant, app.appId, async () => text, here).getToken(scopes.arm);

  await refused("ClientCertificateCredential with a key that is not registered", "AADSTS700027", () => token(stranger));
  // MSAL reads the tenant's discovery document first and keeps to itself that it says AADSTS90002; msal.mjs shows that code.
  await refused("ClientCertificateCredential in a tenant that does not exist", "endpoints_resolution_error", () =>
    token(good, { tenantId: randomUUID() }));
  await refused("ClientCertificateCredential for an application that does not exist", "AADSTS700016", () => token(good, { appId: randomUUID() }));
  await refused("ClientCertificateCredential for a resource that does not exist", "AADSTS500011", () => token(good, { scope: "api://nobody/.default" }));
  await refused("ClientCertificateCredential with a scope that is not of the client credentials flow", "AADSTS1002012", () =>
    token(good, { scope: scopes.graph.replace(".default", "User.Read") }));
  await refused("ClientSecretCredential with a wrong secret", "AADSTS7000215", () => secret("not-the-secret"));

  // Both end while we look, because Graph takes nothing that has ended before.
  const brief = await certificate("brief", 6);
  const [briefApp, briefSecret] = await operation("a certificate and a secret that end in a moment", async () => [
    await application("js-brief", { certificate: brief }),
    (await graph.api(`/applications/${app.id}/addPassword`).post({ passwordCredential: { displayName: "brief", endDateTime: end(brief) } })).secretText,
  ]);
  await after(end(brief));
  await refused("ClientCertificateCredential with a certificate that has expired", "AADSTS700027", () => token(brief, { appId: briefApp.appId }));
  await refused("ClientSecretCredential with a secret that has expired", "AADSTS7000222", () => secret(briefSecret));

  await operation("ClientCertificateCredential before its certificate is removed", async () => {
    await token(good);
    await graph.api(`/applications/${app.id}`).patch({ keyCredentials: [keyCredential(stranger)] });
    await token(stranger);
  });
  await refused("ClientCertificateCredential with the certificate of a removed credential", "AADSTS700027", () => token(good));
  await operation("ClientCertificateCredential after its certificate is back", async () => {
    await graph.api(`/applications/${app.id}`).patch({ keyCredentials: [keyCredential(good)] });
    await token(good);
  });

  const once = assertion(app.appId, good);
  await operation("ClientAssertionCredential with an assertion of one use", () => asserted(once));
  await refused("ClientAssertionCredential with an assertion that was used before", "AADSTS50013", () => asserted(once));
  await refused("ClientAssertionCredential with an assertion for another audience", "AADSTS700023", () =>
    asserted(assertion(app.appId, good, { aud: "https://elsewhere.example/token" })));
  await refused("ClientAssertionCredential with an assertion that has expired", "AADSTS700024", () =>
    asserted(assertion(app.appId, good, { nbf: 1700000000, exp: 1700000300 })));
  await refused("ClientAssertionCredential with an assertion of another application", "AADSTS700021", () =>
    asserted(assertion(app.appId, good, { sub: randomUUID() })));
  await refused("ClientAssertionCredential with an assertion that another key signed", "AADSTS700027", () =>
    asserted(assertion(app.appId, { ...stranger, sha256: good.sha256 })));
  await refused("ClientAssertionCredential with text that is no assertion", "AADSTS50027", () => asserted("not.a.token"));

  const lonely = await certificate("lonely");
  const without = await operation("an application without a service principal", () =>
    application("js-lonely", { certificate: lonely, principal: false }));
  await refused("ClientCertificateCredential without a service principal", "AADSTS7000229", () => token(lonely, { appId: without.appId }));
  await operation("a service principal that is disabled", () =>
    graph.api(`/servicePrincipals/${app.principal}`).patch({ accountEnabled: false }));
  await refused("ClientCertificateCredential of a disabled application", "AADSTS7000112", () => token(good));


  const busy = new ClientCertificateCredential(tenant, briefApp.appId, { certificatePath: stranger.both }, here);
  await operation("ClientCertificateCredential before the tenant is throttled", async () => {
    await graph.api(`/applications/${briefApp.id}`).patch({ keyCredentials: [keyCredential(stranger)] });
    await busy.getToken(scopes.arm); // so that it knows the endpoints
  });
  await throttled(() => refused("ClientCertificateCredential while the tenant is throttled", "AADSTS90055", () => busy.getToken(scopes.graph)));
}
