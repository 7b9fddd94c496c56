// Says where a SARIF file breaks the schema that OASIS and Microsoft publish, one line each; nothing where it does not.
//
//   node schema.mjs SCHEMA FILE
//
// Microsoft's own program passes over a file that it cannot decode, such as one with a kind that SARIF does not have, without a word.
import { readFileSync } from "node:fs";
import Ajv from "ajv/dist/2020.js";
import formats from "ajv-formats";

const [schema, file] = process.argv.slice(2).map((path) => JSON.parse(readFileSync(path, "utf8")));
const ajv = new Ajv.default({ allErrors: true, strict: false });
formats.default(ajv);
if (!ajv.validate(schema, file)) {
  for (const e of ajv.errors) {
    console.log(`${e.instancePath || "/"}: ${e.message} ${JSON.stringify(e.params)}`);
  }
}
