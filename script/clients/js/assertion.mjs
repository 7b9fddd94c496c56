// A client assertion made by hand (RFC 7523), as Microsoft's page on certificate credentials describes it: PS256 and x5t#S256.
import { constants, randomUUID, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { login, tenant } from "./world.mjs";

const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const thumbprint = (hex) => Buffer.from(hex, "hex").toString("base64url");

// assertion signs what proves the application; changed replaces claims, legacy signs as clients did before PS256.
export function assertion(appId, certificate, changed = {}, legacy = false) {
  const now = Math.floor(Date.now() / 1000);
  const header = legacy
    ? { alg: "RS256", typ: "JWT", x5t: thumbprint(certificate.sha1) }
    : { alg: "PS256", typ: "JWT", "x5t#S256": thumbprint(certificate.sha256) };
  const claims = {
    aud: `${login}/${tenant}/oauth2/v2.0/token`, iss: appId, sub: appId, jti: randomUUID(), nbf: now, iat: now, exp: now + 300, ...changed,
  };
  const signed = `${part(header)}.${part(claims)}`;
  const key = { key: readFileSync(certificate.key) };
  if (!legacy) Object.assign(key, { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST });
  return `${signed}.${sign("sha256", Buffer.from(signed), key).toString("base64url")}`;
}
