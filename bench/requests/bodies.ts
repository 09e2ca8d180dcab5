/** Bodies of the size that real ones have. */
const prompt =
  "A lighthouse on a cliff at dusk, long exposure, the beam sweeping over a calm sea, gulls in the distance, muted colours. "

export const input = { prompt: prompt.repeat(4), steps: 28, guidance: 6.5, seed: 20241124, size: [1024, 1024] }

const endedJob = (id: string, output: unknown): string =>
  JSON.stringify({
    delayTime: 1843,
    executionTime: 6127,
    id,
    output,
    status: "COMPLETED",
    workerId: "k3v0q2m8n1x7yz"
  })

export const jobIds = {
  "1.5 KB": "3fc91c4e-7d3c-4d25-9f0a-5a6f3f2b8f10-u1",
  "200 B": "b1d7c6f2-04a9-4c83-8a57-6e2f9d30c741-u1"
}

/** What the status of a job answers, by the job's id. */
export const jobBodies: { readonly [jobId: string]: string } = {
  [jobIds["1.5 KB"]]: endedJob(jobIds["1.5 KB"], {
    images: Array.from({ length: 4 }, (_, index) => ({
      url: `https://storage.example/results/2026/11/24/${jobIds["1.5 KB"]}/image-${index}.png?signature=${"5f".repeat(32)}`,
      seed: 20241124 + index,
      safe: true,
      scores: [0.981, 0.744, 0.512, 0.201]
    }))
  }),
  [jobIds["200 B"]]: endedJob(jobIds["200 B"], { text: "A lighthouse on a cliff at dusk.", tokens: 9 })
}

export const submitBody = JSON.stringify({ id: jobIds["1.5 KB"], status: "IN_QUEUE" })
