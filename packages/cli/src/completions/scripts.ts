/** Scripts that complete commands in a shell. They know all by themselves: no shell starts the program to complete its words. */
import type { Spec } from "../spec/spec.js"
import { bash } from "./bash.js"
import { fish } from "./fish.js"
import { modelOf } from "./model.js"
import { zsh } from "./zsh.js"

const scripts = { bash, fish, zsh }

export const scriptOf = (shell: "bash" | "fish" | "zsh", root: Spec): string => scripts[shell](modelOf(root))
