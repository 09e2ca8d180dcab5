/** The client without Effect, over fetch and real sockets. The tests use it as its users do. */
import { setTimeout as sleep } from "node:timers/promises"
import { rm } from "node:fs/promises"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { afterAll, assert, describe, it, vi } from "vitest"
import * as Emulator from "../../src/emulator/Emulator.js"
import { JobFailedError, OutputDecodeError } from "../../src/errors/JobError.js"
import { AuthenticationError, BadRequestError } from "../../src/errors/RunPodError.js"
import * as NodePromise from "../../src/node/NodePromise.js"
import * as NodeRunPod from "../../src/node/NodeRunPod.js"
import { type Client, type ClientOptions, createClient, fromLayer } from "../../src/promise/Promise.js"
import * as JobId from "../../src/schemas/JobId.js"
import * as RunPod from "../../src/services/RunPod.js"
import { makeFolder } from "../support/bundle.js"
import { serve } from "../support/emulatorServer.js"

const { Fault } = Emulator

const ends: Array<() => Promise<unknown>> = []
// The tests run side by side.
afterAll(async () => {
  for (const end of ends.reverse()) await end()
})

/** A client on a new server; `quick` answers with its input. */
const start = async (
  endpoint: Emulator.EndpointOptions = {},
  faults: ReadonlyArray<Emulator.Fault.Fault> = [],
  options: ClientOptions = {}
) => {
  const server = await serve(endpoint, faults)
  ends.push(server.close)
  const client = createClient({ apiKey: "the-key-of-a-test", baseUrl: server.url, ...options })
  ends.push(() => client.close())
  return { server, client, ep: client.endpoint<{ n: number }, { n: number }, { n: number }>("ep") }
}

const never: Emulator.EndpointOptions = { handler: () => Effect.never }
/** A chunk every 100 milliseconds, without an end. */
const ticking: Emulator.EndpointOptions = {
  handler: () =>
    Stream.iterate(1, (n) => n + 1).pipe(Stream.mapEffect((n) => Effect.delay(Effect.succeed({ n }), "100 millis")))
}
const three: Emulator.EndpointOptions = { handler: () => Stream.make({ n: 1 }, { n: 2 }, { n: 3 }) }

/** What a promise is rejected with. */
const rejection = async (promise: Promise<unknown>): Promise<unknown> => {
  try {
    await promise
  } catch (error) {
    return error
  }
  return assert.fail("it was not rejected")
}

const collect = async <A>(values: AsyncIterable<A>): Promise<ReadonlyArray<A>> => {
  const all: Array<A> = []
  for await (const value of values) all.push(value)
  return all
}

describe.concurrent("call", () => {
  it("gives the output, and shows the job to a callback", async () => {
    const { ep, server } = await start()
    const seen: Array<string> = []
    const output = await ep.call(
      { n: 1 },
      { onProgress: async (job) => void seen.push(await Promise.resolve(job.status)) }
    )
    assert.deepStrictEqual(output, { n: 1 })
    assert.strictEqual(seen.at(-1), "COMPLETED")
    assert.deepStrictEqual(await server.cancels(), [0])
  })

  it("reads and writes with schemas where there are some", async () => {
    const { client } = await start()
    const schemas = { input: Schema.Struct({ at: Schema.Date }), output: Schema.Struct({ at: Schema.DateFromString }) }
    const { at } = await client.endpoint("ep", schemas).call({ at: new Date(0) })
    assert.strictEqual(at.getTime(), 0)
    const strict = client.endpoint("ep", { output: Schema.String })
    const error = await rejection(strict.call({ n: 1 }))
    assert.instanceOf(error, OutputDecodeError)
  })

  it("is rejected with the tagged error itself", async () => {
    const { ep } = await start({ handler: () => Effect.fail("CUDA out of memory") })
    const error = await rejection(ep.call({ n: 1 }))
    assert.instanceOf(error, JobFailedError)
    assert.strictEqual(error._tag, "JobFailedError")
    assert.include(error.message, "CUDA out of memory")
    const { ep: timed, server } = await start(never)
    const late = await rejection(timed.call({ n: 1 }, { timeout: 300 }))
    assert.strictEqual(late instanceof Error && "_tag" in late && late._tag, "WaitTimeoutError")
    await vi.waitFor(async () => assert.deepStrictEqual(await server.cancels(), [1]))
  })

  it("is rejected with what its callback throws, and cancels the job", async () => {
    const { ep, server } = await start(never)
    const mine = new Error("mine")
    for (const onProgress of [
      () => {
        throw mine
      },
      () => Promise.reject(mine)
    ]) {
      assert.strictEqual(await rejection(ep.call({ n: 1 }, { onProgress })), mine)
    }
    await vi.waitFor(async () => assert.deepStrictEqual(await server.cancels(), [1, 1]))
  })

  it("refuses an input that is no object before it sends anything", async () => {
    const { client, server } = await start()
    assert.instanceOf(await rejection(client.endpoint<number>("ep").call(1)), BadRequestError)
    assert.deepStrictEqual(await server.cancels(), [])
  })

  const stages: Record<string, { readonly faults?: ReadonlyArray<Emulator.Fault.Fault>; readonly after: number }> = {
    "its submit in flight": { faults: [Fault.delay({ operations: ["run"], by: 1_500 })], after: 700 },
    "its poll held": { after: 1_000 },
    "its poll failing": { faults: [Fault.serverError({ operations: ["status", "statusSync"] })], after: 1_000 }
  }
  for (const [stage, { after, faults }] of Object.entries(stages)) {
    it(`aborted, ${stage}: it is rejected with the signal's reason, its job having been cancelled`, async () => {
      const { ep, server } = await start(never, faults)
      const controller = new AbortController()
      const reason = new Error("the user left")
      const rejected = rejection(ep.call({ n: 1 }, { signal: controller.signal }))
      await sleep(after)
      controller.abort(reason)
      assert.strictEqual(await rejected, reason)
      assert.deepStrictEqual(await server.cancels(), [1])
    })
  }

  it("with a signal that is none sends nothing", async () => {
    const { ep, server } = await start(three)
    const signal = {} as AbortSignal
    assert.instanceOf(await rejection(ep.call({ n: 1 }, { signal })), TypeError)
    assert.instanceOf(await rejection(collect(ep.stream({ n: 1 }, { signal }))), TypeError)
    assert.deepStrictEqual(await server.jobs(), [])
  })

  it("without a key is rejected with an Error that names it", async () => {
    const client = createClient()
    const error = await rejection(client.endpoint("ep").call({ n: 1 }))
    assert.instanceOf(error, Error)
    assert.match(String(error), /RUNPOD_API_KEY/)
    await client.close()
  })

  it("with a signal that is aborted already sends nothing", async () => {
    const { ep, server } = await start()
    const error = await rejection(ep.call({ n: 1 }, { signal: AbortSignal.abort() }))
    assert.strictEqual(error instanceof DOMException && error.name, "AbortError")
    assert.strictEqual(await rejection(collect(ep.stream({ n: 1 }, { signal: AbortSignal.abort("gone") }))), "gone")
    assert.deepStrictEqual(await server.cancels(), [])
  })

  it("takes no part in an abort that comes after its end, and listens no more", async () => {
    const { ep, server } = await start()
    const controller = new AbortController()
    const removed = vi.spyOn(controller.signal, "removeEventListener")
    assert.deepStrictEqual(await ep.call({ n: 1 }, { signal: controller.signal }), { n: 1 })
    assert.strictEqual(removed.mock.calls.length, 1)
    controller.abort()
    assert.deepStrictEqual(await server.cancels(), [0])
  })
})

describe.concurrent("a job", () => {
  it("that was run can be looked at, waited for, cancelled and attached to", async () => {
    const { ep, server } = await start(never)
    const job = await ep.run({ n: 1 })
    assert.strictEqual(job.endpointId, "ep")
    assert.include(["IN_QUEUE", "IN_PROGRESS"], (await job.status()).status)
    const waiting = rejection(ep.attach(job.id).result())
    assert.strictEqual((await job.cancel()).status, "CANCELLED")
    const error = await waiting
    assert.strictEqual(error instanceof Error && "_tag" in error && error._tag, "JobCancelledError")
    assert.deepStrictEqual(await server.cancels(), [1])
  })

  it("goes on when the wait for it is aborted", async () => {
    const { ep, server } = await start(never)
    const job = await ep.run({ n: 1 })
    assert.strictEqual(
      (await rejection(job.result({ signal: AbortSignal.timeout(200) }))) instanceof DOMException,
      true
    )
    assert.deepStrictEqual(await server.cancels(), [0])
  })

  it("streams, and goes on when its reader leaves", async () => {
    const { ep, server } = await start(ticking)
    const job = await ep.run({ n: 1 })
    for await (const { n } of job.stream()) if (n === 2) break
    assert.deepStrictEqual(await server.cancels(), [0])
  })

  it("tells the health of its endpoint", async () => {
    const { ep } = await start()
    await ep.call({ n: 1 })
    assert.strictEqual((await ep.health()).jobs.completed, 1)
  })
})

describe.concurrent("stream", () => {
  it("gives the chunks of a job", async () => {
    const { ep, server } = await start(three)
    const stream = ep.stream({ n: 1 })
    assert.deepStrictEqual(await collect(stream), [{ n: 1 }, { n: 2 }, { n: 3 }])
    // It runs once: whoever asks again does not pay again.
    assert.deepStrictEqual(await collect(stream), [])
    assert.deepStrictEqual(await server.cancels(), [0])
  })

  it("starts nothing before it is iterated", async () => {
    const { ep, server } = await start(three)
    ep.stream({ n: 1 })
    await ep.stream({ n: 1 })[Symbol.asyncIterator]().return?.()
    await sleep(200)
    assert.deepStrictEqual(await server.cancels(), [])
  })

  it("left by break: its job has been cancelled when the loop is over", async () => {
    const { ep, server } = await start(ticking)
    for await (const { n } of ep.stream({ n: 1 })) if (n === 2) break
    assert.deepStrictEqual(await server.cancels(), [1])
  })

  it("left by an error in the loop: likewise, and the error is the loop's", async () => {
    const { ep, server } = await start(ticking)
    const mine = new Error("mine")
    const loop = async () => {
      for await (const _ of ep.stream({ n: 1 })) throw mine
    }
    assert.strictEqual(await rejection(loop()), mine)
    assert.deepStrictEqual(await server.cancels(), [1])
  })

  it("left while a chunk is waited for: the waiting ends, too", async () => {
    const { ep, server } = await start(never)
    const iterator = ep.stream({ n: 1 })[Symbol.asyncIterator]()
    const waiting = iterator.next()
    await sleep(300)
    assert.deepStrictEqual(await iterator.return?.(), { done: true, value: undefined })
    assert.deepStrictEqual(await waiting, { done: true, value: undefined })
    assert.deepStrictEqual(await server.cancels(), [1])
  })

  it("aborted, whether a chunk is waited for or worked on: the loop throws the reason, the job is cancelled", async () => {
    for (const work of [0, 600]) {
      const { ep, server } = await start(ticking)
      const controller = new AbortController()
      const reason = new Error("the user left")
      const loop = async () => {
        for await (const { n } of ep.stream({ n: 1 }, { signal: controller.signal })) {
          if (n === 2) setImmediate(() => controller.abort(reason))
          if (n === 2) await sleep(work)
        }
      }
      assert.strictEqual(await rejection(loop()), reason)
      assert.deepStrictEqual(await server.cancels(), [1])
    }
  })

  it("fails with the error of its job after the last chunk", async () => {
    const failing = Stream.fromEffect(Effect.delay(Effect.fail("no memory"), "2 seconds"))
    const { ep } = await start({ handler: () => Stream.concat(Stream.make({ n: 1 }), failing) })
    const seen: Array<number> = []
    const loop = async () => {
      for await (const { n } of ep.stream({ n: 1 })) seen.push(n)
    }
    assert.instanceOf(await rejection(loop()), JobFailedError)
    assert.deepStrictEqual(seen, [1])
  })

  it("does not run ahead of a slow reader, and loses nothing", async () => {
    const { ep } = await start(three)
    const seen: Array<number> = []
    for await (const { n } of ep.stream({ n: 1 })) {
      await sleep(100)
      seen.push(n)
    }
    assert.deepStrictEqual(seen, [1, 2, 3])
  })

  it("gives to whoever asks several times at once each chunk once", async () => {
    const { ep } = await start(three)
    const iterator = ep.stream({ n: 1 })[Symbol.asyncIterator]()
    const results = await Promise.all(Array.from({ length: 5 }, () => iterator.next()))
    assert.deepStrictEqual(
      results.map(({ done, value }) => (done === true ? "done" : value.n)),
      [1, 2, 3, "done", "done"]
    )
  })
})

describe.concurrent("batch", () => {
  const odd: Emulator.EndpointOptions = {
    handler: ({ n }) => (Number(n) % 2 === 0 ? Effect.succeed({ n }) : Effect.fail("odd"))
  }

  it("gives plain outcomes, of inputs that come one by one", async () => {
    const { ep } = await start(odd)
    const inputs = async function* () {
      for (let n = 0; n < 4; n++) yield await Promise.resolve({ n })
    }
    const outcomes = await collect(ep.batch(inputs(), { concurrency: 2, key: ({ n }) => `item-${n}` }))
    const told = outcomes.map((outcome) => `${outcome.key} ${outcome.ok ? outcome.value.n : outcome.error._tag}`)
    assert.sameMembers(told, ["item-0 0", "item-1 JobFailedError", "item-2 2", "item-3 JobFailedError"])
  })

  it("left by break: what is in flight is cancelled, and the inputs are closed", async () => {
    const { ep, server } = await start({
      workers: 3,
      handler: ({ n }) => (n === 0 ? Effect.succeed({ n }) : Effect.never)
    })
    let isClosed = false
    const inputs = async function* () {
      try {
        for (let n = 0; n < 100; n++) yield await Promise.resolve({ n })
      } finally {
        isClosed = true
      }
    }
    for await (const { index } of ep.batch(inputs(), { concurrency: 3 })) {
      assert.strictEqual(index, 0)
      await vi.waitFor(async () => assert.isAtLeast((await server.cancels()).length, 3))
      break
    }
    assert.isTrue(isClosed)
    const jobs = await server.jobs()
    assert.isTrue(jobs.every(({ cancels, status }) => status === (cancels === 1 ? "CANCELLED" : "COMPLETED")))
  })

  it("fails with the error of its inputs", async () => {
    const { ep } = await start(odd)
    const mine = new Error("mine")
    // eslint-disable-next-line require-yield
    const inputs = async function* (): AsyncGenerator<{ n: number }> {
      throw await Promise.resolve(mine)
    }
    assert.strictEqual(await rejection(collect(ep.batch(inputs()))), mine)
  })

  const name = "with a journal goes on where an earlier run ended; a client without a file system says so"
  // It looks at the console, which all share.
  it(name, { concurrent: false }, async () => {
    const { ep, server } = await start()
    const folder = makeFolder("promise-journal")
    ends.push(() => rm(folder, { recursive: true, force: true }))
    const journal = `${folder}/batch.jsonl`
    const error = await rejection(collect(ep.batch([{ n: 1 }], { journal })))
    assert.strictEqual(error instanceof Error && "_tag" in error && error._tag, "BatchJournalError")
    assert.include(String(error), "NodePromise.createClient")
    const client = NodePromise.createClient({ apiKey: "the-key-of-a-test", baseUrl: server.url })
    ends.push(() => client.close())
    const same = client.endpoint<{ n: number }, { n: number }>("ep")
    await collect(same.batch([{ n: 1 }, { n: 2 }], { journal }))
    const log = vi.spyOn(console, "log").mockReturnValue()
    const again = await collect(
      same.batch([{ n: 1 }, { n: 2 }, { n: 3 }], { journal: { path: journal, sync: "never" } })
    )
    const lines = log.mock.calls.map(String).join("\n")
    log.mockRestore()
    assert.include(lines, "goes on from its journal: 2 settled")
    assert.deepStrictEqual(
      again.map(({ replayed }) => replayed),
      [true, true, false]
    )
    assert.strictEqual((await server.jobs()).length, 3)
  })
})

describe.concurrent("a client", () => {
  it("that is closed aborts what is under way, cancels its jobs first, and refuses what comes after", async () => {
    const { client, ep, server } = await start(never)
    const call = rejection(ep.call({ n: 1 }))
    const stream = rejection(collect(ep.stream({ n: 2 })))
    await vi.waitFor(async () => assert.strictEqual((await server.cancels()).length, 2))
    await sleep(100)
    await Promise.all([client.close(), client.close()])
    assert.deepStrictEqual(await server.cancels(), [1, 1])
    for (const error of [await call, await stream, await rejection(ep.call({ n: 3 }))]) {
      assert.strictEqual(error instanceof DOMException && error.name, "AbortError")
    }
    assert.deepStrictEqual(await server.cancels(), [1, 1])
  })

  it("that is closed waits for the cancels of a RunPod that is not ours, too", async () => {
    const asked: Array<string> = []
    const note = (what: string) => Effect.sync(() => void asked.push(what))
    const job = { id: JobId.unsafeMake("job-1"), status: "IN_QUEUE", raw: {} }
    const unused = Effect.die("not asked for")
    const double: RunPod.Service = {
      run: () => Effect.as(note("run"), job),
      statusSync: () => Effect.zipRight(note("status"), Effect.never),
      cancel: () => Effect.as(Effect.delay(note("cancelled"), "200 millis"), job),
      runSync: () => unused,
      status: () => unused,
      stream: () => Stream.die("not asked for"),
      retry: () => unused,
      purgeQueue: () => unused,
      health: () => unused,
      requests: () => unused
    }
    const client = fromLayer(Layer.succeed(RunPod.RunPod, double))
    const call = rejection(client.endpoint("ep").call({ n: 1 }))
    await vi.waitFor(() => assert.include(asked, "status"))
    await client.close()
    assert.deepStrictEqual(asked, ["run", "status", "cancelled"])
    await call
  })

  it("can be disposed of by `await using`, used or not", async () => {
    const { server } = await start(never)
    let call: Promise<unknown> | undefined
    const use = async () => {
      await using client = createClient({ apiKey: "the-key-of-a-test", baseUrl: server.url })
      call = rejection(client.endpoint("ep").call({ n: 1 }))
      await vi.waitFor(async () => assert.strictEqual((await server.cancels()).length, 1))
      await sleep(100)
    }
    await use()
    await call
    assert.deepStrictEqual(await server.cancels(), [1])
    await createClient({ apiKey: "the-key-of-a-test" }).close()
  })

  // It changes the environment, which all share.
  it("rejects each request without a key, or with a wrong one, and says why", { concurrent: false }, async () => {
    const { ep } = await start({}, [Fault.serverError({ status: 401 })])
    assert.instanceOf(await rejection(ep.call({ n: 1 })), AuthenticationError)
    const before = process.env["RUNPOD_API_KEY"]
    delete process.env["RUNPOD_API_KEY"]
    const client: Client = createClient()
    ends.push(() => client.close())
    for (let i = 0; i < 2; i++) {
      assert.include(String(await rejection(client.endpoint("ep").call({ n: 1 }))), "RUNPOD_API_KEY")
    }
    if (before !== undefined) process.env["RUNPOD_API_KEY"] = before
  })

  it("rejects with the error of a defect", async () => {
    const defect = new TypeError("a bug")
    const broken = Layer.succeed(
      RunPod.RunPod,
      RunPod.RunPod.of(
        new Proxy({} as RunPod.Service, {
          get: () => () => Effect.die(defect)
        })
      )
    )
    const client = fromLayer(broken)
    ends.push(() => client.close())
    assert.strictEqual(await rejection(client.endpoint("ep").attach("job-1").cancel()), defect)
  })

  it("works over undici, and over the emulator in memory", async () => {
    const { ep } = await start({}, [], { httpClient: NodeRunPod.layerHttpClient() })
    assert.deepStrictEqual(await ep.call({ n: 1 }), { n: 1 })
    const client = fromLayer(Emulator.layerRunPod({ endpoints: { ep: {} } }))
    ends.push(() => client.close())
    assert.deepStrictEqual(await client.endpoint("ep").call({ n: 2 }), { n: 2 })
  })
})
