/** Control characters in texts of others, made visible: see `TerminalText`. */

/** C0 but newline and tab, DEL, C1, the marks that turn the direction of a text, and halves of surrogate pairs. */
const hidden = /(?![\n\t])[\p{Cc}\p{Bidi_Control}\p{Cs}]/gu

const pictures = 0x2400
const space = 0x20

/** `␛` for ESC, `\u202e` for what Unicode has no picture of. In JSON that is the escape of the character. */
const shown = (character: string): string => {
  const code = character.charCodeAt(0)
  return code < space ? String.fromCharCode(pictures + code) : `\\u${code.toString(16).padStart(4, "0")}`
}

export const visible = (text: string): string => text.replace(hidden, shown)
