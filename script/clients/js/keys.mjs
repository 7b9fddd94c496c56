// @azure/keyvault-keys and @azure/keyvault-certificates: keys that never leave the vault.
import assert from "node:assert/strict";
import { constants, createHash, createPublicKey, randomBytes, verify, X509Certificate } from "node:crypto";
import { CertificateClient } from "@azure/keyvault-certificates";
import { CryptographyClient, KeyClient } from "@azure/keyvault-keys";
import { SecretClient } from "@azure/keyvault-secrets";
import { ClientAssertionCredential } from "@azure/identity";
import { give, vaultScope } from "./arm.mjs";
import { operation, refused } from "./protocol.mjs";
import { all, application, armURL, claims, graph, here, login, scopes, tenant, vaultURL } from "./world.mjs";
import { keeper, options } from "./secrets.mjs";

const fast = { intervalInMs: 50 };

// publicKey of a key of the vault, for Node's own verification.
const publicKey = ({ kty, n, e, crv, x, y }) => {
  const text = (b) => b && Buffer.from(b).toString("base64url");
  return createPublicKey({ format: "jwk", key: JSON.parse(JSON.stringify({ kty: kty.replace("-HSM", ""), n: text(n), e: text(e), crv, x: text(x), y: text(y) })) });
};

export async function keys() {
  const officer = await keeper("js-keys", "Key Vault Crypto Officer");
  // An officer manages keys, a user uses them; a program that signs needs both only here.
  const user = await operation("a role that uses keys", async () => {
    await give(officer.principal, "Key Vault Crypto User", vaultScope);
    return officer.credential;
  });
  const client = new KeyClient(vaultURL, officer.credential, options);
  const crypto = (key) => new CryptographyClient(key.id ?? key, user, options);

  const rsa = await operation("KeyClient.createRsaKey, getKey", async () => {
    const made = await client.createRsaKey("js-rsa", { keySize: 2048, tags: { suite: "js" } });
    assert.equal(made.keyType, "RSA");
    assert.equal(made.key.d, undefined, "the private part stays");
    assert.equal((await client.getKey("js-rsa")).id, made.id);
    return made;
  });
  const ec = await operation("KeyClient.createEcKey", async () => {
    const made = await client.createEcKey("js-ec", { curve: "P-256" });
    assert.deepEqual([made.keyType, made.key.crv], ["EC", "P-256"]);
    return made;
  });
  await operation("KeyClient.listPropertiesOfKeys, listPropertiesOfKeyVersions, updateKeyProperties", async () => {
    await client.createRsaKey("js-rsa");
    assert.equal((await all(client.listPropertiesOfKeyVersions("js-rsa"))).length, 2);
    const names = (await all(client.listPropertiesOfKeys())).map((k) => k.name);
    assert.ok(["js-rsa", "js-ec"].every((n) => names.includes(n)));
    assert.deepEqual((await client.updateKeyProperties("js-ec", ec.properties.version, { tags: { changed: "yes" } })).properties.tags, { changed: "yes" });
  });

  const data = randomBytes(100), digest = createHash("sha256").update(data).digest();
  for (const [algorithm, padding] of [["RS256", constants.RSA_PKCS1_PADDING], ["PS256", constants.RSA_PKCS1_PSS_PADDING]]) {
    await operation(`CryptographyClient.sign and verify, ${algorithm}`, async () => {
      const { result } = await crypto(rsa).sign(algorithm, digest);
      assert.ok(verify("sha256", data, { key: publicKey(rsa.key), padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }, result));
      assert.equal((await crypto(rsa).verify(algorithm, digest, result)).result, true);
      assert.equal((await crypto(rsa).verify(algorithm, createHash("sha256").update("other").digest(), result)).result, false);
    });
  }
  await operation("CryptographyClient.signData, ES256", async () => {
    const { result } = await crypto(ec).signData("ES256", data);
    assert.ok(verify("sha256", data, { key: publicKey(ec.key), dsaEncoding: "ieee-p1363" }, result));
  });
  await operation("CryptographyClient.wrapKey and unwrapKey, RSA-OAEP-256", async () => {
    const secret = randomBytes(32);
    const { result } = await crypto(rsa).wrapKey("RSA-OAEP-256", secret);
    assert.deepEqual(Buffer.from((await crypto(rsa).unwrapKey("RSA-OAEP-256", result)).result), secret);
  });
  await refused("CryptographyClient.sign with an algorithm that is not the key's", "BadParameter", () => crypto(rsa.id).sign("ES256", digest));
  const reader = await keeper("js-keys-reader", "Key Vault Secrets User");
  await refused("CryptographyClient.sign without a role", "ForbiddenByRbac", () =>
    new CryptographyClient(rsa.id, reader.credential, options).sign("RS256", digest));
  await refused("KeyClient.getKey that does not exist", "KeyNotFound", () => client.getKey("js-none"));

  await operation("KeyClient.beginDeleteKey, beginRecoverDeletedKey, purgeDeletedKey", async () => {
    assert.ok((await (await client.beginDeleteKey("js-ec", fast)).pollUntilDone()).properties.deletedOn);
    await (await client.beginRecoverDeletedKey("js-ec", fast)).pollUntilDone();
    assert.equal((await client.getKey("js-ec")).id, ec.id);
    await (await client.beginDeleteKey("js-ec", fast)).pollUntilDone();
    await client.purgeDeletedKey("js-ec");
  });
  await refused("KeyClient.getDeletedKey that was purged", "KeyNotFound", () => client.getDeletedKey("js-ec"));
}

export async function certificates() {
  const officer = await keeper("js-certificates", "Key Vault Certificates Officer");
  await operation("roles that sign, and that read secrets", async () => {
    await give(officer.principal, "Key Vault Crypto User", vaultScope);
    await give(officer.principal, "Key Vault Secrets User", vaultScope);
  });
  const client = new CertificateClient(vaultURL, officer.credential, options);
  const policy = {
    issuerName: "Self", subject: "CN=js-agent", keyType: "RSA", keySize: 2048, exportable: false, validityInMonths: 12,
    contentType: "application/x-pem-file",
  };
  const made = await operation("CertificateClient.beginCreateCertificate, self-signed; getCertificate", async () => {
    const done = await (await client.beginCreateCertificate("js-cert", policy, fast)).pollUntilDone();
    const x509 = new X509Certificate(done.cer);
    assert.equal(x509.subject, "CN=js-agent");
    assert.equal(Buffer.from(done.properties.x509Thumbprint).toString("hex"), x509.fingerprint.replaceAll(":", "").toLowerCase());
    assert.equal((await client.getCertificate("js-cert")).id, done.id);
    return done;
  });
  await operation("CertificateClient.listPropertiesOfCertificates, getCertificatePolicy", async () => {
    assert.ok((await all(client.listPropertiesOfCertificates())).some((c) => c.name === "js-cert"));
    const { issuerName, subject, exportable } = await client.getCertificatePolicy("js-cert");
    assert.deepEqual({ issuerName, subject, exportable }, { issuerName: "Self", subject: "CN=js-agent", exportable: false });
  });
  await operation("SecretClient.getSecret of the certificate, which has no key: the policy keeps it inside", async () => {
    const { value, properties } = await new SecretClient(vaultURL, officer.credential, options).getSecret("js-cert");
    assert.equal(properties.contentType, "application/x-pem-file");
    assert.ok(value.includes("BEGIN CERTIFICATE") && !value.includes("PRIVATE KEY"), "the private key has left the vault");
  });
  await operation("a login with the vault's certificate, signed in the vault", async () => {
    const app = await application("js-vault-login");
    await graph.api(`/applications/${app.id}`).patch({
      keyCredentials: [{ type: "AsymmetricX509Cert", usage: "Verify", key: Buffer.from(made.cer).toString("base64"), displayName: "vault" }],
    });
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const sign = async () => {
      const now = Math.floor(Date.now() / 1000);
      const x5t = createHash("sha256").update(made.cer).digest("base64url");
      const signed = `${part({ alg: "PS256", typ: "JWT", "x5t#S256": x5t })}.${part({
        aud: `${login}/${tenant}/oauth2/v2.0/token`, iss: app.appId, sub: app.appId, jti: made.properties.version, nbf: now, exp: now + 300,
      })}`;
      const { result } = await new CryptographyClient(made.keyId, officer.credential, options).signData("PS256", Buffer.from(signed));
      return `${signed}.${Buffer.from(result).toString("base64url")}`;
    };
    const { token } = await new ClientAssertionCredential(tenant, app.appId, sign, here).getToken(scopes.arm);
    assert.equal(claims(token).oid, app.principal);
    assert.equal(claims(token).aud.replace(/\/$/, ""), armURL);
  });
  await operation("CertificateClient.beginDeleteCertificate, purgeDeletedCertificate", async () => {
    await (await client.beginDeleteCertificate("js-cert", fast)).pollUntilDone();
    assert.equal((await client.getDeletedCertificate("js-cert")).name, "js-cert");
    await client.purgeDeletedCertificate("js-cert");
  });
  await refused("CertificateClient.getCertificate that was deleted", "CertificateNotFound", () => client.getCertificate("js-cert"));
}
