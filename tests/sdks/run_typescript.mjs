// Removes the types from TypeScript and runs it as a module: run_typescript.mjs CODE. Fails on syntax errors.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";

const ts = createRequire(`${process.env.SDK_FOLDER}/`)("typescript");
const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022 };
const { outputText, diagnostics } = ts.transpileModule(process.argv[2], { compilerOptions: options, reportDiagnostics: true });
if (diagnostics.length > 0) throw new Error(ts.flattenDiagnosticMessageText(diagnostics[0].messageText, "\n"));
const folder = await mkdtemp(path.join(os.tmpdir(), "typescript-"));
try {
  const file = path.join(folder, "client.mjs");
  await writeFile(file, outputText);
  await import(file);
} finally {
  await rm(folder, { recursive: true });
}
