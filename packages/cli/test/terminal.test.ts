import { describe, expect, it } from "@effect/vitest"
import { linesOf, svgOf } from "../../../scripts/terminal.mjs"

describe("a picture of a terminal", () => {
  it("has each row for as long as it stood there", () => {
    const written = [
      { at: 0, text: "$ run\r\n" },
      { at: 1, text: "\r\u001b[2K1 of 2\u001b[0m" },
      { at: 2, text: "\r\u001b[2K2 of 2" },
      { at: 3, text: "^C\r\nabcdefghijkl" }
    ]
    expect([...linesOf(written, 10)].sort((a, b) => a.from - b.from || a.row - b.row)).toEqual([
      { row: 0, text: "$ run", from: 0 },
      { row: 1, text: "1 of 2", from: 1, to: 2 },
      { row: 1, text: "2 of 2", from: 2, to: 3 },
      { row: 1, text: "2 of 2^C", from: 3 },
      { row: 2, text: "abcdefghij", from: 3 },
      { row: 3, text: "kl", from: 3 }
    ])
  })

  it("shows the end where it does not play, and what was printed as text", () => {
    const svg = svgOf(
      [
        { at: 0, text: "$ <script>" },
        { at: 1, text: "\r\u001b[2Kend" }
      ],
      { columns: 20, title: "A & B" }
    )
    expect(svg).toContain("<title>A &amp; B</title>")
    expect(svg).toMatch(/visibility="hidden"><set [^>]*begin="0s" end="1s"\/>\$ &lt;script&gt;<\/text>/)
    expect(svg).toMatch(/<set attributeName="visibility" to="hidden" begin="0s" end="1s"\/>end<\/text>/)
  })
})
