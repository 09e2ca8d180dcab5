/** What is asked of a connection of `pg` that has not answered yet: it warns of that when a third statement waits, once in a process. */
import { createRequire } from "node:module"

interface Query {
  readonly text?: string
  readonly cursor?: { readonly text?: string }
}

/** What is used of a client of `pg`. */
interface Client {
  readonly _activeQuery: Query | null | undefined
  readonly _queryQueue: ReadonlyArray<Query>
  query(this: Client, ...args: ReadonlyArray<unknown>): unknown
}

const { Client } = createRequire(import.meta.url)("pg") as { readonly Client: { readonly prototype: Client } }

const textOf = (query: unknown): string =>
  typeof query === "string"
    ? query
    : String((query as Query | null | undefined)?.text ?? (query as Query | null | undefined)?.cursor?.text)

/** A statement that was sent in this process before others on its connection had ended. */
export interface Beside {
  readonly text: string
  readonly others: ReadonlyArray<string>
}

export const beside: Array<Beside> = []

const { query } = Client.prototype
Client.prototype.query = function (...args) {
  const others = [this._activeQuery, ...this._queryQueue].filter((one) => one !== null && one !== undefined)
  if (others.length > 0) beside.push({ text: textOf(args[0]), others: others.map(textOf) })
  return query.apply(this, [...args])
}

/** What `pg` warns of, as Node prints it. */
export const warning = /DeprecationWarning: .*pg@\d/

// A test that runs in this process does not see what it prints: vitest fails with what nobody catches.
process.on("warning", (told) => {
  if (warning.test(`${told.name}: ${told.message}`)) throw told
})
