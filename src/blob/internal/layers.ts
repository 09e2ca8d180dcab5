import { S3Client } from "@aws-sdk/client-s3"
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { read, secretOf } from "../../internal/text/config.js"
import { defined } from "../../internal/text/json.js"
import { makeScrub } from "../../internal/text/scrub.js"
import type {
  ClientOptions,
  ConfigOptions,
  Credentials,
  GivenClientOptions,
  Options,
  Service,
  StoreOptions,
  VolumeOptions
} from "../contract.js"
import * as ForeignUrl from "./foreignUrl.js"
import { type BlobError, blobError } from "./error.js"
import * as MemoryStore from "./memoryStore.js"
import * as S3Store from "./s3Store.js"
import * as BlobService from "./service.js"
import type { Store } from "./store.js"

const where = { operation: "layer" } as const

const wrong = (detail: string) => Effect.fail(blobError("BadRequest", where, detail))

const textOf = (secret: string | Redacted.Redacted): string =>
  (typeof secret === "string" ? secret : Redacted.value(secret)).trim()

/** The URL of a store, without what follows its path. */
const endpointOf = (endpoint: string | URL): Effect.Effect<URL, BlobError> => {
  const text = String(endpoint)
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text))
    return wrong("`endpoint` must be an absolute http or https URL")
  const url = new URL(text)
  if (url.username !== "" || url.password !== "" || url.search !== "") {
    return wrong("`endpoint` must hold neither a user nor a query: the keys have options of their own")
  }
  return Effect.succeed(url)
}

/** The region that an endpoint of Amazon, and of those who name theirs alike, stands for. */
const regionOf = ({ hostname }: URL): string => /(?:^|\.)s3[.-]((?:[a-z]+-)+\d+)\./.exec(hostname)?.[1] ?? "us-east-1"

/** The ETags of S3's directory buckets, whose names end so, are no MD5s [S3's docs]. */
const verifies = (bucket: string, { verifyETag = true }: StoreOptions): boolean =>
  verifyETag && !bucket.endsWith("--x-s3")

const fetchFor = (store: Store, endpoint: URL | undefined, { origins = [] }: StoreOptions) =>
  Effect.gen(function* () {
    const allowed = new Set<string>()
    for (const origin of origins) {
      if (!URL.canParse(String(origin))) return yield* wrong("`origins` must be URLs, such as https://cdn.example.com")
      allowed.add(new URL(String(origin)).origin)
    }
    // Other buckets of the store: RunPod's SDK names one after the month when it is not told which.
    const isOfStore = (url: URL) =>
      endpoint !== undefined &&
      url.protocol === endpoint.protocol &&
      (url.host === endpoint.host || url.host.endsWith(`.${endpoint.host}`))
    return yield* ForeignUrl.make({
      isAllowed: (url) => allowed.has(url.origin) || isOfStore(url),
      isOfStore,
      scrub: store.scrub,
      md5: store.md5
    })
  })

interface Access {
  readonly endpoint: URL
  readonly bucket: string
  readonly region: string
  readonly pathStyle: boolean
  readonly mountPath?: string | undefined
}

const makeStore = (
  { bucket, endpoint, mountPath, pathStyle, region }: Access,
  options: Credentials & ClientOptions & StoreOptions
): Effect.Effect<Store, BlobError, Scope.Scope> =>
  Effect.gen(function* () {
    const { accessKeyId, maxAttempts = 5, secretAccessKey, sessionToken } = options
    const [id, secret] = [textOf(accessKeyId), textOf(secretAccessKey)]
    const token = sessionToken === undefined ? undefined : textOf(sessionToken)
    if (id === "" || secret === "") return yield* wrong("`accessKeyId` and `secretAccessKey` must not be empty")
    if (!Number.isSafeInteger(maxAttempts) || maxAttempts < 1) {
      return yield* wrong("`maxAttempts` must be a whole number, at least 1")
    }
    const client = yield* Effect.acquireRelease(
      Effect.sync(
        () =>
          new S3Client({
            endpoint: endpoint.href,
            region,
            forcePathStyle: pathStyle,
            credentials: { accessKeyId: id, secretAccessKey: secret, ...defined({ sessionToken: token }) },
            maxAttempts,
            retryMode: "standard",
            // Many stores do not know the checksums of newer SDKs. What is sent is signed with its SHA-256 all the same.
            requestChecksumCalculation: "WHEN_REQUIRED",
            responseChecksumValidation: "WHEN_REQUIRED",
            // In milliseconds: until a connection is there, and between two bytes. A network volume computes the ETag of a file that a worker
            // wrote when it is first asked for, before it answers, which can take minutes [RunPod's docs].
            requestHandler: { connectionTimeout: 10_000, socketTimeout: mountPath === undefined ? 60_000 : 300_000 }
          })
      ),
      (client) => Effect.sync(() => client.destroy())
    )
    const s3 = {
      name: bucket,
      endpoint,
      client,
      scrub: makeScrub([id, secret, token ?? ""]),
      verifyETag: verifies(bucket, options),
      s3Config:
        token === undefined
          ? {
              accessId: Redacted.make(id),
              accessSecret: Redacted.make(secret),
              bucketName: bucket,
              endpointUrl: endpoint.href.replace(/\/+$/, "")
            }
          : undefined
    }
    return mountPath === undefined ? S3Store.make(s3) : S3Store.makeVolume({ ...s3, mountPath })
  })

const serviceOf = (store: Store, endpoint: URL | undefined, options: StoreOptions): Effect.Effect<Service, BlobError> =>
  Effect.gen(function* () {
    if (/^\.{0,2}$|[/\\?#\s]/.test(store.bucket))
      return yield* wrong("the bucket's name is empty, or cannot stand in a URL")
    const settings = yield* BlobService.settingsOf(options)
    return BlobService.make(store, settings, yield* fetchFor(store, endpoint, options))
  })

export const make = (options: Options): Effect.Effect<Service, BlobError, Scope.Scope> =>
  Effect.gen(function* () {
    const { bucket, pathStyle = true } = options
    const endpoint = yield* endpointOf(options.endpoint)
    const region = options.region ?? regionOf(endpoint)
    const store = yield* makeStore({ endpoint, bucket, region, pathStyle }, options)
    return yield* serviceOf(store, endpoint, options)
  })

export const makeVolume = (options: VolumeOptions): Effect.Effect<Service, BlobError, Scope.Scope> =>
  Effect.gen(function* () {
    const { datacenter, mountPath = "/runpod-volume", volumeId } = options
    if (!/^[A-Za-z0-9-]+$/.test(datacenter)) return yield* wrong("`datacenter` must be the id of one, such as EU-RO-1")
    if (!mountPath.startsWith("/")) return yield* wrong("`mountPath` must be an absolute path")
    const endpoint = yield* endpointOf(options.endpoint ?? `https://s3api-${datacenter.toLowerCase()}.runpod.io`)
    const mount = `${mountPath.replace(/\/+$/, "")}/`
    // RunPod documents the id of the datacenter as the region.
    const access = { endpoint, bucket: volumeId, region: datacenter, pathStyle: true, mountPath: mount }
    return yield* serviceOf(yield* makeStore(access, options), endpoint, options)
  })

export const makeOver = (options: GivenClientOptions): Effect.Effect<Service, BlobError> =>
  Effect.gen(function* () {
    const { bucket, client } = options
    const endpoint = yield* endpointOf(options.endpoint)
    const verifyETag = verifies(bucket, options)
    const store = S3Store.make({
      name: bucket,
      endpoint,
      client,
      scrub: makeScrub([]),
      s3Config: undefined,
      verifyETag
    })
    return yield* serviceOf(store, endpoint, options)
  })

export const makeMemory = (
  options: StoreOptions & { readonly bucket?: string | undefined }
): Effect.Effect<Service, BlobError> =>
  Effect.suspend(() => serviceOf(MemoryStore.make(options.bucket ?? "memory"), undefined, options))

/** Reads each option that is given. */
const given = <O extends object>(options: ConfigOptions<O>): Effect.Effect<Partial<O>, ConfigError.ConfigError> => {
  const entries = Object.entries<unknown>({ ...options }).filter(([, option]) => option !== undefined)
  const values = Effect.forEach(entries, ([name, option]) =>
    Effect.map(read(option), (value) => [name, value] as const)
  )
  // Each value is that of an option of `O`, by its name.
  return Effect.map(values, (values) => Object.fromEntries(values) as Partial<O>)
}

const optional = (name: string) => Effect.map(Config.option(Config.nonEmptyString(name)), Option.getOrUndefined)

const fallback = <A>(value: A | undefined, config: Effect.Effect<A, ConfigError.ConfigError>) =>
  value === undefined ? config : Effect.succeed(value)

const inSettings = "Make a key in the console of the store, or give the option."

export const fromConfig = (options: ConfigOptions<Options>): Effect.Effect<Options, ConfigError.ConfigError> =>
  Effect.gen(function* () {
    const known = yield* given<Options>(options)
    return {
      ...known,
      endpoint: yield* fallback(known.endpoint, Config.nonEmptyString("BUCKET_ENDPOINT_URL")),
      bucket: yield* fallback(known.bucket, Config.nonEmptyString("BUCKET_NAME")),
      accessKeyId: yield* fallback(known.accessKeyId, secretOf("BUCKET_ACCESS_KEY_ID", inSettings)),
      secretAccessKey: yield* fallback(known.secretAccessKey, secretOf("BUCKET_SECRET_ACCESS_KEY", inSettings)),
      region: known.region ?? (yield* optional("BUCKET_REGION"))
    }
  })

const inConsole =
  "Make an S3 API key at https://console.runpod.io (Settings, S3 API Keys): it is not the API key of RunPod."

export const volumeFromConfig = (
  options: ConfigOptions<VolumeOptions>
): Effect.Effect<VolumeOptions, ConfigError.ConfigError> =>
  Effect.gen(function* () {
    const known = yield* given<VolumeOptions>(options)
    return {
      ...known,
      volumeId: yield* fallback(known.volumeId, Config.nonEmptyString("RUNPOD_VOLUME_ID")),
      datacenter: yield* fallback(known.datacenter, Config.nonEmptyString("RUNPOD_VOLUME_DATACENTER")),
      accessKeyId: yield* fallback(known.accessKeyId, secretOf("RUNPOD_S3_ACCESS_KEY_ID", inConsole)),
      secretAccessKey: yield* fallback(known.secretAccessKey, secretOf("RUNPOD_S3_SECRET_ACCESS_KEY", inConsole))
    }
  })
