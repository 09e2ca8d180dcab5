/** Control characters in what the page shows are visible: each text of an element goes through here, so that no view can forget it. */
import * as TerminalText from "effect-runpod/TerminalText"
import { options, type VNode } from "preact"

/** Attributes whose value a person reads, or has read to them. */
const readable = ["title", "aria-label", "placeholder"]

/** A text of an element is a node without a type, whose properties are the text. */
const isText = ({ type }: { readonly type: unknown }): boolean => type === null

const show = (vnode: { readonly type: unknown; props: unknown }): void => {
  if (isText(vnode)) {
    if (typeof vnode.props === "string") vnode.props = TerminalText.make(vnode.props)
  } else if (typeof vnode.type === "string" && typeof vnode.props === "object" && vnode.props !== null) {
    for (const name of readable) {
      const value: unknown = Reflect.get(vnode.props, name)
      if (typeof value === "string") Reflect.set(vnode.props, name, TerminalText.make(value))
    }
  }
}

/** Makes it so for all that is drawn from here on. */
export const showAll = (): void => {
  const before = options.vnode
  options.vnode = (vnode: VNode) => {
    show(vnode)
    before?.(vnode)
  }
}
