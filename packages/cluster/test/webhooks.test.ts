/** The store of webhooks over a real PostgreSQL and SQLite, by several clients that share it as processes do. */
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { assert, describe, it } from "@effect/vitest"
import { Array, Context, Effect, Fiber, Layer, Ref, type Scope, Stream } from "effect"
import { Webhooks, WebhookStore } from "effect-runpod"
import type { WebhookStoreError } from "effect-runpod/WebhookError"
import { Sql } from "effect-runpod-cluster"
import { behavesAsStore, delivery, sequences } from "../../../test/support/storeBehaviours.js"
import { clientOf, databases, newPrefix, type Place } from "./support/databases.js"
import { beside } from "./support/queries.js"

for (const { name, place } of databases) {
  behavesAsStore(name, (options, use) =>
    Effect.flatMap(place, (place) =>
      Effect.provide(Effect.flatMap(Sql.webhookStore({ ...options, prefix: newPrefix() }), use), clientOf(place))
    ).pipe(Effect.scoped)
  )
}

/** What a test has: a place for its tables, a store there with a client of its own, and a client to look at them. */
interface Shared {
  readonly prefix: string
  readonly place: Place
  readonly sql: SqlClient.SqlClient
  readonly open: (
    options?: Sql.WebhookStoreOptions,
    change?: (client: SqlClient.SqlClient) => SqlClient.SqlClient
  ) => Effect.Effect<WebhookStore.Service, WebhookStoreError, Scope.Scope>
}

const shared = (place: Place): Effect.Effect<Shared, never, Scope.Scope> =>
  Effect.gen(function* () {
    const prefix = newPrefix()
    const client = Effect.flatMap(Layer.build(clientOf(place)), (context) =>
      Effect.provide(SqlClient.SqlClient, context)
    )
    const open: Shared["open"] = (options, change = (client) => client) =>
      Effect.flatMap(client, (client) =>
        Effect.provideService(Sql.webhookStore({ ...options, prefix }), SqlClient.SqlClient, change(client))
      )
    return { prefix, place, sql: yield* client, open }
  })

const webhooksOver = (store: WebhookStore.Service) =>
  Effect.provideService(
    Webhooks.make({ secret: "correct-horse-battery-staple", url: "https://app.example/hooks" }),
    WebhookStore.WebhookStore,
    store
  )

/** Lets a process receive the end of a job as RunPod would tell it. */
const receive = (webhooks: Webhooks.Service, key: string) =>
  Effect.flatMap(webhooks.issue({ endpointId: "ep", key }), (url) =>
    webhooks.receive({ url, body: JSON.stringify({ id: `job of ${key}`, status: "COMPLETED", output: key }) })
  )

/** A client of PostgreSQL that cannot listen. */
const deaf = (client: SqlClient.SqlClient) =>
  new Proxy(client, {
    get: (target, name, receiver) => (name === "listen" ? undefined : (Reflect.get(target, name, receiver) as unknown)),
    has: (target, name) => name !== "listen" && Reflect.has(target, name)
  })

/** A client on which the answers to statements that match are lost while `isLosing`. */
const losing = (pattern: string, isLosing: () => boolean) => (client: SqlClient.SqlClient) => {
  const lost = Effect.suspend(() =>
    isLosing()
      ? Effect.fail(new SqlError({ cause: { code: "ECONNRESET" }, message: "the connection broke" }))
      : Effect.void
  )
  return new Proxy(client, {
    get: (target, name, receiver) => {
      const value = Reflect.get(target, name, receiver) as unknown
      if (name !== "unsafe") return value
      return (statement: string, parameters?: ReadonlyArray<string>) => {
        const sent = target.unsafe(statement, parameters)
        return statement.includes(pattern) ? { withoutTransform: Effect.zipLeft(sent.withoutTransform, lost) } : sent
      }
    }
  })
}

for (const { name, place } of databases) {
  describe.concurrent(`webhooks in ${name}`, () => {
    const isPg = name === "PostgreSQL"
    const test = (title: string, body: (shared: Shared) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
      it.scopedLive(title, () => Effect.flatMap(Effect.flatMap(place, shared), body), 60_000)

    test("that many processes add at once have numbers without gaps, seen in order by whoever tails them", ({ open }) =>
      Effect.gen(function* () {
        const [processes, each] = isPg ? [8, 250] : [4, 60]
        const total = processes * each
        const stores = yield* Effect.forEach(Array.range(1, processes), () => open(), { concurrency: "unbounded" })
        const reader = yield* open()
        const seen = yield* Ref.make(0)
        const tail = yield* Effect.fork(
          Effect.repeat(
            Effect.gen(function* () {
              const last = yield* seen
              const page = yield* reader.after(last, 100)
              assert.deepStrictEqual(
                sequences(page),
                page.map((_, i) => last + i + 1)
              )
              yield* Ref.set(seen, last + page.length)
            }),
            { until: () => Effect.map(seen, (last) => last >= total) }
          )
        )
        const added = yield* Effect.forEach(
          stores,
          (store, i) =>
            Effect.forEach(
              Array.range(1, each),
              // Each third is known already, to this process or another.
              (n) =>
                Effect.zipLeft(
                  store.add(delivery(i * each + n)),
                  n % 3 === 0 ? stores[(i + 1) % processes]!.add(delivery(i * each + n)) : Effect.void
                ),
              { concurrency: 10 }
            ),
          { concurrency: "unbounded" }
        )
        yield* Fiber.join(tail)
        const numbers = added.flat().flatMap((one) => (one._tag === "Stored" ? [one.sequence] : []))
        assert.deepStrictEqual(
          numbers.sort((a, b) => a - b),
          Array.range(1, total)
        )
        assert.strictEqual(yield* reader.latest, total)
      }))

    test("of one token at many processes at once are stored once, and no other job's are", ({ open }) =>
      Effect.gen(function* () {
        const stores = yield* Effect.forEach(Array.range(1, 4), () => open())
        for (const n of Array.range(1, 10)) {
          const added = yield* Effect.forEach(
            [...stores, ...stores],
            (store, i) => store.add(delivery(n, i < 4 ? {} : { jobId: "another", outcome: "FAILED 1 2" })),
            { concurrency: "unbounded" }
          )
          const tags = (part: ReadonlyArray<WebhookStore.Added>) => part.map(({ _tag }) => _tag).sort()
          const [first, second] = [tags(added.slice(0, 4)), tags(added.slice(4))]
          const won = ["Duplicate", "Duplicate", "Duplicate", "Stored"]
          const lost = ["Replayed", "Replayed", "Replayed", "Replayed"]
          assert.deepStrictEqual([first, second], first.includes("Stored") ? [won, lost] : [lost, won])
        }
        assert.strictEqual(yield* stores[0].latest, 10)
        // However many ends are told at once, a job has sixteen.
        const ends = yield* Effect.forEach(
          Array.range(1, 40),
          (n) => stores[n % 4]!.add(delivery(99, { outcome: `FAILED 1 ${n}` })),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(ends.filter(({ _tag }) => _tag === "Stored").length, 16)
      }))

    test("whose answer was lost is added again, and stored once", ({ open, prefix, sql }) =>
      Effect.gen(function* () {
        let left = 2
        const store = yield* open(
          {},
          losing("(seq, token", () => left-- > 0)
        )
        const added = yield* store.add(delivery(1))
        assert.deepStrictEqual(added, { _tag: "Stored", sequence: 1 })
        const [row] = yield* sql.unsafe<{ n: number }>(`SELECT CAST(count(*) AS INTEGER) AS n FROM "${prefix}webhooks"`)
        assert.strictEqual(row?.n, 1)
        // RunPod's own repeat is one.
        assert.deepStrictEqual(yield* store.add(delivery(1)), { _tag: "Duplicate" })
      }))

    test("are deleted now and then when they are old or too many, by the database's clock", ({ open, prefix, sql }) =>
      Effect.gen(function* () {
        const store = yield* open({ maxCount: 10, maxAge: "1 day" })
        const count = (table: string) =>
          Effect.map(
            sql.unsafe<{ n: number }>(`SELECT CAST(count(*) AS INTEGER) AS n FROM "${prefix}${table}"`),
            ([row]) => row?.n
          )
        const until = (table: string, most: number) =>
          Effect.repeat(Effect.delay(count(table), "20 millis"), { until: (n) => n !== undefined && n <= most }).pipe(
            Effect.timeout("10 seconds")
          )
        for (const n of Array.range(1, 25)) yield* store.add(delivery(n))
        assert.deepStrictEqual(sequences(yield* store.after(0, 100)), Array.range(16, 25))
        yield* until("webhooks", 15)
        assert.strictEqual(yield* count("webhook_tokens"), 25)
        // A day passes.
        yield* sql.unsafe(`UPDATE "${prefix}webhooks" SET at = at - 86400001`)
        assert.deepStrictEqual(yield* store.after(0, 100), [])
        assert.strictEqual((yield* store.find({ jobId: "job 25" }))._tag, "None")
        assert.strictEqual(yield* store.latest, 25)
        yield* sql.unsafe(`UPDATE "${prefix}webhook_tokens" SET until = until - 864000000 WHERE token = 'token 3'`)
        yield* store.noteTrace!({ token: "t", trace: "old", expiresAt: 1 })
        for (const n of Array.range(26, 30)) yield* store.add(delivery(n))
        yield* until("webhooks", 5)
        yield* until("webhook_tokens", 29)
        yield* until("webhook_traces", 0)
        assert.strictEqual((yield* store.add(delivery(3, { jobId: "another" })))._tag, "Stored")
        assert.strictEqual((yield* store.add(delivery(4, { jobId: "another" })))._tag, "Replayed")
      }))

    test("that the database cannot hold fail alone", ({ open }) =>
      Effect.gen(function* () {
        const store = yield* open()
        // Longer than PostgreSQL has room for in an index, however it compresses.
        const long = Array.makeBy(9_000, (i) => ((i * i * 7_919) % 9_973).toString(36)).join("")
        const jobs = ["a", "b\u0000", "c", "d\ud800", ...(isPg ? [long] : []), "e"]
        const added = yield* Effect.forEach(jobs, (jobId, n) => Effect.either(store.add(delivery(n + 1, { jobId }))), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(
          added.map(({ _tag }) => _tag),
          jobs.map((job) => (job.length === 1 ? "Right" : "Left"))
        )
      }))

    test("fail with what the store was doing, and without what was sent", ({ open, prefix, sql }) =>
      Effect.gen(function* () {
        const store = yield* open()
        yield* sql.unsafe(`DROP TABLE "${prefix}webhook_counter"`)
        for (const [operation, effect] of [
          ["add", store.add(delivery(1))],
          ["after", store.after(0, 1)],
          ["find", store.find({ jobId: "job 1" })],
          ["latest", store.latest],
          ["latest", Stream.runHead(store.changes!)]
        ] as const) {
          const error = yield* Effect.flip(Effect.asVoid<unknown, WebhookStoreError, never>(effect))
          assert.strictEqual(error.operation, operation)
          assert.notMatch(error.message, new RegExp(`${prefix}|token|job 1`))
        }
        yield* sql.unsafe(`INSERT INTO "${prefix}migrations" (version, at) VALUES (99, 0)`)
        const error = yield* Effect.flip(open())
        assert.strictEqual(error.operation, "open")
        assert.include(error.message, "version 99")
      }))

    test("wake a wait in another process: at once where the database tells of them, else by the next poll", ({
      open
    }) =>
      Effect.gen(function* () {
        const rounds = (options: Sql.WebhookStoreOptions, change?: Parameters<Shared["open"]>[1]) =>
          Effect.gen(function* () {
            const waiting = yield* webhooksOver(yield* open(options, change))
            const receiving = yield* webhooksOver(yield* open(options))
            // Somebody else waits, too, so that the process has listened for a while.
            yield* Effect.fork(Stream.runDrain(waiting.events))
            yield* Effect.sleep("500 millis")
            return yield* Effect.forEach(Array.range(1, 9), (n) =>
              Effect.gen(function* () {
                const key = `${String(options.poll)} ${n}`
                const wait = yield* Effect.fork(
                  Effect.map(waiting.next(n % 2 === 0 ? { jobId: `job of ${key}` } : { key }), () => Date.now())
                )
                yield* Effect.sleep("50 millis")
                yield* receive(receiving, key)
                const received = Date.now()
                return (yield* Fiber.join(wait)) - received
              })
            )
          })
        // Where all tests run at once, most of them are late by what else runs.
        if (isPg) {
          const told = yield* rounds({ poll: "1 minute" })
          assert.isBelow(Math.min(...told), 100)
          assert.isBelow(Math.max(...told), 30_000)
        }
        const polled = yield* rounds({ poll: "300 millis" }, deaf)
        assert.isBelow(Math.min(...polled), 400)
        assert.isAbove(Math.max(...polled), isPg ? 100 : 50)
      }))

    test("reach a reader once and in order, whichever process receives them", ({ open }) =>
      Effect.gen(function* () {
        const processes = yield* Effect.forEach(Array.range(1, 3), () =>
          Effect.flatMap(open({ poll: "100 millis" }), webhooksOver)
        )
        const readers = yield* Effect.forEach(processes, ({ eventsSince }) =>
          Effect.fork(Stream.runCollect(Stream.take(eventsSince(0), 60)))
        )
        yield* Effect.forEach(Array.range(1, 60), (n) => receive(processes[n % 3]!, `${n}`), { concurrency: 5 })
        for (const reader of readers) {
          assert.deepStrictEqual(
            Array.fromIterable(yield* Fiber.join(reader)).map(({ sequence }) => sequence),
            Array.range(1, 60)
          )
        }
      }))

    if (!isPg) return

    test("are heard of again after the connection that listens has died, and by nobody when nobody waits", ({
      open,
      prefix,
      sql
    }) =>
      Effect.gen(function* () {
        const waiting = yield* webhooksOver(yield* open({ poll: "100 millis" }))
        const receiving = yield* webhooksOver(yield* open())
        const listeners = Effect.map(
          sql.unsafe<{ pid: number }>(`SELECT pid FROM pg_stat_activity WHERE query = 'LISTEN "${prefix}webhooks"'`),
          (rows) => rows.map(({ pid }) => pid)
        )
        const until = (condition: (pids: ReadonlyArray<number>) => boolean) =>
          Effect.repeat(Effect.delay(listeners, "20 millis"), { until: condition }).pipe(Effect.timeout("10 seconds"))
        assert.deepStrictEqual(yield* listeners, [])
        const other = yield* Effect.fork(waiting.next({ jobId: "of nobody" }))
        const [dead] = yield* until((pids) => pids.length === 1)
        // As long as it is left alone.
        yield* Effect.sleep("1 second")
        yield* sql.unsafe(`SELECT pg_terminate_backend(${dead})`)
        yield* until((pids) => pids.length === 0)
        const wait = yield* Effect.fork(waiting.next({ key: "a" }))
        yield* receive(receiving, "a")
        yield* Fiber.join(wait)
        yield* until((pids) => pids.length === 1 && pids[0] !== dead)
        yield* Fiber.interrupt(other)
        yield* until((pids) => pids.length === 0)
      }))

    test("are stored beside nothing that goes on where a fiber was interrupted", ({ open, prefix, sql }) =>
      Effect.gen(function* () {
        const store = yield* open()
        // It takes a while to note a trace, also when that is cancelled.
        yield* sql.unsafe(`CREATE FUNCTION "${prefix}late"() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN
            BEGIN PERFORM pg_sleep(NEW.trace::float8); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(NEW.trace::float8); END;
            RETURN NEW;
          END $$`)
        yield* sql.unsafe(
          `CREATE TRIGGER late BEFORE INSERT ON "${prefix}webhook_traces" FOR EACH ROW EXECUTE FUNCTION "${prefix}late"()`
        )
        for (const [round, trace] of ["0.3", "1.3", "0.3", "0.3"].entries()) {
          const notes = yield* Effect.forEach(["a", "b", "c"], (token) =>
            Effect.fork(store.noteTrace!({ token: `${token}${round}`, trace, expiresAt: Date.now() + 60_000 }))
          )
          yield* Effect.sleep("100 millis")
          yield* Fiber.interruptAll(notes)
        }
        const own = beside.filter(({ text }) => text.includes(prefix))
        assert.deepStrictEqual(own, [])
      }))

    test("are listened for on one connection by one after the other, as long as anybody reads", ({
      open,
      place,
      prefix
    }) =>
      Effect.gen(function* () {
        const client = Effect.provide(SqlClient.SqlClient, yield* Layer.build(clientOf(place)))
        const prefixes = [prefix, newPrefix(), newPrefix(), newPrefix()]
        const stores = yield* Effect.forEach(prefixes, (prefix) =>
          Effect.provideServiceEffect(Sql.webhookStore({ prefix, poll: "1 minute" }), SqlClient.SqlClient, client)
        )
        const read = (store: WebhookStore.Service, told: (latest: number) => void = () => undefined) =>
          Effect.fork(Stream.runForEach(store.changes!, (latest) => Effect.sync(() => told(latest))))
        const seen: Array<number> = []
        yield* read(stores[0]!, (latest) => seen.push(latest))
        for (const pause of [0, 5, 20, 100, 1_200]) {
          const readers = yield* Effect.forEach([...stores, ...stores], (store) => read(store))
          yield* Effect.sleep(pause)
          yield* Fiber.interruptAll(readers)
        }
        // The first polls have been.
        yield* Effect.sleep("1 second")
        yield* Effect.flatMap(open(), (other) => other.add(delivery(1)))
        yield* Effect.sleep("1 second")
        assert.deepStrictEqual(seen, [0, 1])
        const own = beside.filter(({ text }) => prefixes.some((prefix) => text.includes(prefix)))
        assert.deepStrictEqual(
          own.filter(({ others }) => others.length > 1),
          []
        )
      }))

    test("are stored under the strictest isolation, too", ({ place, prefix }) =>
      Effect.gen(function* () {
        const options = encodeURIComponent("-c default_transaction_isolation=serializable")
        const strict = "pg" in place ? { pg: `${place.pg}?options=${options}` } : place
        const stores = yield* Effect.forEach(Array.range(1, 3), () =>
          Effect.map(Layer.build(Layer.provide(Sql.layerWebhookStore({ prefix }), clientOf(strict))), (context) =>
            Context.get(context, WebhookStore.WebhookStore)
          )
        )
        yield* Effect.forEach(Array.range(1, 60), (n) => stores[n % 3]!.add(delivery(n)), { concurrency: "unbounded" })
        assert.deepStrictEqual(sequences(yield* stores[0].after(0, 100)), Array.range(1, 60))
      }))
  })
}
