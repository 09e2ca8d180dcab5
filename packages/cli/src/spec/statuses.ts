/** The statuses that a command ends with: the one table for the code, the help and docs/cli.md. */

export interface Status {
  readonly code: number
  readonly when: string
  readonly example: string
}

const table = {
  ok: { code: 0, when: "it is done", example: "a job is COMPLETED" },
  failure: {
    code: 1,
    when: "RunPod refused or failed, there is no way to it, or the disk is full",
    example: "no network; an answer 500"
  },
  usage: {
    code: 2,
    when: "the command line, an input or a file is wrong; nothing was sent for it",
    example: "an unknown option; a journal that is a folder; --out that is the inputs; a port in use"
  },
  key: { code: 3, when: "there is no API key, or RunPod does not accept it", example: "RUNPOD_API_KEY is not set" },
  notFound: { code: 4, when: "there is no such endpoint, job or batch", example: "status ENDPOINT gone-u1" },
  jobFailed: { code: 5, when: "a job did not complete", example: "a job is FAILED, CANCELLED or TIMED_OUT" },
  ambiguous: {
    code: 6,
    when: "it is not known whether a job was started: it was not submitted again, look for it first",
    example: "the answer to a submit was lost"
  },
  stopped: {
    code: 7,
    when: "a time, a budget or a number of failures stopped it",
    example: "--timeout, --deadline, --max-cost, --max-failures"
  },
  SIGINT: { code: 130, when: "Ctrl-C (SIGINT)", example: "what goes on, and how to resume, is said" },
  SIGPIPE: { code: 141, when: "the reader of stdout went away", example: "… | head -n 1" },
  SIGTERM: { code: 143, when: "SIGTERM", example: "timeout 60 effect-runpod …" }
} as const satisfies Readonly<Record<string, Status>>

type Name = keyof typeof table

export const statuses: ReadonlyArray<Status> = Object.values(table)

/** The status by its name. */
export const exitCodes = Object.fromEntries(Object.entries(table).map(([name, { code }]) => [name, code])) as {
  readonly [K in Name]: (typeof table)[K]["code"]
}
