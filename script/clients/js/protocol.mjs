// JSON lines to whoever runs the suite, and one line back for each: the runner then knows which requests belong to which operation.
import { createInterface } from "node:readline";

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function say(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
  const { value, done } = await answers.next();
  if (done) throw new Error("the runner does not answer any more");
  return JSON.parse(value);
}

// Reported is thrown after a failure that the runner knows of already: what comes after it in the same part needs its result.
export class Reported extends Error {}

// operation runs f, which must succeed, and returns its result.
export async function operation(op, f) {
  let result;
  try {
    result = await f();
  } catch (error) {
    await say({ op, ok: false, text: `${error.stack ?? error}`.slice(0, 2000) });
    throw new Reported(op);
  }
  await say({ op, ok: true, text: "" });
  return result;
}

// refused runs f, which must fail; the client's own error must carry the code.
export async function refused(op, code, f) {
  let text = "";
  try {
    await f();
  } catch (error) {
    text = told(error);
  }
  await say({ op, negative: true, code, text });
}

// told is what a program that catches the error can print of it. The SDKs keep the service's code apart from its message, and the
// inner code, which says why Key Vault refused, in the details.
function told(error) {
  const inner = error.details?.error?.innerError?.code;
  return [error.name, error.code ?? error.errorCode, inner, error.statusCode, error.message].filter(Boolean).join(": ");
}

// part runs operations that build on each other; when one fails, the next part goes on.
export async function part(name, f) {
  try {
    await f();
  } catch (error) {
    if (!(error instanceof Reported)) await say({ op: name, ok: false, text: `${error.stack ?? error}`.slice(0, 2000) });
  }
}

// management sends a request of the management API, which only the runner has the token for.
export async function management(request, body) {
  const answer = await say({ do: request, body });
  if (!(answer.status >= 200 && answer.status < 300)) throw new Error(`${request}: ${JSON.stringify(answer)}`);
  return answer.body;
}

// certificate is a fresh key with a self-signed certificate: {both, key, cert} are PEM files, {sha1, sha256} hexadecimal.
export const certificate = (name, seconds = 3600) => say({ do: "certificate", name, seconds });

// identity is where the resource finds its managed identities: {identity_endpoint, identity_header, imds}.
export async function identity(resource) {
  const answer = await say({ do: "identity", resource });
  return answer.body ?? answer;
}

// federated is a token of the runner's own OpenID Connect issuer: {issuer, token}.
export const federated = (subject, audience = "api://AzureADTokenExchange") =>
  say({ do: "issuer.token", issuer: "main", subject, audience });

// throttled runs f while every request is turned away.
export async function throttled(f) {
  await management("PATCH /knobs", { throttle_rate: 1, retry_after_share: 0 });
  try {
    await f();
  } finally {
    await management("PATCH /knobs", { throttle_rate: 0 });
  }
}
