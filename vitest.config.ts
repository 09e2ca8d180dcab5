import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const manifest = JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8")) as {
  readonly exports: Readonly<Record<string, string | null | { readonly default: string }>>
}

// Every public entry of the package, from its source. Exact matches, so their order does not matter.
const alias = Object.entries(manifest.exports).flatMap(([subpath, target]) => {
  if (target === null || typeof target === "string") return []
  const source = target.default.replace(/^\.\/dist\/(.*)\.js$/, "./src/$1.ts")
  return [
    {
      find: new RegExp(`^effect-runpod${subpath.slice(1)}$`),
      replacement: fileURLToPath(new URL(source, import.meta.url))
    }
  ]
})

export default defineConfig({
  resolve: { alias },
  test: {
    include: ["test/**/*.test.ts", "examples/**/*.test.ts"],
    watch: false,
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Processes, not threads: some tests read the CPU time and the heap of their process.
    pool: "forks",
    poolOptions: { forks: { minForks: 1, maxForks: 2 } }
  }
})
