/** The defaults of a wait; documented at `WaitOptions`. */
export const waitDefaults = {
  timeout: "24 hours",
  hold: "90 seconds",
  progressInterval: "6 seconds",
  diagnoseAfter: 3,
  cancelGrace: "10 seconds",
  poll: { initial: "3 seconds", interval: "6 seconds", ageShare: 0.1, cap: "1 minute" }
} as const
