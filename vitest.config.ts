import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { setFlagsFromString } from "node:v8"
import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

interface Manifest {
  readonly name: string
  readonly exports: Readonly<Record<string, string | null | { readonly default: string }>>
}

/** Every public entry of the package in a folder, from its source. Exact matches, so their order does not matter. */
const aliasesOf = (folder: URL) => {
  const manifest = JSON.parse(readFileSync(new URL("package.json", folder), "utf8")) as Manifest
  return Object.entries(manifest.exports).flatMap(([subpath, target]) => {
    if (target === null || typeof target === "string") return []
    const source = target.default.replace(/^\.\/dist\/(.*)\.js$/, "./src/$1.ts")
    return [
      {
        find: new RegExp(`^${manifest.name}${subpath.slice(1)}$`),
        replacement: fileURLToPath(new URL(source, folder))
      }
    ]
  })
}

const root = new URL("./", import.meta.url)
const packages = readdirSync(new URL("packages/", root))
  .map((name) => new URL(`packages/${name}/`, root))
  .filter((folder) => existsSync(new URL("package.json", folder)))
const alias = [root, ...packages].flatMap(aliasesOf)

/** Without the tests of the other packages: `npm run test:core`. */
const isCore = process.env["TEST_CORE"] !== undefined

/** By the paths of tests in `test`, or of those in a package, without their extension. */
const files = (...names: ReadonlyArray<string>) =>
  names.flatMap((name) => {
    if (!name.startsWith("packages/")) return [`test/${name}.test.ts`]
    return isCore ? [] : [`${name}.test.ts`]
  })

/**
 * What needs sockets, processes or the stack of one (a thread's is four times as large, and deep JSON takes the square of its
 * depth). Most takes real time and waits for it, so it runs beside `unit`.
 */
const live = files(
  "packages/cli/test/commands",
  "contract/waits",
  "contract/anyAnswer",
  "contract/http",
  "packages/cli/test/shell",
  "packages/cli/test/batches",
  "packages/cli/test/files",
  "packages/cli/test/terminalText",
  "packages/cli/test/usage",
  "packages/cli/test/dashboard",
  "services/BatchCrash",
  "services/BatchHttp",
  "internal/files/appendLog",
  "internal/files/lock",
  "layers/WebhookStore.full",
  "contract/webhooks.http",
  "contract/webhooks.kill",
  "contract/submits",
  "contract/transports",
  "services/Webhooks.servers",
  "contract/telemetry.http",
  "node/NodeRunPod",
  "promise/Promise",
  "node/proxies",
  "node/bundles",
  "services/localWorker",
  "blob/Blob",
  "blob/completion",
  "blob/secrets",
  "blob/portal",
  "blob/integrity",
  "blob/links",
  "blob/endpoints",
  "emulator/webhooks",
  "contract/batchApi",
  "emulator/sdk",
  "emulator/workerProcesses",
  "emulator/openai",
  "packages/ai/test/clients",
  "packages/dashboard/test/server",
  "packages/dashboard/test/sources",
  "packages/cluster/test/Sql",
  "packages/cluster/test/drive",
  "packages/cluster/test/list",
  "packages/cluster/test/loading",
  "packages/cluster/test/BatchCluster",
  "packages/cluster/test/webhooks",
  "packages/cluster/test/silence",
  "packages/cluster/test/sqliteBusy",
  "packages/cluster/test/permitStores",
  "packages/cluster/test/permitLayers",
  "emulator/http",
  "internal/http/transportCause",
  "node/NodeEmulator",
  "node/suspended",
  "node/flight"
)

/** What needs a service, or a program of Debian, that `npm test` does without. */
const services = files(
  "packages/cli/test/store",
  "packages/cli/test/completions",
  "packages/dashboard/test/page",
  "packages/cluster/test/redisFaults",
  "packages/cluster/test/crashes",
  "packages/cluster/test/clusterCrashes",
  "packages/cluster/test/clusterOutages",
  "packages/cluster/test/webhookCrashes"
)

/** What runs every program of `examples` and of the documents. */
const programs = files("examples/examples", "examples/documents")

/** What measures how fast or how large a process is: it runs alone, when all others have ended. */
const measured = files("contract/webhooks.attacks")

/** What else takes long. */
const long = files(
  "contract/secrets",
  "contract/memory",
  "services/waiting",
  "services/waitingLearned",
  "services/BatchRetention",
  "emulator/flight",
  "contract/gateway",
  "services/BatchJournalFile"
)

/** Long files first, so that none is left over when all others have ended. */
class Sequencer extends BaseSequencer {
  override sort(specs: Array<TestSpecification>) {
    const order = [...live, ...long]
    const rank = ({ moduleId }: TestSpecification) => {
      const at = order.findIndex((file) => moduleId.endsWith(`/${file}`))
      return at === -1 ? order.length : at
    }
    return Promise.resolve(specs.sort((a, b) => rank(a) - rank(b)))
  }
}

// Garbage that is collected young costs little, and where every core is busy a collector's helpers only wait for one.
// Most code runs a few times: compiling it later than V8 would costs a tenth less in all (a flag of Node 20's V8).
const v8Flags = [
  "--max-semi-space-size=128",
  "--min-semi-space-size=64",
  "--no-allocation-site-pretenuring",
  "--no-parallel-scavenge",
  ...(process.versions.node.startsWith("20.") ? ["--interrupt-budget=500000"] : [])
]
for (const flag of v8Flags) setFlagsFromString(flag)

export default defineConfig({
  resolve: { alias },
  test: {
    watch: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    sequence: { sequencer: Sequencer },
    // Two pools, since a pool begins with a project only when it is through with the one before. Sockets are for processes: a
    // thread that has had some may never end (nodejs/node, `Environment::CleanupHandles`).
    poolOptions: {
      // One more than there may be cores: they wait for half of their time. With fewer at least, tinypool ends idle ones twice, and fails.
      forks: { minForks: 3, maxForks: 3, isolate: false, execArgv: v8Flags },
      threads: { minThreads: 1, maxThreads: 2, isolate: false }
    },
    projects: [
      {
        extends: true,
        test: { name: "live", include: live, pool: "forks", maxConcurrency: 6, globalSetup: "test/support/bundle.ts" }
      },
      {
        // What runs over SQLite and memory in `live`, once more over the PostgreSQL and the Redis that scripts/postgres.sh and
        // scripts/redis.sh have started; and what Redis alone can do.
        extends: true,
        test: {
          name: "services",
          include: files(
            "packages/cluster/test/Sql",
            "packages/cluster/test/drive",
            "packages/cluster/test/list",
            "packages/cluster/test/loading",
            "packages/cluster/test/webhooks",
            "packages/cluster/test/permitStores",
            "packages/cluster/test/permitLayers"
          ).concat(services),
          pool: "forks",
          env: { TEST_DATABASE: "PostgreSQL" },
          globalSetup: "test/support/bundle.ts"
        }
      },
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/**/*.test.ts", "examples/**/*.test.ts", ...(isCore ? [] : ["packages/*/test/**/*.test.ts"])],
          exclude: [...live, ...measured, ...services, ...programs],
          pool: "threads",
          maxConcurrency: 8,
          runner: "test/support/concurrentRunner.ts",
          setupFiles: ["test/support/unit.ts"]
        }
      },
      {
        extends: true,
        test: { name: "examples", include: programs, pool: "forks", globalSetup: "test/support/bundle.ts" }
      },
      {
        extends: true,
        test: {
          name: "measured",
          include: measured,
          pool: "forks",
          globalSetup: "test/support/bundle.ts",
          sequence: { groupOrder: 1 }
        }
      }
    ]
  }
})
