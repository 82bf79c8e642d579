// Bundles the board with esbuild.
//
//   node build.mjs                 write ../track_server/web/
//   node build.mjs watch           the same after each change, with source maps
//   node build.mjs tests FOLDER    bundle tests/*.test.ts into FOLDER for `node --test`
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const output = resolve(here, "../track_server/web");
const [mode = "build", folder] = process.argv.slice(2);

const common = {
  absWorkingDir: here,
  bundle: true,
  format: "esm",
  charset: "utf8",
  jsx: "automatic",
  jsxImportSource: "preact",
  logLevel: "warning",
};

const page = {
  ...common,
  entryPoints: { app: "src/main.tsx" },
  outdir: output,
  write: false,
  splitting: true, // pages that are imported on demand, and dagre, become files of their own
  target: ["es2022"],
  // The names change with the content, so that a browser may keep each file for ever.
  entryNames: "assets/[name]-[hash]",
  chunkNames: "assets/[name]-[hash]",
  assetNames: "assets/[name]-[hash]",
  minify: mode === "build",
  sourcemap: mode === "watch" ? "inline" : false,
  legalComments: "none", // LICENSES.txt has the whole texts
  metafile: true,
};

/** A report is one file, so its script and style are one piece each, and no modules. */
const report = {
  ...common,
  entryPoints: { report: "src/report/main.tsx" },
  outdir: output,
  write: false,
  format: "iife",
  target: ["es2022"],
  minify: mode === "build",
  define: { "import.meta.url": '"http://localhost/"' }, // of the service, which a report never asks
  legalComments: "none",
  metafile: true,
};

/** Name, version and licence text of every package of which something was bundled. */
async function licences(metafile) {
  const packages = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.add(found[1]);
  }
  const texts = [];
  for (const name of [...packages].sort()) {
    const root = join(here, "node_modules", name);
    const about = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
    const file = (await readdir(root)).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${name} has no licence file`);
    const text = await readFile(join(root, file), "utf8");
    texts.push(`${name} ${about.version} (${about.license})\n\n${text.trim()}\n`);
  }
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}

/** Write one finished build in place of the one before. */
async function publish(result) {
  const outputs = Object.entries(result.metafile.outputs);
  const [script, entry] = outputs.find(([, about]) => about.entryPoint === "src/main.tsx");
  const name = (path) => path.slice(path.indexOf("assets/"));
  const shell = (await readFile(join(here, "src/index.html"), "utf8"))
    .replace("{script}", name(script))
    .replace("{style}", name(entry.cssBundle));
  const fresh = `${output}.new`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(join(fresh, "assets"), { recursive: true });
  // The entry's style sheet has those of all pages: a few KB, and no view is ever seen without its own.
  const written = result.outputFiles.filter(
    (file) => !file.path.endsWith(".css") || name(file.path) === name(entry.cssBundle),
  );
  for (const file of written) await writeFile(join(fresh, name(file.path)), file.contents);
  await writeFile(join(fresh, "index.html"), shell);
  for (const file of (await esbuild.build(report)).outputFiles) {
    await writeFile(join(fresh, file.path.slice(file.path.lastIndexOf("/") + 1)), file.contents);
  }
  await writeFile(join(fresh, "favicon.svg"), await readFile(join(here, "src/favicon.svg")));
  await writeFile(join(fresh, "LICENSES.txt"), await licences(result.metafile));
  await rm(output, { recursive: true, force: true });
  await rename(fresh, output);
}

if (mode === "tests") {
  const tests = (await readdir(join(here, "tests"))).filter((name) => name.endsWith(".test.ts"));
  await esbuild.build({
    ...common,
    entryPoints: tests.map((name) => `tests/${name}`),
    outdir: folder,
    outExtension: { ".js": ".mjs" },
    platform: "node",
    target: ["node18"],
  });
} else if (mode === "watch") {
  const plugin = {
    name: "publish",
    setup: (build) =>
      build.onEnd(async (result) => {
        if (result.errors.length === 0) {
          await publish(result);
          console.log(`${new Date().toLocaleTimeString()}  built`);
        }
      }),
  };
  const context = await esbuild.context({ ...page, plugins: [plugin] });
  await context.watch();
} else {
  await publish(await esbuild.build(page));
}
