/**
 * Texts that a terminal may be given: what a worker, a server, a file or an input has put into them cannot drive it.
 *
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"
import { visible } from "../internal/text/visible.js"

/**
 * A text without control characters, but newlines and tabs. A function that writes to a terminal takes this type, so that nobody
 * can forget `make`.
 *
 * @since 0.1.0
 * @category models
 */
export type TerminalText = string & Brand.Brand<"TerminalText">

/**
 * Makes control characters visible: C0 but newline and tab as their pictures (`␛[31m`), and DEL, C1, the marks that change the direction of
 * a text (Unicode's `Bidi_Control`) and halves of surrogate pairs as escapes (`\u202e`). A text without them is returned as it is. The messages
 * of this library's errors have gone through it. Apply it where a text is shown, never to what is stored: it cannot be undone.
 *
 * @example
 * ```ts
 * import { TerminalText } from "effect-runpod"
 *
 * console.log(TerminalText.make("\u001b]0;a title\u0007")) // ␛]0;a title␇
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (text: string): TerminalText => visible(text) as TerminalText

/**
 * As `make`, on one line: a line end or a tab is a space, so that a text cannot look like the next row of a list.
 *
 * @since 0.1.0
 * @category constructors
 */
export const oneLine = (text: string): TerminalText => make(text.replace(/\r\n|[\r\n\t]/g, " "))
