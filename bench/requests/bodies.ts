/** Bodies of the size that real ones have. */
const prompt =
  "A lighthouse on a cliff at dusk, long exposure, the beam sweeping over a calm sea, gulls in the distance, muted colours. "

export const input = { prompt: prompt.repeat(4), steps: 28, guidance: 6.5, seed: 20241124, size: [1024, 1024] }

export const jobBody = JSON.stringify({
  delayTime: 1843,
  executionTime: 6127,
  id: "3fc91c4e-7d3c-4d25-9f0a-5a6f3f2b8f10-u1",
  output: {
    images: Array.from({ length: 4 }, (_, index) => ({
      url: `https://storage.example/results/2026/11/24/3fc91c4e-7d3c-4d25-9f0a-5a6f3f2b8f10/image-${index}.png?signature=${"5f".repeat(32)}`,
      seed: 20241124 + index,
      safe: true,
      scores: [0.981, 0.744, 0.512, 0.201]
    }))
  },
  status: "COMPLETED",
  workerId: "k3v0q2m8n1x7yz"
})

export const submitBody = JSON.stringify({ id: "3fc91c4e-7d3c-4d25-9f0a-5a6f3f2b8f10-u1", status: "IN_QUEUE" })
