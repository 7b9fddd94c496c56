// One token of a managed identity, for the program that started this thread.
import { parentPort, workerData } from "node:worker_threads";
import { DefaultAzureCredential, ManagedIdentityCredential } from "@azure/identity";

const { options: { default: any, ...options }, scope } = workerData;
try {
  const Credential = any ? DefaultAzureCredential : ManagedIdentityCredential;
  const { token } = await new Credential({ ...options, retryOptions: { maxRetries: 0 } }).getToken(scope);
  parentPort.postMessage({ token });
} catch (error) {
  parentPort.postMessage({ error: { name: error.name, message: error.message } });
}
