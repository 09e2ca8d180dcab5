// @ts-check
/**
 * Bundles the core entry for browsers and holds it to ceilings: all of it, and what a program keeps of it that uses one
 * small thing. Peers are left out, since every Effect program has them.
 */
import { gzipSync } from "node:zlib"
import { build } from "esbuild"
import { manifest, report, root } from "./layout.mjs"

const { name, peerDependencies } = manifest()

/** Programs and the most bytes, minified and compressed, that they may bring in. Of all, 2.2 KiB are `@noble/hashes` and 3 KiB the files of users (`Files`). */
const ceilings = [
  { program: `export * from "${name}"`, says: "all of it", most: 104 * 1024 },
  {
    program: `import { RunPod } from "${name}"; export const layer = RunPod.layer`,
    says: "RunPod.layer",
    most: 32 * 1024
  },
  {
    program: `import { JobStatus } from "${name}"; export const is = JobStatus.isTerminal`,
    says: "JobStatus.isTerminal",
    most: 1024
  }
]

/** @type {Array<string>} */
const problems = []
/** @type {Array<string>} */
const sizes = []
for (const { most, program, says } of ceilings) {
  const result = await build({
    stdin: { contents: program, resolveDir: root },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    platform: "browser",
    external: Object.keys(peerDependencies).flatMap((peer) => [peer, `${peer}/*`]),
    logLevel: "silent"
  })
  const [{ contents = new Uint8Array() } = {}] = result.outputFiles
  const size = gzipSync(contents).byteLength
  sizes.push(`${says} ${(contents.byteLength / 1024).toFixed(1)} KiB, ${(size / 1024).toFixed(1)} KiB gzipped`)
  if (size > most) problems.push(`${says}: ${size} bytes gzipped, more than ${most}`)
}

report("size", problems, sizes.join("; "))
