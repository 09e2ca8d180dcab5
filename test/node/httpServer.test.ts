import { assert, describe, it } from "@effect/vitest"
import { originOf } from "../../src/node/internal/httpServer.js"

describe("where this machine reaches a server", () => {
  it.each([
    ["127.0.0.1", "http://127.0.0.1:80"],
    ["0.0.0.0", "http://127.0.0.1:80"],
    ["::", "http://[::1]:80"],
    ["fe80::1", "http://[fe80::1]:80"],
    ["receiver.internal", "http://receiver.internal:80"]
  ])("that listens on %s", (host, origin) => assert.strictEqual(originOf({ host, port: 80 }), origin))
})
