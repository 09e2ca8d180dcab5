/** Who gave an answer, by what it says. */
import { assert, it } from "@effect/vitest"
import { type Asked, intercepted, startsAsPage, storeErrorIn, verdictOf } from "../../src/blob/internal/answer.js"

const marked = { "x-amz-request-id": "4442587FB7D0A2F9" }
const html = { "content-type": "text/html; charset=utf-8" }
const xml = { "content-type": "application/xml" }
const etag = { etag: '"1"' }
const md5 = { etag: `"${"0123456789abcdef".repeat(2)}"` }
const length = { "content-length": "9" }
const result = "<CompleteMultipartUploadResult><ETag>1</ETag></CompleteMultipartUploadResult>"

it("who gave an answer is told by its status, its headers, and what must be in it", () => {
  type Evidence = Parameters<typeof verdictOf>[2]
  const table: ReadonlyArray<readonly [ReturnType<typeof verdictOf>, Asked, number, object, Evidence?]> = [
    ["Store", "Put", 200, etag, { sameness: "Same" }],
    ["Store", "Put", 200, { ...etag, ...html }, { sameness: "Same" }],
    ["Store", "Put", 200, { ...etag, ...marked }],
    ["Store", "Put", 200, { ...etag, ...marked, ...html, "content-length": "0" }],
    ["Doubtful", "Put", 200, etag, { text: "" }],
    ["Other", "Put", 200, etag, { text: "{}" }],
    ["Other", "Put", 200, etag, { sameness: "Other" }],
    ["Other", "Put", 200, { ...etag, ...marked, ...html }],
    ["Other", "Put", 200, {}],
    ["Store", "Part", 200, etag, { text: "" }],
    ["Other", "Part", 200, {}, { text: "" }],
    ["Store", "Complete", 200, html, { text: result }],
    ["Store", "Complete", 200, {}, { text: "<Error><Code>SlowDown</Code></Error>" }],
    ["Store", "Complete", 200, xml, { text: "<html>" }],
    ["Other", "Complete", 200, html, { text: "<html>" }],
    ["Other", "Create", 200, {}, { text: result }],
    ["Store", "Remove", 204, {}],
    ["Store", "Remove", 200, marked, { text: "" }],
    ["Doubtful", "Remove", 200, {}, { text: "" }],
    ["Doubtful", "Remove", 204, html, { text: "" }],
    ["Other", "Remove", 200, html, { text: "<html>" }],
    ["Store", "Head", 200, { ...etag, ...marked, ...html }],
    ["Doubtful", "Head", 200, etag],
    ["Other", "Head", 200, length],
    ["Store", "Get", 200, { ...md5, ...length, "content-type": "image/png" }],
    ["Store", "Get", 200, { ...md5, "transfer-encoding": "chunked" }],
    ["Store", "Get", 200, { etag: `W/${md5.etag}`, ...length }],
    ["Store", "Get", 200, { etag: md5.etag.replace(/"$/, '-12"'), ...length }],
    ["Doubtful", "Get", 200, { ...etag, ...length }],
    ["Store", "Get", 200, { ...etag, ...length, ...marked }],
    ["Store", "Link", 200, { ...etag, ...length }],
    ["Doubtful", "Link", 200, { ...etag, ...length, ...html }],
    ["Other", "Link", 200, length],
    ["Doubtful", "Get", 200, { ...md5, ...length, ...html }],
    ["Doubtful", "Get", 200, { ...md5, ...length, "content-type": "image/png" }, { size: 10 }],
    ["Store", "Get", 200, { ...etag, ...length, ...marked }, { size: 10 }],
    ["Other", "Get", 200, { ...etag, "content-type": "image/png" }],
    ["Other", "Get", 200, { ...length, ...marked, ...html }],
    // A refusal is believed, but for a page. What a gateway says of a failure is one.
    ["Store", "Get", 403, xml],
    ["Store", "Head", 404, {}],
    ["Store", "Get", 403, { ...html, ...marked }],
    ["Other", "Get", 403, html],
    ["Store", "Put", 429, html],
    ["Store", "Put", 413, html],
    ["Store", "Put", 502, html],
    ["Other", "Put", 511, html],
    ["Other", "Put", 407, {}],
    ["Store", "Get", 301, xml],
    ["Store", "Get", 307, marked],
    ["Other", "Get", 302, {}],
    ["Other", "Get", 302, { "x-amz-cf-id": "1" }]
  ]
  for (const row of table) {
    const [verdict, asked, status, headers, evidence] = row
    assert.strictEqual(verdictOf(asked, { status, headers: { ...headers } }, evidence), verdict, JSON.stringify(row))
  }
})

it("a body is a page or a store's error by its beginning", () => {
  for (const text of ["<!DOCTYPE html>", "\ufeff \n<html lang=en>", "<!-- x --> <!-- y -->\n<HEAD>", "<body>"]) {
    assert.isTrue(startsAsPage(text), text)
  }
  for (const text of ["", "html", "<svg>", "{}", "<htmlx>", "<!-- <html>"]) assert.isFalse(startsAsPage(text), text)
  assert.deepStrictEqual(
    storeErrorIn(
      '<?xml version="1.0"?>\n <Error><Code>A</Code><Message>b &lt;c&gt;\n d</Message><Expires>e</Expires></Error>'
    ),
    { code: "A", message: "b <c> d", expires: "e" }
  )
  for (const text of ["<Error/>", "<Errors><Code>A</Code></Errors>", "x<Error><Code>A</Code></Error>"]) {
    assert.isUndefined(storeErrorIn(text))
  }
  // In time that grows with their length.
  const start = performance.now()
  for (const unit of ["<!---->", "<!--", "<title", "<Code>", "<?xml "]) {
    const text = unit.repeat(20_000)
    startsAsPage(text)
    storeErrorIn(`<Error>${text}`)
    intercepted({ operation: "head" }, { status: 200, headers: {} }, text, { scrub: (text) => text })
  }
  assert.isBelow(performance.now() - start, 2000)
})

it("what a page says of itself is short, on one line, and scrubbed", () => {
  const title = `<title>${"KqZwTv ".repeat(100)}\u001b[31m\u202e</title>`
  const scrub = (text: string) => text.replaceAll("KqZwTv", "<redacted>")
  const { message } = intercepted({ operation: "head" }, { status: 200, headers: html }, title, { scrub })
  assert.notInclude(message, "KqZwTv")
  assert.isBelow(message.length, 700)
  assert.notInclude(message, "\n")
  assert.notInclude(message, "\u001b")
})
