/** A store that other processes add to: its `changes` wake the waits of this one. */
import { assert, describe, it } from "@effect/vitest"
import { Array, Chunk, Effect, Fiber, Option, PubSub, Random, Ref, Stream, TestClock } from "effect"
import { WebhookStoreError } from "../../src/errors/WebhookError.js"
import * as WebhookStore from "../../src/layers/WebhookStore.js"
import * as Webhooks from "../../src/services/Webhooks.js"
import { finish } from "../support/finish.js"

const secret = "correct-horse-battery-staple"
const url = "https://app.example/hooks"

const bodyOf = (n: number) => JSON.stringify({ id: `job ${n}`, status: "COMPLETED", output: n })

const delivery = (n: number): WebhookStore.Delivery => ({
  token: `token ${n}`,
  expiresAt: 1e12,
  endpointId: "ep",
  key: `key ${n}`,
  jobId: `job ${n}`,
  outcome: "COMPLETED 1 2",
  receivedAt: 0,
  body: bodyOf(n)
})

const make = (change: (store: WebhookStore.Service) => WebhookStore.Service = (store) => store) =>
  Effect.gen(function* () {
    const memory = yield* WebhookStore.memory()
    const numbers = yield* PubSub.unbounded<number>()
    const subscriptions = yield* Ref.make({ now: 0, ever: 0 })
    const reads = yield* Ref.make(0)
    const changes = Stream.unwrapScoped(
      Effect.gen(function* () {
        yield* Effect.acquireRelease(
          Ref.update(subscriptions, ({ ever, now }) => ({ now: now + 1, ever: ever + 1 })),
          () => Ref.update(subscriptions, ({ ever, now }) => ({ now: now - 1, ever }))
        )
        const later = yield* Stream.fromPubSub(numbers, { scoped: true })
        return Stream.concat(Stream.fromEffect(memory.latest), later)
      })
    )
    const store: WebhookStore.Service = {
      ...memory,
      after: (sequence, limit) =>
        Effect.zipRight(
          Ref.update(reads, (n) => n + 1),
          memory.after(sequence, limit)
        ),
      changes
    }
    const webhooks = yield* Webhooks.make({ url, secret }).pipe(
      Effect.provideService(WebhookStore.WebhookStore, change(store)),
      Effect.uninterruptible
    )
    /** Another process stores a delivery. */
    const addElsewhere = (n: number) =>
      Effect.zipRight(
        memory.add(delivery(n)),
        Effect.flatMap(memory.latest, (latest) => PubSub.publish(numbers, latest))
      )
    const receiveHere = (n: number) =>
      Effect.flatMap(webhooks.issue({ endpointId: "ep", key: `key ${n}` }), (issued) =>
        webhooks.receive({ url: issued, body: bodyOf(n) })
      )
    return { webhooks, memory, addElsewhere, receiveHere, subscriptions, reads }
  })

/** Lets all fibers run that can. */
const settle = TestClock.adjust("1 millis")
const failed = new WebhookStoreError({ operation: "latest", detail: "the database is away" })

describe("a store that other processes add to", () => {
  it.effect("wakes waits for a job and for a key, by one subscription, which ends with the last wait", () =>
    Effect.gen(function* () {
      const { addElsewhere, subscriptions, webhooks } = yield* make()
      const waits = yield* Effect.forEach(Array.range(1, 40), (n) =>
        Effect.fork(webhooks.next(n % 2 === 0 ? { jobId: `job ${n}` } : { key: `key ${n}` }))
      )
      yield* settle
      assert.deepStrictEqual(yield* subscriptions, { now: 1, ever: 1 })
      yield* Effect.forEach(Array.range(1, 39), addElsewhere)
      yield* settle
      const ended = yield* Effect.forEach(waits.slice(0, 39), (wait) => Fiber.join(wait))
      assert.deepStrictEqual(
        ended.map(({ job }) => job.id),
        Array.range(1, 39).map((n) => `job ${n}`)
      )
      assert.deepStrictEqual(yield* subscriptions, { now: 1, ever: 1 })
      yield* Fiber.interrupt(waits[39]!)
      yield* settle
      assert.deepStrictEqual(yield* subscriptions, { now: 0, ever: 1 })
    })
  )

  it.effect("goes on telling the others when the wait that came first has been given up", () =>
    Effect.gen(function* () {
      const { addElsewhere, webhooks } = yield* make()
      const first = yield* Effect.fork(webhooks.next({ jobId: "job 1" }))
      const second = yield* Effect.fork(webhooks.next({ jobId: "job 2" }))
      yield* settle
      yield* Fiber.interrupt(first)
      yield* addElsewhere(2)
      assert.strictEqual((yield* Fiber.join(second)).sequence, 1)
    })
  )

  it.effect("tells a wait of what came after it had looked, and before the subscription began", () =>
    Effect.gen(function* () {
      const { addElsewhere, webhooks } = yield* make((store) => ({
        ...store,
        latest: Effect.delay(store.latest, "1 second")
      }))
      const wait = yield* Effect.fork(webhooks.next({ jobId: "job 1" }))
      const reader = yield* Effect.fork(Stream.runHead(webhooks.eventsSince(0)))
      yield* settle
      yield* addElsewhere(1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(wait)).sequence, 1)
      assert.isTrue(Option.isSome(yield* Fiber.join(reader)))
    })
  )

  it.effect("gives a reader each delivery once and in order, whoever stored it, and reads it once", () =>
    Effect.gen(function* () {
      const { addElsewhere, reads, receiveHere, subscriptions, webhooks } = yield* make()
      yield* addElsewhere(1)
      const reader = yield* Effect.fork(Stream.runCollect(Stream.take(webhooks.eventsSince(0), 30)))
      yield* settle
      for (const n of Array.range(2, 30)) {
        yield* n % 3 === 0 ? Effect.asVoid(receiveHere(n)) : Effect.asVoid(addElsewhere(n))
        if (n % 5 === 0) yield* settle
      }
      assert.deepStrictEqual(
        Chunk.toReadonlyArray(yield* Fiber.join(reader)).map(({ job, sequence }) => [sequence, job.id]),
        Array.range(1, 30).map((n) => [n, `job ${n}`])
      )
      assert.isAtMost(yield* reads, 31)
      yield* settle
      assert.deepStrictEqual(yield* subscriptions, { now: 0, ever: 1 })
    })
  )

  it.effect("reads what this process stored itself for nobody else", () =>
    Effect.gen(function* () {
      const { addElsewhere, reads, receiveHere, webhooks } = yield* make()
      const wait = yield* Effect.fork(webhooks.next({ jobId: "job 9" }))
      yield* settle
      yield* Effect.forEach([1, 2, 3], receiveHere)
      assert.strictEqual(yield* reads, 0)
      yield* addElsewhere(9)
      assert.strictEqual((yield* Fiber.join(wait)).sequence, 4)
      assert.strictEqual(yield* reads, 1)
    })
  )

  it.effect("whose changes fail fails no wait: they are subscribed again, with a growing pause", () =>
    Effect.gen(function* () {
      const times = yield* Ref.make<ReadonlyArray<number>>([])
      const isAway = yield* Ref.make(true)
      const { addElsewhere, webhooks } = yield* make((store) => ({
        ...store,
        changes: Stream.unwrap(
          Effect.gen(function* () {
            const now = yield* TestClock.currentTimeMillis
            yield* Ref.update(times, (times) => [...times, now])
            return (yield* isAway)
              ? Stream.concat(Stream.succeed(0), Stream.fail(failed))
              : (store.changes ?? Stream.empty)
          })
        )
      }))
      const wait = yield* Effect.fork(webhooks.next({ jobId: "job 1" }))
      const reader = yield* Effect.fork(Stream.runHead(webhooks.eventsSince(0)))
      yield* TestClock.adjust("10 minutes")
      const tried = yield* times
      const pauses = tried.slice(1).map((time, i) => time - tried[i]!)
      assert.deepStrictEqual(pauses.slice(0, 8), [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
      yield* addElsewhere(1)
      yield* TestClock.adjust("10 seconds")
      assert.isTrue(Option.isNone(yield* Fiber.poll(wait)))
      yield* Ref.set(isAway, false)
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual((yield* Fiber.join(wait)).sequence, 1)
      assert.strictEqual((yield* Fiber.join(reader))._tag, "Some")
    })
  )

  it.effect("whose changes end, or who has a bug, is subscribed again, too", () =>
    Effect.gen(function* () {
      const broken = [Stream.empty, Stream.dieMessage("a bug"), Stream.never]
      const rounds = yield* Ref.make(0)
      const { webhooks } = yield* make((store) => ({
        ...store,
        changes: Stream.unwrap(
          Effect.map(
            Ref.getAndUpdate(rounds, (n) => n + 1),
            (n) => broken[n] ?? Stream.never
          )
        )
      }))
      const wait = yield* Effect.fork(webhooks.next({ jobId: "job 1" }))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* rounds, 3)
      yield* Fiber.interrupt(wait)
    })
  )

  it.live("loses no delivery, however slow its answers are, whenever waits begin", () =>
    Effect.forEach(
      Array.range(1, 60),
      (seed) =>
        Effect.gen(function* () {
          const slow = <A, E>(effect: Effect.Effect<A, E>) =>
            Effect.flatMap(Effect.all([Random.nextIntBetween(0, 8), Random.nextIntBetween(0, 8)]), ([before, after]) =>
              Effect.delay(effect, before).pipe(Effect.zipLeft(Effect.sleep(after)))
            )
          const { addElsewhere, receiveHere, subscriptions, webhooks } = yield* make((store) => ({
            ...store,
            after: (sequence, limit) => slow(store.after(sequence, limit)),
            find: (match) => slow(store.find(match)),
            latest: slow(store.latest)
          }))
          const waits = yield* Effect.forEach(Array.range(1, 12), (n) =>
            Effect.flatMap(Random.nextIntBetween(0, 60), (start) =>
              Effect.fork(Effect.delay(webhooks.next(n % 2 === 0 ? { jobId: `job ${n}` } : { key: `key ${n}` }), start))
            )
          )
          const reader = yield* Effect.fork(
            Effect.delay(Stream.runCollect(Stream.take(webhooks.eventsSince(0), 12)), seed % 30)
          )
          yield* Effect.forEach(Array.range(1, 12), (n) =>
            Effect.flatMap(Random.nextIntBetween(0, 60), (at) =>
              Effect.fork(
                Effect.delay(n % 4 === 0 ? Effect.asVoid(receiveHere(n)) : Effect.asVoid(addElsewhere(n)), at)
              )
            )
          )
          yield* Effect.sleep("300 millis")
          const ended = yield* Effect.forEach(waits, (wait) => Fiber.poll(wait))
          assert.deepStrictEqual(
            ended.map(({ _tag }) => _tag),
            ended.map(() => "Some" as const),
            `seed ${seed}`
          )
          const read = Chunk.toReadonlyArray(yield* Fiber.join(reader))
          assert.deepStrictEqual(
            read.map(({ sequence }) => sequence),
            Array.range(1, 12)
          )
          yield* Effect.sleep(1)
          assert.strictEqual((yield* subscriptions).now, 0)
        }).pipe(Effect.withRandom(Random.make(seed)), finish),
      { discard: true }
    )
  )
})
