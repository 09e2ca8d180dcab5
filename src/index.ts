/**
 * An Effect-native client for the RunPod serverless API.
 *
 * @since 0.1.0
 */
export * as EndpointId from "./schemas/EndpointId.js"
export * as ErrorBody from "./schemas/ErrorBody.js"
export * as Health from "./schemas/Health.js"
export * as Job from "./schemas/Job.js"
export * as JobError from "./errors/JobError.js"
export * as JobFailure from "./schemas/JobFailure.js"
export * as JobId from "./schemas/JobId.js"
export * as JobStatus from "./schemas/JobStatus.js"
export * as Operation from "./schemas/Operation.js"
export * as PurgeResult from "./schemas/PurgeResult.js"
export * as RateLimits from "./layers/RateLimits.js"
export * as RequestLimiter from "./layers/RequestLimiter.js"
export * as RequestList from "./schemas/RequestList.js"
export * as RetryPolicy from "./layers/RetryPolicy.js"
export * as RunPod from "./services/RunPod.js"
export * as RunPodConfig from "./layers/RunPodConfig.js"
export * as RunPodError from "./errors/RunPodError.js"
export * as RunPodHttpClient from "./layers/RunPodHttpClient.js"
export * as RunPodMetrics from "./layers/RunPodMetrics.js"
export * as RunRequest from "./schemas/RunRequest.js"
export * as StreamChunk from "./schemas/StreamChunk.js"
export * as WebhookEvent from "./schemas/WebhookEvent.js"
