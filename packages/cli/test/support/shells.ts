/** Shells as a user has them: on a pseudo-terminal, with keys that are typed. */
import * as Effect from "effect/Effect"
import { spawn, spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"

export const shells = ["bash", "fish", "zsh"] as const
export type Shell = (typeof shells)[number]

/** What begins and ends an answer on the terminal, and what follows each of its words. */
const [begin, end, after] = ["\u0001", "\u0002", "\u001f"]

const here = fileURLToPath(new URL("shells/", import.meta.url))

const commands: Readonly<Record<Shell, (folder: string) => string>> = {
  bash: () => `exec bash --noprofile --rcfile ${here}bashrc -i`,
  fish: () => `exec fish --no-config --interactive --init-command 'source ${here}config.fish'`,
  zsh: (folder) => `ZDOTDIR=${folder} exec zsh -i`
}

/** Fails if a shell is missing. */
export const installed = (shell: Shell) =>
  Effect.sync(() => {
    if (spawnSync(shell, ["--version"]).status === 0) return
    throw new Error(`There is no ${shell} here. Install the shells with: bash scripts/shells.sh`)
  })

/** A folder of files, and one for settings beside it. They go with the scope. */
export const folderOf = (files: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = mkdtempSync(join(tmpdir(), "effect-runpod-shells-"))
      for (const file of files) {
        mkdirSync(join(folder, "files", dirname(file)), { recursive: true })
        writeFileSync(join(folder, "files", file), "")
      }
      copyFileSync(`${here}zshrc`, join(folder, ".zshrc"))
      return { files: join(folder, "files"), folder }
    }),
    ({ folder }) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
  )

export interface Options {
  readonly shell: Shell
  readonly completions: string
  /** Where it starts, and what is its home. */
  readonly place: { readonly files: string; readonly folder: string }
  /** What it runs before the completions. */
  readonly settings?: string
}

export interface Terminal {
  /** Types keys, and waits for the answer of the shell. */
  readonly type: (keys: string) => Effect.Effect<ReadonlyArray<string>>
  /** All that has been on the terminal. */
  readonly shown: () => string
}

/** Starts a shell; it ends with the scope. */
export const terminal = ({ completions, place, settings = "", shell }: Options) =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn("script", ["-qec", commands[shell](place.folder), "/dev/null"], {
          cwd: place.files,
          env: {
            PATH: process.env["PATH"],
            HOME: place.files,
            TERM: "dumb",
            LC_ALL: "C.UTF-8",
            SHELL: "/bin/sh",
            COMPLETIONS: completions,
            SETTINGS: settings
          },
          stdio: ["pipe", "pipe", "ignore"]
        })
      ),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    let text = ""
    let seen = 0
    let look = () => {}
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk
      look()
    })
    const answer = Effect.async<ReadonlyArray<string>>((resume) => {
      look = () => {
        const from = text.indexOf(begin, seen)
        const to = text.indexOf(end, from)
        if (from === -1 || to === -1) return
        look = () => {}
        seen = to
        resume(
          Effect.succeed(
            text
              .slice(from + 1, to)
              .split(after)
              .slice(0, -1)
          )
        )
      }
      look()
    }).pipe(
      Effect.timeoutFail({
        duration: "10 seconds",
        onTimeout: () => new Error(`${shell} does not answer. The end of its terminal:\n${text.slice(-2000)}`)
      }),
      Effect.orDie
    )
    yield* answer
    const type = (keys: string) =>
      Effect.suspend(() => {
        child.stdin.write(keys)
        return answer
      })
    return { type, shown: () => text } satisfies Terminal
  })
