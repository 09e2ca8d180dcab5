/**
 * How a model on an endpoint is called: by a job, by the endpoint's OpenAI route, or by whichever is right at the moment.
 *
 * | | job | route |
 * | --- | --- | --- |
 * | no worker is warm | waits in the queue, up to a day | cut by RunPod's edge after about 100 seconds (524); the generation may go on |
 * | its id | known at once, so it can be followed, cancelled and read again | none |
 * | the caller leaves | the job is cancelled | nobody knows what RunPod does |
 * | first byte, warm | after polls, about a second more | as fast as RunPod is |
 *
 * @since 0.1.0
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as Endpoint from "effect-runpod/Endpoint"
import type { JobError } from "effect-runpod/JobError"
import type { RunPodError } from "effect-runpod/RunPodError"
import type { WaitOptions } from "effect-runpod/WaitOptions"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type { ModelError } from "./ModelError.js"

/**
 * What can go wrong with a call: its request, its job, or the model's answer.
 *
 * @since 0.1.0
 * @category models
 */
export type CallError = RunPodError | JobError | ModelError

/**
 * `job`: through the queue. `route`: through the endpoint's OpenAI route, or the `client` of the options. `auto`: the route while
 * `/health` says that a worker is up, else a job; a route that refused the request without any effect (429, no connection) is
 * followed by a job, one that left it in doubt is not.
 *
 * @since 0.1.0
 * @category models
 */
export type Via = "job" | "route" | "auto"

/**
 * Choices of the jobs that calls become. They are cancelled when their caller is interrupted, or at `timeout`, unless it says
 * otherwise here. Where `onJob` notes the job's id, another process can read the answer (`withJob`, or
 * `ModelEndpoint.chat(…).attach(id)`).
 *
 * @since 0.1.0
 * @category models
 */
export interface JobOptions
  extends
    Pick<Endpoint.CallOptions, "policy" | "webhook" | "adoptWithin" | "resubmit" | "onJob">,
    Pick<WaitOptions, "timeout" | "hold" | "poll" | "cancelOnInterrupt" | "cancelOnTimeout" | "cancelGrace"> {}

/**
 * Where a model is, and how it is called.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The id of the endpoint. */
  readonly endpoint: string
  /** Default: `auto`. */
  readonly via?: Via | undefined
  /**
   * Reaches a server of the OpenAI API, which gets requests to `/v1/…`, in place of the endpoint's route: a `LoadBalancer`, or another server with
   * `HttpClientRequest.prependUrl`. What authenticates it is in it. Default: `OpenAi.client` of the endpoint.
   */
  readonly client?: HttpClient.HttpClient.With<HttpClientError.HttpClientError | RunPodError | ModelError> | undefined
  readonly job?: JobOptions | undefined
}

/**
 * The job that a call reads its answer from, in place of a new one.
 *
 * @since 0.1.0
 * @category tags
 */
export class KnownJob extends Context.Tag("effect-runpod-ai/ModelCall/KnownJob")<KnownJob, string>() {}

/**
 * Lets the calls of an effect read the answer of a job that was submitted before, by this process or another, and submit nothing.
 * What streamed before it was attached to is in the job's output, which RunPod keeps for 30 minutes: it comes when the job has ended.
 *
 * @since 0.1.0
 * @category combinators
 */
export const withJob: {
  (jobId: string): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, jobId: string): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, jobId: string) => Effect.provideService(self, KnownJob, jobId))
