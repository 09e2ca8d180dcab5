/** The inputs of a chunk, page by page: out of the store, or from where whoever drives the chunk loads them. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import type { ParseError } from "effect/ParseResult"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { BatchJournalError } from "effect-runpod/BatchError"
import type * as BatchStore from "../BatchStore.js"
import { sha256 } from "./sha256.js"

/** A page of inputs has about so many characters. */
const pageLength = 4 * 1024 * 1024
const mostInputs = 100
/** How many inputs the first page has. */
const firstLimit = 8

/** An input as it is stored, or hashed. */
export const textOf = (input: unknown): string => JSON.stringify(input) ?? "null"

/** Whether something that stands in JSON is missing in what it was read and written as again: a schema drops fields that it does not know. */
const losesIn = (written: unknown, stored: unknown): boolean => {
  if (typeof stored !== "object" || stored === null) return false
  if (typeof written !== "object" || written === null) return true
  return Object.entries(stored).some(([name, value]) => !hasProperty(written, name) || losesIn(written[name], value))
}

/** Reads or writes by a schema whose transformations may throw: it does not accept the value then. */
export const safely =
  <A, I, B, C>(schema: Schema.Schema<A, I>, use: (value: B) => Effect.Effect<C, ParseError>) =>
  (value: B): Effect.Effect<C, ParseError> =>
    Effect.catchAllDefect(
      Effect.suspend(() => use(value)),
      (defect) =>
        ParseResult.parseError(new ParseResult.Type(schema.ast, value, `its schema throws: ${String(defect)}`))
    )

/** Reads inputs as they are stored, and says why it cannot. */
export const readerOf = <I, IE>({
  input,
  onInvalidInput
}: Pick<BatchStore.DriveOptions<I, IE, unknown>, "input" | "onInvalidInput">) => {
  const decode = safely(input, Schema.decodeUnknown(input))
  const encode = safely(input, Schema.encode(input))
  return (stored: unknown): Effect.Effect<I, string> => {
    const read = Effect.mapError(decode(stored), ({ message }) => message)
    if (onInvalidInput !== "leave") return read
    return Effect.flatMap(read, (value) =>
      Effect.matchEffect(encode(value), {
        onFailure: ({ message }) => Effect.fail(message),
        onSuccess: (written) =>
          Effect.flatMap(Effect.try({ try: () => losesIn(written, stored), catch: () => "it is too deep" }), (loses) =>
            loses ? Effect.fail("it has fields that the schema does not know") : Effect.succeed(value)
          )
      })
    )
  }
}

/** How many inputs the page after one of this length has: pages of large ones are small. */
const nextLimit = (limit: number, { count, length }: { readonly count: number; readonly length: number }) =>
  Math.max(1, Math.min(mostInputs, limit * 4, Math.floor(pageLength / Math.max(1, length / Math.max(1, count)))))

/** A range after the other, each as long as the texts before it let it be. */
export const pagesOf = <A extends { readonly length: number }, E, R>(
  count: number,
  load: (range: BatchStore.Range) => Effect.Effect<ReadonlyArray<A>, E, R>
): Stream.Stream<ReadonlyArray<A>, E, R> =>
  Stream.unfoldEffect({ from: 0, limit: firstLimit }, ({ from, limit }) => {
    const to = Math.min(count, from + limit)
    if (to <= from) return Effect.succeedNone
    return Effect.map(load({ from, to }), (page) => {
      const length = page.reduce((sum, { length }) => sum + length, 0)
      return Option.some([page, { from: to, limit: nextLimit(limit, { count: page.length, length }) }] as const)
    })
  })

/** Where inputs are that are not stored. */
export interface Source<I, E, R> {
  readonly load: (range: BatchStore.Range) => Effect.Effect<ReadonlyArray<I | undefined>, E, R>
  readonly encode: (input: I) => Effect.Effect<unknown, ParseError>
}

/** Why an item has no input to be submitted. */
export interface Refusal {
  readonly kind: "InvalidInput" | "InputChanged"
  readonly detail: string
}

/** Items that follow one another, with their inputs as JSON has them. */
export interface Page<E, R> {
  readonly keys: ReadonlyArray<string>
  /** In the order of the keys. Those that are not stored are loaded when it is run. */
  readonly inputs: Effect.Effect<ReadonlyArray<Either.Either<unknown, Refusal>>, E, R>
}

const notStored = ({ batch }: BatchStore.Taken) => {
  const detail = `the inputs of batch "${batch}" are not stored. Give \`load\`, as the process did that created it.`
  return new BatchJournalError({ reason: "WrongId", detail })
}

/** Of an input that may not be stored: the words of a schema quote it. */
export const refused: Refusal = { kind: "InvalidInput", detail: "its schema does not accept it" }

const changed: Refusal = {
  kind: "InputChanged",
  detail: "its input is gone, or another one than the batch was created with"
}

/** The input of an item, if it is still the one that the batch was created with. */
const checked = <I>(encode: Source<I, unknown, unknown>["encode"], hash: string, input: I | undefined) =>
  Effect.gen(function* () {
    if (input === undefined) return { length: 0, input: Either.left(changed) }
    const encoded = yield* Effect.either(encode(input))
    if (Either.isLeft(encoded)) return { length: 0, input: Either.left(refused) }
    const text = textOf(encoded.right)
    const isSame = (yield* sha256(text)) === hash
    return { length: text.length, input: isSame ? Either.right(encoded.right) : Either.left(changed) }
  })

/** The items of a chunk, page by page. */
export const itemsOf = <I, E, R>(
  store: BatchStore.Service,
  taken: BatchStore.Taken,
  source: Source<I, E, R> | undefined
): Stream.Stream<Page<E | BatchJournalError, R>, BatchJournalError> =>
  Stream.suspend(() => {
    let limit = firstLimit
    const measure = (lengths: ReadonlyArray<number>) => {
      limit = nextLimit(limit, { count: lengths.length, length: lengths.reduce((sum, length) => sum + length, 0) })
    }

    const load = (page: ReadonlyArray<BatchStore.StoredItem>) =>
      Effect.gen(function* () {
        if (source === undefined) return yield* notStored(taken)
        const from = page[0]?.index ?? 0
        const loaded = yield* source.load({ from, to: from + page.length })
        const inputs = yield* Effect.forEach(page, ({ hash = "", index }) =>
          checked(source.encode, hash, loaded[index - from])
        )
        measure(inputs.map(({ length }) => length))
        return inputs.map(({ input }) => input)
      })

    const pageOf = (items: ReadonlyArray<BatchStore.StoredItem>): Page<E | BatchJournalError, R> => {
      const keys = items.map(({ key }) => key)
      if (items.some(({ hash }) => hash !== undefined)) return { keys, inputs: load(items) }
      measure(items.map(({ input }) => textOf(input).length))
      return { keys, inputs: Effect.succeed(items.map(({ input }) => Either.right(input))) }
    }

    return Stream.paginateEffect(-1, (after) =>
      Effect.suspend(() => {
        const asked = limit
        return Effect.map(store.inputs(taken, { after, limit: asked }), (items) => {
          const last = items.at(-1)
          return [
            pageOf(items),
            last === undefined || items.length < asked ? Option.none() : Option.some(last.index)
          ] as const
        })
      })
    )
  })

/** The same pages, of which the next one is read while one is used. `Stream.buffer` would read two. */
export const readAhead = <A, E, R>(pages: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> =>
  Stream.unwrapScoped(
    Effect.gen(function* () {
      const read = Effect.forkIn(yield* Stream.toPull(pages), yield* Effect.scope)
      let next = yield* read
      return Stream.repeatEffectChunkOption(
        Effect.gen(function* () {
          const page = yield* Fiber.join(next)
          next = yield* read
          return page
        })
      )
    })
  )
