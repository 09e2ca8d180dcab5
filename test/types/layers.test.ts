import type * as HttpClient from "@effect/platform/HttpClient"
import type {
  JobError,
  JobRuntime,
  RunPod,
  RunPodError,
  RunPodHttpClient,
  WebhookError,
  WebhookEvent,
  Webhooks,
  WebhookStore
} from "effect-runpod"
import type * as Emulator from "effect-runpod/Emulator"
import type { NodeEmulator } from "effect-runpod/Node"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Stream from "effect/Stream"
import { describe, expectTypeOf, it } from "vitest"

/** The library's values, of which these tests need the types alone: nothing of it is loaded. */
declare const core: typeof import("effect-runpod")
declare const node: typeof import("effect-runpod/Node")
declare const emulator: typeof import("effect-runpod/Emulator")

/** What a `RunPod` layer provides: the service, the client below it, and what jobs share. */
type Provided = RunPod.RunPod | RunPodHttpClient.RunPodHttpClient | JobRuntime.JobRuntime

describe("RunPod", () => {
  it("layer needs an HttpClient and cannot fail", () => {
    const layer = () => core.RunPod.layer({ apiKey: "key" })
    expectTypeOf(layer).returns.toEqualTypeOf<Layer.Layer<Provided, never, HttpClient.HttpClient>>()
  })

  it("layer takes a key as text or redacted, and no number", () => {
    expectTypeOf<string>().toExtend<RunPod.Options["apiKey"]>()
    expectTypeOf<Redacted.Redacted>().toExtend<RunPod.Options["apiKey"]>()
    expectTypeOf<number>().not.toExtend<RunPod.Options["apiKey"]>()
  })

  it("layerConfig takes values and configs, and can fail with a ConfigError", () => {
    const layer = () => core.RunPod.layerConfig({ apiKey: Config.redacted("KEY"), baseUrl: "https://api.example" })
    expectTypeOf(layer).returns.toEqualTypeOf<Layer.Layer<Provided, ConfigError.ConfigError, HttpClient.HttpClient>>()
  })

  it("layerLocal needs an HttpClient and no key, and provides what endpoints, jobs and batches need", () => {
    const layer = () => core.RunPod.layerLocal()
    type Local = RunPod.RunPod | JobRuntime.JobRuntime
    expectTypeOf(layer).returns.toEqualTypeOf<Layer.Layer<Local, never, HttpClient.HttpClient>>()
    const overUndici = () => node.NodeRunPod.layerLocal({ url: "http://localhost:8001" })
    expectTypeOf(overUndici).returns.toEqualTypeOf<Layer.Layer<Local>>()
  })

  it("withDeadline keeps an effect's types, data first and last", () => {
    type Call = Effect.Effect<number, RunPodError.ServerError, RunPod.RunPod>
    const first = (call: Call) => core.RunPod.withDeadline(call, "1 minute")
    const last = (call: Call) => call.pipe(core.RunPod.withDeadline("1 minute"))
    expectTypeOf(first).returns.toEqualTypeOf<Call>()
    expectTypeOf(last).returns.toEqualTypeOf<Call>()
  })
})

describe("NodeRunPod", () => {
  it("needs nothing", () => {
    const layer = () => node.NodeRunPod.layer({ apiKey: "key" })
    expectTypeOf(layer).returns.toEqualTypeOf<Layer.Layer<Provided>>()
    const fromConfig = () => node.NodeRunPod.layerConfig()
    expectTypeOf(fromConfig).returns.toEqualTypeOf<Layer.Layer<Provided, ConfigError.ConfigError>>()
  })
})

describe("Jobs", () => {
  it("need RunPod, and know no output's type", () => {
    const result = () => core.Jobs.result("ep", "job-1")
    expectTypeOf(result).returns.toEqualTypeOf<
      Effect.Effect<unknown, RunPodError.RunPodError | JobError.JobError, RunPod.RunPod>
    >()
  })
})

describe("Webhooks", () => {
  const options = { url: "https://app.example/hook", secret: "0123456789abcdef0123456789abcdef" }

  it("layers need a store only where they say so", () => {
    const layer = () => core.Webhooks.layer(options)
    const layerStore = () => core.Webhooks.layerStore(options)
    const layerConfig = () => core.Webhooks.layerConfig({ secret: Config.redacted("SECRET") })
    expectTypeOf(layer).returns.toEqualTypeOf<Layer.Layer<Webhooks.Webhooks, WebhookError.WebhookSetupError>>()
    expectTypeOf(layerStore).returns.toEqualTypeOf<
      Layer.Layer<Webhooks.Webhooks, WebhookError.WebhookSetupError, WebhookStore.WebhookStore>
    >()
    expectTypeOf(layerConfig).returns.toEqualTypeOf<
      Layer.Layer<Webhooks.Webhooks, WebhookError.WebhookSetupError | ConfigError.ConfigError>
    >()
  })

  it("layer refuses a secret and keys together", () => {
    const layer = () =>
      // @ts-expect-error: one or the other
      core.Webhooks.layer({ ...options, keys: [{ secret: options.secret }] })
    expectTypeOf(layer).toBeFunction()
  })

  it("a receiver gives events, and says why it refused one", () => {
    type Service = Webhooks.Service
    expectTypeOf<ReturnType<Service["issue"]>>().toEqualTypeOf<Effect.Effect<URL>>()
    expectTypeOf<Effect.Effect.Error<ReturnType<Service["receive"]>>>().toEqualTypeOf<WebhookError.WebhookError>()
    expectTypeOf<Effect.Effect.Success<ReturnType<Service["receive"]>>>().toExtend<WebhookEvent.WebhookEvent>()
    expectTypeOf<Stream.Stream.Success<Service["events"]>>().toExtend<WebhookEvent.WebhookEvent>()
  })

  it("Node's server needs no store either", () => {
    const layer = () => node.NodeWebhooks.layer({ secret: options.secret })
    expectTypeOf(layer).returns.toEqualTypeOf<Layer.Layer<Webhooks.Webhooks, WebhookError.WebhookSetupError>>()
    const fromConfig = () => node.NodeWebhooks.layerConfig({ port: Config.integer("PORT"), host: "127.0.0.1" })
    expectTypeOf(fromConfig).returns.toEqualTypeOf<
      Layer.Layer<Webhooks.Webhooks, WebhookError.WebhookSetupError | ConfigError.ConfigError>
    >()
  })
})

describe("the emulator", () => {
  it("in memory is an HttpClient, so that RunPod over it needs nothing", () => {
    const layer = () => emulator.layer({ endpoints: {} })
    expectTypeOf(layer).returns.toEqualTypeOf<Layer.Layer<HttpClient.HttpClient | Emulator.Emulator>>()
  })

  it("over HTTP can fail to listen", () => {
    const layer = () => node.NodeEmulator.layer({ endpoints: {} })
    expectTypeOf(layer).returns.toEqualTypeOf<
      Layer.Layer<NodeEmulator.NodeEmulator | Emulator.Emulator, NodeEmulator.ServeError>
    >()
  })
})
