/** What the answers of the OpenAI route are read as, whatever their route: an error wherever one stands, or what came. */
import * as Headers from "@effect/platform/Headers"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as RunPodError from "effect-runpod/RunPodError"
import type * as RunPodHttpClient from "effect-runpod/RunPodHttpClient"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { identity } from "effect/Function"
import * as Stream from "effect/Stream"
import { IncompleteStreamError, MalformedAnswerError, type ModelError } from "../ModelError.js"
import { ChunkReader } from "./chunkReader.js"
import * as Embeddings from "./embeddings.js"
import { EventReader } from "./eventReader.js"
import { framesOf } from "./frames.js"
import { type ItemReader, malformed } from "./itemReader.js"
import { isJsonObject, type JsonObject, parseJson, stringOf } from "./json.js"
import { readScrubbed, type Scrub } from "./scrub.js"
import { excerpt } from "./text.js"
import { errorIn, errorInResponse, isSuccess, readJson, refusalOf } from "./workerError.js"

const utf8 = new TextEncoder()

type Failure = RunPodError.RunPodError | ModelError
type Answer = RunPodHttpClient.OpenResponse<Failure>

/** The most that an answer may have which is read whole, in bytes: RunPod's results are smaller. */
const largestAnswer = 64 * 1024 * 1024

/** An error in the form of OpenAI's or vLLM's, which the worker has written; RunPod's own have others. */
const isWorkers = (value: unknown): boolean =>
  isJsonObject(value) && (isJsonObject(value["error"]) || value["object"] === "error")

/** The error that a status stands for: RunPod's own, or `undefined` for the worker's, which `read` makes. */
export const errorOf: RunPodHttpClient.OpenRequest["errorOf"] = (where, response) =>
  isWorkers(parseJson(response.text)) ? undefined : RunPodError.fromResponse(where, response)

/** `responses` of vLLM have no `error`, which decoders of OpenAI's look for. */
const completed = (value: unknown): JsonObject | undefined => {
  if (!isJsonObject(value)) return undefined
  if (value["object"] === "response") return "error" in value ? undefined : { ...value, error: null }
  const { response, type } = value
  if (!stringOf(type)?.startsWith("response.")) return undefined
  const inner = completed(response)
  return inner === undefined ? undefined : { ...value, response: inner }
}

/** A route whose answers are known. */
interface Route {
  readonly path: RegExp
  /** The list that an answer has. */
  readonly field: "choices" | "data" | "output"
  readonly readerOf?: (scrub: Scrub) => ItemReader
}

const routes: ReadonlyArray<Route> = [
  { path: /\/completions(?:[?#]|$)/, field: "choices", readerOf: (scrub) => new ChunkReader(scrub) },
  { path: /\/embeddings(?:[?#]|$)/, field: "data" },
  { path: /\/responses(?:[?#]|$)/, field: "output", readerOf: (scrub) => new EventReader(scrub, "responses") }
]

/** What is known of the request. */
interface Asked {
  /** Missing where any answer can be one, also of a known route that is not asked by POST. */
  readonly route: Route | undefined
  /** The answer can be a file, whose text is no error of the worker. */
  readonly mayBeFile: boolean
  readonly mayBeEmpty: boolean
  /** The `encoding_format` of embeddings. */
  readonly format: unknown
  /** The answer of `/responses` may be a response that has not ended. */
  readonly isBackground: boolean
  /** Strikes the key out, which a gateway may quote. */
  readonly scrub: Scrub
}

const typeOf = ({ headers }: Pick<Answer, "headers">): string => headers["content-type"]?.toLowerCase() ?? ""

/** The body of a request, where it can be read. */
const bodyOf = ({ body }: HttpClientRequest.HttpClientRequest): JsonObject | undefined => {
  if (body._tag !== "Uint8Array" || body.contentType?.startsWith("application/json") !== true) return undefined
  const asked = parseJson(new TextDecoder().decode(body.body))
  return isJsonObject(asked) ? asked : undefined
}

/** All bytes of a body, in the pieces they came in, and as text. */
const readAll = ({ stream }: Answer) =>
  Effect.suspend(() => {
    const pieces: Array<Uint8Array> = []
    const decoder = new TextDecoder()
    let size = 0
    let text = ""
    const add = (piece: Uint8Array): Effect.Effect<void, MalformedAnswerError> => {
      size += piece.byteLength
      if (size > largestAnswer) {
        return new MalformedAnswerError({ issue: `the answer has more than ${largestAnswer} bytes` })
      }
      pieces.push(piece)
      text += decoder.decode(piece, { stream: true })
      return Effect.void
    }
    return Effect.map(Stream.runForEach(stream, add), () => ({ pieces, text: text + decoder.decode() }))
  })

/** The error of an answer that is none: it says so, it is of another server, or what it stands for goes on. */
const errorOfAnswer = (value: unknown, { isBackground, route }: Asked): ModelError | undefined => {
  if (route === undefined) {
    const isJob = isJsonObject(value) && /^(?:IN_QUEUE|IN_PROGRESS|COMPLETED)$/.test(stringOf(value["status"]) ?? "")
    return isJob ? malformed("an answer", value, "the job of one") : undefined
  }
  const { field } = route
  const { [field]: list, status } = isJsonObject(value) ? value : {}
  if (field === "output") {
    const error = errorInResponse(value)
    if (error !== undefined) return error
    if (!isBackground && (status === "queued" || status === "in_progress"))
      return malformed("an answer", value, "one that has not ended")
  }
  const isGiven = Array.isArray(list) && (field === "output" || list.length > 0) && list.every(isJsonObject)
  return isGiven ? undefined : malformed(`an object with ${field}`, value)
}

/** Whether a text is values of JSON, one a line. */
const isLines = (text: string): boolean => {
  const lines = text.split("\n").filter((line) => line.trim() !== "")
  return lines.length > 1 && lines.every((line) => parseJson(line) !== undefined)
}

/** What an answer that is a success is given as, where it is not as it came; or why it is none. */
const changeOf = (text: string, type: string, asked: Asked): Either.Either<JsonObject | undefined, ModelError> => {
  const { mayBeFile, route } = asked
  const isText = route === undefined && /^text\/(?!html)/.test(type)
  if (mayBeFile && (isText || isLines(text))) return Either.right(undefined)
  if (asked.mayBeEmpty && type === "" && text === "") return Either.right(undefined)
  const json = readJson(text)
  // Audio transcriptions can be plain text. A page is what a gateway says.
  if (Either.isLeft(json)) return isText ? Either.right(undefined) : Either.left(json.left)
  const value = route === undefined ? json.right : onlyOf(json.right)
  const error = errorIn(json.right) ?? errorOfAnswer(value, asked)
  if (error !== undefined) return Either.left(error)
  const formatted =
    route?.field === "data" && isJsonObject(value) ? Embeddings.inFormat(value, asked.format) : Either.right(undefined)
  if (Either.isLeft(formatted) || formatted.right !== undefined) return formatted
  return Either.right(completed(value) ?? (value !== json.right && isJsonObject(value) ? value : undefined))
}

/** What cannot be read may be packed, although requests ask for `identity`. */
const packed =
  ({ headers }: Answer, scrub: Scrub) =>
  <E>(error: E): E | MalformedAnswerError => {
    const { "content-encoding": encoding = "identity" } = headers
    const isUnread =
      error instanceof MalformedAnswerError || (error instanceof IncompleteStreamError && error.received === 0)
    if (encoding === "identity" || !isUnread) return error
    const why = `its content-encoding is ${excerpt(scrub(encoding), 40)}, which was not asked for`
    const found = error instanceof MalformedAnswerError ? error.issue : "nothing of its stream can be read"
    return new MalformedAnswerError({ issue: `${why}: ${found}` })
  }

/** A worker may give what its handler has yielded. */
const onlyOf = (value: unknown): unknown => (Array.isArray(value) && value.length === 1 ? value[0] : value)

/** An answer that comes whole. */
const readWhole = (answer: Answer, asked: Asked): Effect.Effect<Answer, Failure> =>
  Effect.flatMap(readAll(answer), ({ pieces, text }): Effect.Effect<Answer, Failure> => {
    if (!isSuccess(answer.status)) return Effect.fail(refusalOf(asked.scrub(text), answer.status))
    const changed = readScrubbed(text, asked.scrub, (whole) => changeOf(whole, typeOf(answer), asked))
    return Either.mapBoth(changed, {
      onLeft: packed(answer, asked.scrub),
      onRight: (value): Answer => {
        if (value === undefined) return { ...answer, stream: Stream.fromIterable(pieces) }
        const headers = Headers.remove(answer.headers, "content-length")
        return { ...answer, headers, stream: Stream.make(utf8.encode(JSON.stringify(value))) }
      }
    })
  })

const readStream = (answer: Answer, { route, scrub }: Asked): Answer => ({
  ...answer,
  headers: Headers.set(Headers.remove(answer.headers, "content-length"), "content-type", "text/event-stream"),
  stream: Stream.suspend(() => {
    const reader = route?.readerOf?.(scrub) ?? new EventReader(scrub, "other")
    const frames = framesOf(answer.stream, { reader, scrub, change: completed })
    return Stream.mapError(frames, packed(answer, scrub))
  })
})

/**
 * What a client gets of an answer. An error in it, also in one with the status 200, is a failure: of the request, or of the stream at
 * its place. A stream that ends before its end is one, too, and an answer without what its route has. Everything else is as it came, but
 * for `error: null` in a response without `error`, and for what is no part of a stream's data, such as comments, or stands behind its end.
 */
export const read = (
  answer: Answer,
  request: HttpClientRequest.HttpClientRequest,
  scrub: Scrub = identity
): Effect.Effect<Answer, Failure> => {
  const type = typeOf(answer)
  const body = bodyOf(request)
  const route = request.method === "POST" ? routes.find(({ path }) => path.test(request.url)) : undefined
  const isOther = route === undefined && !/\/models(?:[/?#]|$)/.test(request.url)
  const asked: Asked = {
    route,
    mayBeFile: isOther && request.method === "GET",
    mayBeEmpty: isOther,
    format: body?.["encoding_format"],
    isBackground: body?.["background"] === true,
    scrub
  }
  if (!isSuccess(answer.status)) return readWhole(answer, asked)
  if (request.method === "HEAD") return Effect.succeed(answer)
  const hasBody = answer.status !== 204 && answer.status !== 205
  if (!hasBody && route !== undefined) return Effect.fail(malformed(`an object with ${route.field}`, undefined))
  if (!hasBody) return Effect.succeed(answer)
  const isEvents = type.startsWith("text/event-stream")
  // Who has asked for no stream cannot read one. What another route streams can be sound.
  const isStream =
    body?.["stream"] === true
      ? route !== undefined || isEvents || type === ""
      : isEvents && (route === undefined || body === undefined)
  if (isStream) return Effect.succeed(readStream(answer, asked))
  // Lines of JSON, as files have them, are other types.
  const isText = type === "" || /\bjson\b/.test(type) || type.startsWith("text/")
  return isText || route !== undefined ? readWhole(answer, asked) : Effect.succeed(answer)
}
