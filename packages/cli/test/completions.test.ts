import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { spawnSync } from "node:child_process"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import process from "node:process"
import { root } from "../src/app.js"
import { faults } from "../src/completions/model.js"
import { scriptOf } from "../src/completions/scripts.js"
import { Faults } from "../src/handlers/emulatorConfig.js"
import { builtIn, type Spec } from "../src/spec/spec.js"
import { programs } from "../src/spec/words.js"
import { vi } from "vitest"
import { folderOf, installed, type Shell, shells, terminal } from "./support/shells.js"

// The build defines it.
vi.hoisted(() => vi.stubGlobal("PACKAGE_VERSION", "0.0.0"))

const files = [
  "in.jsonl",
  "my file.jsonl",
  "my dir/inner one.json",
  "plain/deep.json",
  "it's.json",
  "cost$.json",
  'q"uote.json',
  "back\\slash.json",
  "a:b.json"
]
const listed = files.map((file) => file.replace(/\/.*/, "/"))
const at = (names: ReadonlyArray<string>) => names.map((name) => `@${name}`)

/** As bash writes it without quotes. */
const escaped = (word: string) => word.replaceAll(/[ '"$\\]/g, "\\$&")

const namesOf = (spec: Spec) => spec.commands.map(({ path }) => path.at(-1) ?? "")
const below = (name: string) => namesOf(root.commands.find(({ path }) => path[0] === name) ?? root)
const ofProgram = builtIn.flatMap(({ names }) => names)
const ofAll = [...ofProgram, "--output", "-o", "--progress"]
const dashboard = ["--endpoint", "--journal", "--rate", "--port", "--key-file", ...ofAll]

/** What is typed behind the name of the program, with | for a cursor that is not at its end, and what is offered. Behind a = only the value is. */
const offered: ReadonlyArray<
  readonly [
    line: string,
    offers: ReadonlyArray<string>,
    others?: Readonly<Partial<Record<Shell, ReadonlyArray<string>>>>
  ]
> = [
  // Commands.
  ["", namesOf(root)],
  ["ba", ["batch"]],
  ["batch ", below("batch")],
  ["batch r", ["report", "resume", "run"]],
  ["jobs ", below("jobs")],
  ["batch foo ", []],
  ["foo ", []],
  ["batch ru|n", ["run"]],
  ["batch r|un", ["report", "resume", "run"], { zsh: ["run"] }],
  ["batch | run", below("batch")],

  // Options.
  ["-", ofProgram],
  ["--ver", ["--version"]],
  ["batch -", ofProgram],
  ["webhooks secret -", ofAll],
  ["batch run ep --ou", ["--out", "--output"]],
  ["run ep --ou", ["--output"]],
  ["webhooks secret -o json -", ofAll.filter((name) => !/^(-o|--output)$/.test(name))],
  ["webhooks secret --output=json -", ofAll.filter((name) => !/^(-o|--output)$/.test(name))],
  ["webhooks secret --help -", ofAll.filter((name) => !/^(-h|--help)$/.test(name))],
  ["dashboard --rate 1 --journal x -", dashboard.filter((name) => name !== "--rate")],
  ["dashboard --endpoint one --end", ["--endpoint"]],
  ["dashboard ", [], { zsh: dashboard }],

  // Values.
  ["run -o ", ["text", "json", "jsonl"]],
  ["run -o js", ["json", "jsonl"]],
  ["run --output=", ["text", "json", "jsonl"]],
  ["run --output=js", ["json", "jsonl"]],
  ["run -o=js", ["json", "jsonl"]],
  ["run --progress p", ["plain"]],
  ["batch run --format c", ["csv"]],
  ["--log-level w", ["warning"]],
  ["--log-level debug ba", ["batch"]],
  ["--log-level batch ba", ["batch"]],
  ["--log-level=debug batch ru", ["run"]],
  ["run --timeout ", []],
  ["run --timeout=", []],
  ["run --timeout --", []],
  ["run --help=", []],
  ["batch run --out ", listed],
  ["batch run --out pl", ["plain/"]],
  ["batch run --out=pl", ["plain/"]],
  ["batch run --out plain/", ["plain/deep.json"]],
  ["emulator start --config ", at(listed)],
  ["emulator start --config @pl", ["@plain/"]],
  ["emulator start --config=@plain/", ["@plain/deep.json"]],
  ["emulator start --config x", []],
  ["emulator start --faults ", [...at(listed), ...faults], { bash: [...at(listed).map(escaped), ...faults] }],
  ["webhooks verify url --body @in", ["@in.jsonl"]],

  // Arguments.
  ["status ", []],
  ["status ep ", []],
  ["emulator start one ", []],
  ["completions ", ["bash", "fish", "zsh"]],
  ["completions z", ["zsh"]],
  ["batch run ", []],
  ["batch run ep ", listed],
  ["batch run ep in", ["in.jsonl"]],
  ["batch run --key run --format csv --force ep --out x in", ["in.jsonl"]],
  ["batch run ep x in", []],
  ["batch resume in", ["in.jsonl"]],
  ["batch resume x in", ["in.jsonl"]],
  ["flight inspect in", ["in.jsonl"]],
  ["jobs sweep ep x y in", ["in.jsonl"]],
  ["run ep ", at(listed)],
  ["run ep @in", ["@in.jsonl"]],
  ["run ep in", []],

  // Behind -- there are no options.
  ["-- ", []],
  ["batch run -- ", []],
  ["batch run -- ep in", ["in.jsonl"]],
  ["batch run ep -- --", []],
  ["batch run --out -- ep in", ["in.jsonl"]],

  // Redirections.
  ["batch run ep > in", ["in.jsonl"]],
  ["batch run ep 2>in", ["in.jsonl"]],
  ["batch run ep > x --form", ["--format"]]
]

/** What is typed before a Tab and Enter, and what the program gets. Of a file's path it is what the shell would open. */
const typed: ReadonlyArray<readonly [line: string, gets: ReadonlyArray<string>, not?: ReadonlyArray<Shell>]> = [
  ["ba", ["batch"]],
  ['"ba', ["batch"]],
  ["batch run ep my\\ f", ["batch", "run", "ep", "my file.jsonl"]],
  ['batch run ep "my f', ["batch", "run", "ep", "my file.jsonl"]],
  ["batch run ep 'my f", ["batch", "run", "ep", "my file.jsonl"]],
  ['batch run ep my" f', ["batch", "run", "ep", "my file.jsonl"]],
  ["batch run ep it", ["batch", "run", "ep", "it's.json"]],
  ['batch run ep "it', ["batch", "run", "ep", "it's.json"]],
  // Zsh leaves the quote open, whatever it completes.
  ["batch run ep 'it", ["batch", "run", "ep", "it's.json"], ["zsh"]],
  ["batch run ep cost", ["batch", "run", "ep", "cost$.json"]],
  ['batch run ep "cost', ["batch", "run", "ep", "cost$.json"]],
  ["batch run ep q", ["batch", "run", "ep", 'q"uote.json']],
  ['batch run ep "q', ["batch", "run", "ep", 'q"uote.json']],
  ["batch run ep bac", ["batch", "run", "ep", "back\\slash.json"]],
  ['batch run ep "bac', ["batch", "run", "ep", "back\\slash.json"]],
  ["batch run ep a", ["batch", "run", "ep", "a:b.json"]],
  ["batch run ep a:", ["batch", "run", "ep", "a:b.json"]],
  ["batch run ep my\\ dir/i", ["batch", "run", "ep", "my dir/inner one.json"]],
  ['batch run ep "my dir/', ["batch", "run", "ep", "my dir/inner one.json"]],
  ["batch run ep ~/in", ["batch", "run", "ep", "FILES/in.jsonl"]],
  ["batch run ep $HOME/a:", ["batch", "run", "ep", "FILES/a:b.json"]],
  // Tab expands the variable in zsh.
  ['batch run ep "$HOME/in', ["batch", "run", "ep", "FILES/in.jsonl"], ["zsh"]],
  ["batch run --format=j", ["batch", "run", "--format=jsonl"]],
  ["batch run --out=my\\ f", ["batch", "run", "--out=my file.jsonl"]],
  ['batch run --out="my f', ["batch", "run", "--out=my file.jsonl"]],
  ["emulator start --config @my\\ f", ["emulator", "start", "--config", "@my file.jsonl"]],
  ['emulator start --config "@my f', ["emulator", "start", "--config", "@my file.jsonl"]],
  ["emulator start --config=@it", ["emulator", "start", "--config=@it's.json"]],
  ['emulator start --faults \'[{"_tag":"Rat', ["emulator", "start", "--faults", '[{"_tag":"RateLimited"}]']],
  ['emulator start --faults "[{\\"_tag\\":\\"Del', ["emulator", "start", "--faults", '[{"_tag":"Delay","by":1000}]']],
  ['emulator start --faults=\'[{"_tag":"Rat', ["emulator", "start", '--faults=[{"_tag":"RateLimited"}]']],
  ["run ep @a", ["run", "ep", "@a:b.json"]],
  ["run --out| --output json", ["run", "--out", "--output", "json"]]
]

const left = "\u0002"

/** As keys: the cursor goes back to where it is wanted. */
const keysOf = (line: string) => {
  const cursor = line.indexOf("|")
  return cursor === -1 ? line : line.replace("|", "") + left.repeat(line.length - 1 - cursor)
}

/** What is offered, without what the shells write differently: the name of an option before its value, and quotes. */
const plain = (words: ReadonlyArray<string>) =>
  words
    .map((word) => word.replace(/^--?[a-z-]+=/, "").replace(/^'(.*)'$/, "$1"))
    // Zsh lines options up with blank ones.
    .filter((word) => word.trim() !== "")
    .sort()

/** Of many offers zsh has folders without their slash when it inserts all. */
const wanted = (shell: Shell, words: ReadonlyArray<string>) =>
  words.map((word) => (shell === "zsh" && words.length > 1 ? word.replace(/\/$/, "") : word)).sort()

/** What a shell says when something of a script is wrong. */
const complaints = /effect_runpod|unbound|not set|not found|bad |syntax/i

interface Asked {
  readonly shell: Shell
  readonly settings?: string
  readonly completions?: string
}

/** Types all lines of `typed`, with what the shell is set to before. */
const inserts = ({ completions, settings = "", shell }: Asked) =>
  Effect.gen(function* () {
    yield* installed(shell)
    const script = scriptOf(shell, root)
    const place = yield* folderOf(files)
    writeFileSync(join(place.folder, "_effect-runpod"), script)
    const { shown, type } = yield* terminal({ shell, completions: completions ?? script, place, settings })
    for (const [line, gets, not = []] of typed) {
      if (not.includes(shell)) continue
      const got = yield* type(`${keysOf(`erp ${line}`)}\t\r`)
      assert.deepEqual(
        got,
        gets.map((word) => word.replace("FILES", place.files)),
        line
      )
    }
    assert.notMatch(shown(), complaints)
  }).pipe(Effect.scoped)

describe.concurrent.each(shells)("in %s", (shell) => {
  it.live.each(programs)("%s is offered what may stand at the cursor", (program) =>
    Effect.gen(function* () {
      yield* installed(shell)
      const place = yield* folderOf(files)
      const { shown, type } = yield* terminal({ shell, completions: scriptOf(shell, root), place })
      for (const [line, offers, others] of offered) {
        const got = yield* type(`${keysOf(`${program} ${line}`)}\u0007`)
        assert.deepEqual(plain(got), wanted(shell, others?.[shell] ?? offers), line)
      }
      assert.notMatch(shown(), complaints)
    }).pipe(Effect.scoped)
  )

  it.live("what is inserted reaches the program as it was meant", () => inserts({ shell }))
})

describe.concurrent("however the shell is set", () => {
  it.live.each([
    "set -euf; set -o posix; IFS=':=@'; shopt -s nocasematch failglob",
    "COMP_WORDBREAKS=${COMP_WORDBREAKS//[=:@]}",
    "unset COMP_WORDBREAKS"
  ])("bash completes after %s", (settings) => inserts({ shell: "bash", settings }))

  it.live.each([
    "IFS=':=@'; setopt nounset ksharrays shglob shwordsplit noglob errreturn warncreateglobal",
    "setopt completeinword globsubst kshglob noextendedglob; zstyle ':completion:*' format %d"
  ])("zsh completes after %s", (settings) => inserts({ shell: "zsh", settings }))

  it.live("zsh completes by a file in fpath", () =>
    inserts({ shell: "zsh", completions: "", settings: "fpath=($ZDOTDIR $fpath); compinit -D -u" })
  )
})

/** Runs lines of a shell that nobody types to. */
const printed = (shell: Shell, text: string) =>
  Effect.gen(function* () {
    yield* installed(shell)
    const { files: cwd, folder } = yield* folderOf(files)
    writeFileSync(join(folder, "script"), scriptOf(shell, root))
    const flags = { bash: ["--noprofile", "--norc"], fish: ["--no-config"], zsh: ["-f"] }[shell]
    const env = { PATH: process.env["PATH"], HOME: cwd, SCRIPT: join(folder, "script") }
    const { stderr, stdout } = spawnSync(shell, [...flags, "-c", text], { cwd, encoding: "utf8", env })
    assert.strictEqual(stderr, "")
    return stdout.split("\n").filter((line) => line !== "")
  }).pipe(Effect.scoped)

describe.concurrent("a script", () => {
  it.live.each([
    ["bash", "compgen -A function; compgen -A variable"],
    ["fish", "functions --all --names; set --names"],
    ["zsh", "print -l ${(k)functions}; print -l ${(k)parameters}"]
  ] as const)("of %s defines no name but its own", ([shell, names]) =>
    Effect.gen(function* () {
      const lines = yield* printed(shell, `${names}\necho ---\nsource $SCRIPT\n${names}`)
      const before = lines.slice(0, lines.indexOf("---"))
      const added = lines.slice(before.length + 1).filter((name) => !before.includes(name))
      assert.include(added, "_effect_runpod")
      assert.deepEqual(
        added.filter((name) => !name.startsWith("_effect_runpod") && name !== "_"),
        []
      )
    })
  )

  it.live("of bash answers whoever calls its function, however words are cut", () =>
    Effect.gen(function* () {
      const calls: ReadonlyArray<readonly [says: string, words: string, rest: string, offers: string]> = [
        ["as bash cuts", "erp run --output = js", "COMP_LINE='erp run --output=js'; call erp js =", "json jsonl"],
        ["without what bash says", "erp run --output = js", "COMP_LINE='erp run --output=js'; call", "json jsonl"],
        ["without a line", "erp run --output = js", "call", "json jsonl"],
        ["behind =", "erp run --output =", "COMP_LINE='erp run --output='; call erp '' --output", "text json jsonl"],
        [
          "cut at blanks",
          "erp run --output=js",
          "COMP_LINE='erp run --output=js'; call",
          "--output=json --output=jsonl"
        ],
        ["files", "erp batch run ep pl", "COMP_LINE='erp batch run ep pl'; call", "plain/"],
        ["behind @", "erp run ep @in", "COMP_LINE='erp run ep @in'; call", "@in.jsonl"],
        ["behind @ by itself", "erp run ep @ in", "COMP_LINE='erp run ep @in'; call erp @in @", "@in.jsonl"],
        ["a quote", `erp batch run ep "'in"`, `COMP_LINE="erp batch run ep 'in"; call`, "in.jsonl"],
        ["a backslash", `erp batch run ep 'in\\'`, `COMP_LINE='erp batch run ep in\\'; call`, "in.jsonl"],
        ["a part", "erp batch run", "COMP_LINE='erp batch run'; COMP_POINT=12; call erp ru batch", "run"],
        [
          "an open quote",
          `erp emulator start --faults "'["`,
          `COMP_LINE="erp emulator start --faults '["; call`,
          faults.join(" ")
        ],
        ["a space", "erp batch ''", "COMP_LINE='erp batch '; call", "run resume list inspect report"]
      ]
      const lines = yield* printed(
        "bash",
        String.raw`set -euf
unset COMP_WORDBREAKS
IFS=:r
source "$SCRIPT"
call() { COMP_CWORD=$(( ${"$"}{#COMP_WORDS[@]} - 1 )); _effect_runpod "$@"; IFS=' '; echo "${"$"}{COMPREPLY[*]-}"; IFS=:r; unset COMP_LINE COMP_POINT; }
${calls.map(([, words, rest]) => `COMP_WORDS=(${words}); ${rest}`).join("\n")}`
      )
      assert.deepEqual(
        lines.map((line, i) => `${calls[i]?.[0]}: ${line}`),
        calls.map(([says, , , offers]) => `${says}: ${offers}`)
      )
    })
  )

  it.live("of fish and zsh says what commands and options are for", () =>
    Effect.gen(function* () {
      const says = "Go on with a batch: what"
      const lines = yield* printed("fish", "source $SCRIPT; complete -C 'erp batch re'; complete -C 'erp -'")
      assert.isTrue(lines.some((line) => line.startsWith(`resume\t${says}`)))
      assert.include(lines, "--version\tShow the version")
      const place = yield* folderOf(files)
      const { shown, type } = yield* terminal({ shell: "zsh", completions: scriptOf("zsh", root), place })
      yield* type("erp batch re\t\u0007")
      yield* type("erp -\t\u0007")
      assert.match(shown(), new RegExp(`resume +-- ${says}`))
      assert.match(shown(), /--help +-h +-- Show this help/)
    }).pipe(Effect.scoped)
  )

  it("offers faults that the emulator accepts", () => {
    const decoded = faults.map((text) => Schema.decodeUnknownSync(Schema.parseJson(Faults))(text))
    assert.strictEqual(decoded.length, Faults.value.members.length)
    assert.include(faults, '[{"_tag":"RateLimited"}]')
  })
})
