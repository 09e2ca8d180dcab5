/** Secrets to plant in requests, the ways a server can echo them, and every way to print what came of it. */
import { inspect } from "node:util"
import * as Cause from "effect/Cause"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Redacted from "effect/Redacted"
import * as Recorder from "./recorder.js"
import type * as Scripted from "./scripted.js"

/** Each holds characters that JSON, HTML and URLs write in other ways. */
export const key = `rpa_KqZwTv"/&<+%XvRtQm\\'=>`
export const s3Config = {
  accessId: `AKIAMdJdQz"/&WnTyLk`,
  accessSecret: Redacted.make(`HbFgRc+/"\\%=<LpMcDn`),
  bucketName: "results",
  endpointUrl: "https://s3.test"
}
export const webhook = "https://hooks.test/in/UrNsBvQx?token=GyKpXs%2FDxTzNw&job=1"

/** Parts of them that stay whole in every way of writing them. */
export const needles = [
  "KqZwTv",
  "XvRtQm",
  "AKIAMdJdQz",
  "WnTyLk",
  "HbFgRc",
  "LpMcDn",
  "UrNsBvQx",
  "GyKpXs",
  "DxTzNw"
] as const

const html = (text: string): string =>
  text.replace(/[&<>"']/g, (char) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[char] ?? "&#39;")

const special = /[^A-Za-z0-9]/gu

const inJson = (text: string): string => JSON.stringify(text).slice(1, -1)

/** The ways a text is written elsewhere. */
export const encodings: Readonly<Record<string, (text: string) => string>> = {
  plain: (text) => text,
  "JSON-escaped": inJson,
  "JSON within JSON": (text) => inJson(inJson(text)),
  "JSON with every sign escaped": (text) =>
    text.replace(special, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`),
  "JSON with escaped slashes": (text) => inJson(text).replaceAll("/", "\\/"),
  "percent-encoded": encodeURIComponent,
  "percent-encoded twice": (text) => encodeURIComponent(encodeURIComponent(text)),
  HTML: html,
  "HTML, numeric": (text) => text.replace(special, (char) => `&#${char.charCodeAt(0)};`),
  "HTML, hexadecimal": (text) => text.replace(special, (char) => `&#x${char.charCodeAt(0).toString(16)};`),
  "HTML within JSON": (text) => inJson(html(text))
}

/** All that was planted. */
export const all = [key, s3Config.accessId, Redacted.value(s3Config.accessSecret), webhook].join(" ")

/** What a server knows of a request. */
export const dump = ({ authorization, body = "", url }: Scripted.Asked): string =>
  [authorization, key, /\/run(?:sync)?\b/.test(url) ? `${body} ${all}` : ""].join(" ")

/** Bodies that hold a text somewhere: as they stand, or as JSON; and the fields of a job that echo its submit. */
export const shapes: Readonly<Record<string, (text: string) => string>> = {
  text: (text) => text,
  html: (text) => `<html><body>${text}</body></html>`,
  error: (error) => JSON.stringify({ error }),
  "error object": (message) => JSON.stringify({ error: { message, code: message } }),
  problem: (text) => JSON.stringify({ status: 400, title: text, detail: text, code: text }),
  key: (text) => JSON.stringify({ [text]: text, error: [text] }),
  array: (text) => JSON.stringify([text]),
  string: (text) => JSON.stringify(text),
  "bad job": (text) =>
    JSON.stringify({ id: text, status: 1, workerId: text, webhook: all, s3Config: { accessId: all } }),
  "bad job within JSON": (text) => JSON.stringify({ error: JSON.stringify({ text, webhook, accessSecret: all }) }),
  "failed job": (text) =>
    JSON.stringify({
      id: "job-1",
      status: "FAILED",
      workerId: text,
      error: { error_message: text, error_type: text, error_traceback: text, hostname: text, [text]: text },
      output: [text, { [text]: text }],
      webhook: all,
      webhookV2: { url: all },
      s3Config: { accessId: all, accessSecret: all }
    }),
  "failed job, as text": (text) =>
    JSON.stringify({
      id: "job-1",
      status: "FAILED",
      error: JSON.stringify({ error_message: text, error_type: text, error_traceback: text, worker_id: text })
    }),
  "failed job, as a sentence": (text) =>
    JSON.stringify({ id: "job-1", status: "FAILED", error: `handler: ${text} \ntraceback: ${text}` }),
  "timed out job": (text) => JSON.stringify({ id: "job-1", status: "TIMED_OUT", workerId: text, error: text }),
  "job that ran": (text) => JSON.stringify({ id: "job-1", status: "COMPLETED", output: { wrong: text, [text]: 1 } })
}

/** Every way to print a value. */
export const printed = (value: unknown): ReadonlyArray<string> => {
  // However a text is printed, the parts of secrets that are looked for stay as they are.
  if (typeof value === "string") return [value]
  const texts = [
    inspect(value, { depth: Infinity, showHidden: true, maxStringLength: null, maxArrayLength: null }),
    inspect(value, { depth: Infinity, getters: true, maxStringLength: null }),
    String(value)
  ]
  texts.push(JSON.stringify(value, (_, entry: unknown) => (typeof entry === "bigint" ? String(entry) : entry)) ?? "")
  if (Exit.isExit(value) && Exit.isFailure(value)) texts.push(...printed(value.cause))
  if (Cause.isCause(value)) {
    texts.push(Cause.pretty(value), Cause.pretty(value, { renderErrorCause: true }))
    for (const error of [...Cause.failures(value), ...Cause.defects(value)]) texts.push(...printed(error))
  }
  if (value instanceof Error) {
    texts.push(value.message, String(value.stack))
    if (value.cause !== undefined) texts.push(...printed(value.cause))
  }
  return texts
}

/** The first place at which a text holds a part of a secret. */
export const leakIn = (text: string): string | undefined => {
  for (const needle of needles) {
    const at = text.indexOf(needle)
    if (at >= 0) return `${needle} in …${text.slice(Math.max(0, at - 120), at + 120)}…`
  }
  return undefined
}

/** The first place at which any print of a value holds a part of a secret. */
export const leakOf = (value: unknown): string | undefined => {
  for (const text of printed(value)) {
    const leak = leakIn(text)
    if (leak !== undefined) return leak
  }
  return undefined
}

/** All of Effect's loggers at once, at every level, and a tracer; `lines` is what they wrote. */
export const makeRecorder = () => {
  const lines: Array<string> = []
  const write = (...parts: ReadonlyArray<unknown>) => lines.push(...parts.flatMap(printed))
  const kept = <A>(logger: Logger.Logger<unknown, A>) => Logger.add(Logger.map(logger, write))
  const unsafe: Console.UnsafeConsole = {
    ...globalThis.console,
    log: write,
    error: write,
    group: write,
    groupCollapsed: write
  }
  const loggers = Layer.mergeAll(
    Logger.remove(Logger.defaultLogger),
    kept(Logger.stringLogger),
    kept(Logger.logfmtLogger),
    kept(Logger.jsonLogger),
    kept(Logger.structuredLogger),
    Logger.add(Logger.prettyLogger({ colors: false })),
    Logger.minimumLogLevel(LogLevel.All)
  )
  const { spans, tracer } = Recorder.makeTracer()
  return {
    lines,
    spans,
    record: <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Console.consoleWith((console) =>
        effect.pipe(Effect.withTracer(tracer), Effect.provide(loggers), Console.withConsole({ ...console, unsafe }))
      )
  }
}
