import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { JsonObject } from "../../../internal/text/json.js"
import type { VllmFailure, VllmOptions } from "../../vllm.js"
import { wholeMillis } from "../jobs/fleet.js"
import * as Random from "../random.js"
import { chat, completions } from "./completions.js"
import { embeddings } from "./embeddings.js"
import {
  type Answered,
  Broken,
  dataFrame,
  EngineError,
  type Frame,
  internalError,
  invalidRoute,
  methodNotAllowed,
  noSuchModel,
  notFound,
  type Route
} from "./messages.js"
import { cut } from "./pieces.js"
import { responses } from "./responses.js"

/** What the engine answers: a body; or bytes of SSE text, cut as it was asked for. */
export type Answer =
  | { readonly _tag: "Body"; readonly body: object }
  | { readonly _tag: "Events"; readonly pieces: Stream.Stream<Uint8Array, Broken> }

export interface Engine {
  readonly answer: (
    route: string,
    method: string,
    body: JsonObject | undefined
  ) => Effect.Effect<Answer, EngineError | Broken>
}

const routes: Readonly<Record<string, Route | undefined>> = {
  "/v1/chat/completions": chat,
  "/v1/completions": completions,
  "/v1/embeddings": embeddings,
  "/v1/responses": responses
}

const oldRoutes = new Set(["/v1/chat/completions", "/v1/completions"])

const namesOf = ({ model = "emulated/model" }: VllmOptions): ReadonlyArray<string> =>
  typeof model === "string" ? [model] : model

const modelsOf = (names: ReadonlyArray<string>, created: number) => ({
  object: "list",
  data: names.map((id) => ({
    id,
    object: "model",
    created,
    owned_by: "vllm",
    root: names[0] ?? id,
    parent: null,
    max_model_len: 4096,
    permission: []
  }))
})

const broken = ({ message }: VllmFailure): string =>
  message ?? "vLLM server process is not running; worker is unhealthy"

const failureOf = ({ fail }: VllmOptions, body: JsonObject): VllmFailure | undefined =>
  typeof fail === "function" ? fail(body) : fail

/** Those of the first half of the tokens. */
const firstHalf = (frames: ReadonlyArray<Frame>): ReadonlyArray<Frame> => {
  const half = Math.floor(frames.reduce((sum, { tokens }) => sum + tokens, 0) / 2)
  let said = 0
  return frames.filter(({ tokens }) => (said += tokens) <= half)
}

const done: Frame = { text: "data: [DONE]\n\n", tokens: 0 }

/** The frames of a stream as it goes out, with what goes wrong with it. */
const streamOf = ({ frames = [], isDone }: Answered, options: VllmOptions, failure: VllmFailure | undefined) => {
  const end = isDone && options.done !== false ? [done] : []
  if (failure === undefined) return Stream.fromIterable([...frames, ...end])
  const said = Stream.fromIterable(firstHalf(frames))
  if (failure.at === "middle") return Stream.concat(said, Stream.fail(new Broken(broken(failure))))
  const error = { text: dataFrame(internalError(broken(failure)).body), tokens: 0 }
  return Stream.concat(said, Stream.fromIterable([error, done]))
}

const seconds = Effect.map(
  Effect.clockWith((clock) => clock.currentTimeMillis),
  (millis) => Math.floor(millis / 1000)
)

const find = (route: string, method: string, isOld: boolean): Route | EngineError => {
  const path = route.replace(/\?.*$/s, "")
  const known = isOld && !oldRoutes.has(path) ? undefined : routes[path]
  if (known === undefined) return isOld ? invalidRoute : notFound
  return method === "POST" ? known : methodNotAllowed
}

/** A vLLM server whose model says what the options say. */
export const makeEngine = (options: VllmOptions): Engine => {
  const { seed = 0 } = options
  const ids = Random.make(seed, "vllm ids")
  const places = Random.make(seed, "vllm pieces")
  const names = namesOf(options)
  const isOld = options.image === "old"
  const perToken = wholeMillis(options.perToken ?? 0)
  const newId = (prefix: string) => `${prefix}${Random.uuid(ids).replaceAll("-", "")}`
  const pause = (tokens: number) => (tokens * perToken > 0 ? Effect.sleep(tokens * perToken) : Effect.void)

  const answer: Engine["answer"] = Effect.fnUntraced(function* (route, method, given) {
    const created = yield* seconds
    if (route === "/v1/models" && method === "GET") return { _tag: "Body", body: modelsOf(names, created) } as const
    const known = find(route, method, isOld)
    if (known instanceof EngineError) return yield* Effect.fail(known)
    const body = given ?? {}
    const model = body["model"] ?? names[0]
    if (!names.includes(String(model))) return yield* Effect.fail(noSuchModel(String(model)))
    const wantsStream = body["stream"] === true
    const failure = failureOf(options, body)
    const isAtStart = failure?.at === undefined || failure.at === "start" || !wantsStream
    if (failure !== undefined && isAtStart) return yield* Effect.fail(new Broken(broken(failure)))
    const answered = known({ body, model: String(model), created, isOld, newId, options })
    if (answered instanceof EngineError) return yield* Effect.fail(answered)
    if (!wantsStream || answered.frames === undefined) {
      yield* pause(answered.tokens)
      return { _tag: "Body", body: answered.body } as const
    }
    const paced = Stream.mapEffect(streamOf(answered, options, failure), ({ text, tokens }) =>
      Effect.as(pause(tokens), text)
    )
    return { _tag: "Events", pieces: cut(paced, options.cut, places) } as const
  })
  return { answer }
}
