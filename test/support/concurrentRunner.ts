import type { SerializedConfig } from "vitest"
import { VitestTestRunner } from "vitest/runners"

/**
 * Runs the tests of a file side by side, except those under `describe.sequential`: most do little but sleep, within TestClock,
 * which takes milliseconds for each wake-up. Vitest takes `sequence.concurrent` for all projects or none.
 */
export default class ConcurrentRunner extends VitestTestRunner {
  constructor(config: SerializedConfig) {
    super({ ...config, sequence: { ...config.sequence, concurrent: true } })
  }
}
