/** The connection of the page, without a browser. */
import { describe, expect, it } from "@effect/vitest"
import { FastCheck } from "effect"
import { type Command, type Event, initial, next, type State } from "../src/page/connection.js"

const waiting = (failures: number): State => ({ _tag: "Waiting", life: "a", failures, since: 0 })
const connecting: State = { _tag: "Connecting", life: "a", failures: 2, since: 0 }
const live: State = { _tag: "Live", life: "a", heartbeat: 5_000, heardAt: 0 }
const begun = (life: string, at = 1): Event => ({ _tag: "Begun", at, life, heartbeat: 5_000 })
const at = (_tag: Exclude<Event["_tag"], "Begun">, time: number): Event => ({ _tag, at: time })

describe("the connection of the page", () => {
  const table: ReadonlyArray<readonly [string, State, Event, State["_tag"], ReadonlyArray<Command>]> = [
    ["asks for a stream at once", initial, at("Woken", 1), "Connecting", ["Connect"]],
    ["pauses after a failure", waiting(1), at("Ticked", 900), "Waiting", []],
    ["connects after the pause", waiting(1), at("Ticked", 1_000), "Connecting", ["Connect"]],
    ["pauses longer after more failures", waiting(3), at("Ticked", 3_999), "Waiting", []],
    ["never pauses for more than 5 seconds", waiting(1_000), at("Ticked", 5_000), "Connecting", ["Connect"]],
    ["ends the pause when the page is seen again", waiting(9), at("Woken", 1), "Connecting", ["Connect"]],
    ["ends the pause when the clock was set back", waiting(9), at("Ticked", -1), "Connecting", ["Connect"]],
    ["closes what has failed", connecting, at("Failed", 1), "Waiting", ["Close"]],
    ["waits for a stream", connecting, at("Ticked", 2_999), "Connecting", []],
    ["does not wait for a stream for ever", connecting, at("Ticked", 3_000), "Connecting", ["Connect"]],
    ["waits longer for a slow server", { ...connecting, failures: 6 }, at("Ticked", 29_999), "Connecting", []],
    ["goes on with the same server", connecting, begun("a"), "Live", []],
    ["starts anew with another server", connecting, begun("b"), "Live", ["Renew"]],
    ["starts anew with the first server", { ...connecting, life: undefined }, begun("a"), "Live", ["Renew"]],
    ["leaves a stream that is heard", live, at("Ticked", 14_999), "Live", []],
    ["leaves a stream that is silent for three heartbeats", live, at("Ticked", 15_000), "Connecting", ["Connect"]],
    ["wakes up after a night", live, at("Woken", 8 * 3_600_000), "Connecting", ["Connect"]],
    ["connects at once when it wakes after two heartbeats", live, at("Woken", 10_000), "Connecting", ["Connect"]],
    ["keeps a stream that was heard when the page is seen again", live, at("Woken", 5_100), "Live", []],
    ["pauses after a stream has ended", live, at("Failed", 1), "Waiting", ["Close"]],
    ["follows another source", live, at("Turned", 1), "Connecting", ["Connect"]],
    ["follows another source while it waits", waiting(9), at("Turned", 1), "Connecting", ["Connect"]]
  ]
  for (const [what, state, event, tag, commands] of table) {
    it(what, () => {
      const [after, does] = next(state, event)
      expect([after._tag, does]).toEqual([tag, commands])
    })
  }

  it("is not silent as long as something comes", () => {
    const [heard] = next(live, at("Heard", 14_000))
    expect(next(heard, at("Ticked", 28_999))).toEqual([heard, []])
  })

  const time = FastCheck.integer({ min: -100_000, max: 100_000 })
  const events: FastCheck.Arbitrary<Event> = FastCheck.oneof(
    FastCheck.record({
      _tag: FastCheck.constant("Begun" as const),
      at: time,
      life: FastCheck.constantFrom("a", "b"),
      heartbeat: FastCheck.constant(5_000)
    }),
    FastCheck.record({
      _tag: FastCheck.constantFrom(
        "Heard" as const,
        "Failed" as const,
        "Ticked" as const,
        "Woken" as const,
        "Turned" as const
      ),
      at: time
    })
  )

  it.prop(
    "has a stream but while it waits, renews what it shows for another life only, and connects again by itself whatever has happened",
    { history: FastCheck.array(events, { maxLength: 60 }) },
    ({ history }) => {
      let state = initial
      let hasStream = false
      for (const event of history) {
        const [after, commands] = next(state, event)
        if (commands.includes("Connect")) hasStream = true
        if (commands.includes("Close")) hasStream = false
        expect(hasStream).toBe(after._tag !== "Waiting")
        expect(commands.includes("Renew")).toBe(after.life !== state.life)
        if (after._tag === "Live") expect(after.life).toBeDefined()
        state = after
      }
      const last = history.at(-1)?.at ?? 0
      const later = [1, 31_000].flatMap((passed) => next(state, at("Ticked", last + 100_000 + passed))[1])
      expect(later).toContain("Connect")
    }
  )
})
