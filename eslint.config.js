// @ts-check
import { builtinModules } from "node:module"
import { dirname, relative, resolve } from "node:path"
import js from "@eslint/js"
import tseslint from "typescript-eslint"
import { barrelMay, blobPeers, roomOf, rooms, root } from "./scripts/layout.mjs"

/**
 * The direction of imports, as `scripts/layout.mjs` has it, and Node only in `src/node`.
 *
 * @type {import("eslint").Rule.RuleModule}
 */
const importDirection = {
  meta: {
    type: "problem",
    schema: [],
    messages: {
      direction: "src/{{ from }} may not import {{ to }}: see the order of the rooms in scripts/layout.mjs.",
      typesOnly: "src/{{ from }} may import only types from {{ to }}.",
      node: "{{ to }} is Node's: import it in src/node only.",
      blob: "{{ to }} is for src/blob only.",
      outside: "{{ to }} lies outside of src.",
      stranger: "src/{{ from }} lies in no room of scripts/layout.mjs."
    }
  },
  create(context) {
    const src = resolve(root, "src")
    const from = relative(src, context.filename).replaceAll("\\", "/").replace(/\.ts$/, "")
    const room = roomOf(from)
    const direction = room === "" ? { may: barrelMay, types: [] } : rooms[room]

    /**
     * @param {import("estree").Node} node
     * @param {unknown} specifier
     * @param {boolean} onlyTypes
     */
    const check = (node, specifier, onlyTypes) => {
      if (typeof specifier !== "string") return
      if (!specifier.startsWith(".")) {
        const isNode =
          specifier.startsWith("node:") ||
          builtinModules.includes(specifier) ||
          /^(?:undici|@effect\/platform-node(?:-shared)?)(?:\/|$)/.test(specifier)
        if (isNode && room !== "node") context.report({ node, messageId: "node", data: { to: specifier } })
        if (blobPeers.test(specifier) && room !== "blob")
          context.report({ node, messageId: "blob", data: { to: specifier } })
        return
      }
      const to = relative(src, resolve(dirname(context.filename), specifier))
        .replaceAll("\\", "/")
        .replace(/\.js$/, "")
      if (to.startsWith("..")) {
        context.report({ node, messageId: "outside", data: { to: specifier } })
        return
      }
      const target = roomOf(to)
      if (target === "node" && room !== "node") {
        context.report({ node, messageId: "node", data: { to } })
        return
      }
      if (direction === undefined || target === room || direction.may.includes(target)) return
      if (!direction.types?.includes(target)) {
        context.report({ node, messageId: "direction", data: { from, to } })
      } else if (!onlyTypes) {
        context.report({ node, messageId: "typesOnly", data: { from, to } })
      }
    }

    /** @param {any} node */
    const checkDeclaration = (node) => {
      const names = node.specifiers ?? []
      const onlyTypes =
        node.importKind === "type" ||
        node.exportKind === "type" ||
        (names.length > 0 &&
          names.every((/** @type {any} */ name) => name.importKind === "type" || name.exportKind === "type"))
      check(node, node.source?.value, onlyTypes)
    }

    return {
      Program: (/** @type {any} */ node) => {
        if (direction === undefined) context.report({ node, messageId: "stranger", data: { from } })
      },
      ImportDeclaration: checkDeclaration,
      ExportNamedDeclaration: checkDeclaration,
      ExportAllDeclaration: checkDeclaration,
      ImportExpression: (/** @type {any} */ node) => check(node, node.source.value, false),
      TSImportType: (/** @type {any} */ node) => check(node, node.source?.value ?? node.argument?.literal?.value, true)
    }
  }
}

/**
 * An effect, stream or layer that is a statement of its own never runs. Fibers and exits (which have a
 * `_tag`) are effects too, but come from something that has run.
 *
 * @type {import("eslint").Rule.RuleModule}
 */
const noFloatingEffect = {
  meta: {
    type: "problem",
    schema: [],
    messages: { floating: "This is never run: yield* it, return it, or pipe it into something that is." }
  },
  create(context) {
    const { getTypeAtLocation } = context.sourceCode.parserServices
    return {
      "ExpressionStatement > CallExpression, ExpressionStatement > ChainExpression > CallExpression": (
        /** @type {any} */ node
      ) => {
        /** @type {import("typescript").Type} */
        const type = getTypeAtLocation(node).getNonNullableType()
        const ids = type.getProperties().map((property) => /^__@(\w+?)TypeId@/.exec(String(property.escapedName))?.[1])
        const floats = ids.includes("Effect") || ids.includes("Stream") || ids.includes("Layer")
        if (floats && !ids.includes("Fiber") && type.getProperty("_tag") === undefined) {
          context.report({ node, messageId: "floating" })
        }
      }
    }
  }
}

/** @param {ReadonlyArray<string>} names @param {string} message */
const forbidden = (names, message) => names.map((name) => ({ name, message }))

const forbiddenEverywhere = [
  ...forbidden(
    ["setTimeout", "setInterval", "setImmediate", "clearTimeout", "clearInterval", "performance"],
    "Use Effect's Clock, so that TestClock drives it."
  ),
  ...forbidden(["process"], "Use Config; the process belongs to the program."),
  ...forbidden(["fetch", "XMLHttpRequest", "WebSocket"], "Use HttpClient.")
]

const forbiddenOffNode = forbidden(
  ["Buffer", "global", "require", "window", "document", "localStorage"],
  "Not on every platform."
)

/** What another major version of Effect names otherwise is used in one module each: a port changes that module. */
const behindOneModule = [
  {
    selector: "MemberExpression[property.name=/^(?:unsafePoll|unsafeInterruptAsFork|addObserver|withFiberRuntime)$/]",
    message: "Use internal/effect/fiber."
  },
  {
    selector: "MemberExpression[object.name='Effect'][property.name='runtime']",
    message: "Use fork or promise of internal/effect/fiber."
  },
  {
    selector:
      "MemberExpression[property.name=/^(?:getFiberRef|locally|locallyWith)$/], MemberExpression[object.name='FiberRef'][property.name=/^(?:make|unsafeMake)$/]",
    message: "Use internal/effect/fiberRef."
  },
  {
    selector:
      "MemberExpression[object.name='Cause'][property.name=/^(?:match|reduce|squash|failureOption|failureOrCause|isInterrupted|isInterruptedOnly)$/]",
    message: "Use internal/effect/cause."
  },
  {
    selector:
      "MemberExpression[object.name='Schedule'][property.name=/^(?:driver|identity|intersect|modifyDelay|modifyDelayEffect|whileInputEffect)$/]",
    message: "Use internal/effect/schedule."
  },
  {
    selector: "ImportDeclaration[source.value='@effect/platform/HttpClientError']",
    message: "Use internal/effect/httpClientError."
  },
  {
    selector: "MemberExpression[property.name=/^unsafeCurrentTime(?:Millis|Nanos)$/]",
    message: "Use monotonicMillis or wallMillis of internal/pace/monotonic."
  }
]

const forbiddenSyntax = [
  { selector: "ExportDefaultDeclaration", message: "No default exports." },
  { selector: "ExportSpecifier[exported.name='default']", message: "No default exports." },
  { selector: "MemberExpression[object.name='Date'][property.name='now']", message: "Use Effect's Clock." },
  { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: "Use Effect's Clock." },
  { selector: "MemberExpression[object.name='Math'][property.name='random']", message: "Use Effect's Random." },
  {
    selector:
      "MemberExpression[object.name='globalThis'][property.name=/^(?:setTimeout|setInterval|setImmediate|process|console|performance|fetch|Buffer)$/]",
    message: "Not around the rules either."
  },
  {
    selector: "CallExpression[callee.object.name='Effect'][callee.property.name='Service']",
    message: "A library has tags and layers: Context.Tag."
  }
]

/** What holds for the sources of every package. @type {import("eslint").Linter.RulesRecord} */
const sourceRules = {
  "no-console": "error",
  "no-restricted-globals": ["error", ...forbiddenEverywhere, ...forbiddenOffNode],
  "@typescript-eslint/no-unsafe-argument": "error",
  "@typescript-eslint/no-unsafe-assignment": "error",
  "@typescript-eslint/no-unsafe-call": "error",
  "@typescript-eslint/no-unsafe-member-access": "error",
  "@typescript-eslint/no-unsafe-return": "error"
}

export default tseslint.config(
  { ignores: ["**/dist/", "coverage/", ".blocks/", "test/fixtures/"] },
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    plugins: {
      project: { rules: { "import-direction": importDirection, "no-floating-effect": noFloatingEffect } }
    }
  },
  js.configs.recommended,
  {
    files: ["**/*.js", "**/*.mjs"],
    // tsc knows the globals of scripts.
    rules: { "no-undef": "off" }
  },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.base, tseslint.configs.eslintRecommended],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: "error",
      "no-unused-vars": "off",
      "project/no-floating-effect": "error",
      "@typescript-eslint/ban-ts-comment": ["error", { "ts-expect-error": "allow-with-description" }],
      "@typescript-eslint/await-thenable": "error",
      "@typescript-eslint/consistent-type-imports": [
        "error",
        { fixStyle: "inline-type-imports", disallowTypeAnnotations: false }
      ],
      "@typescript-eslint/no-deprecated": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-import-type-side-effects": "error",
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/no-non-null-assertion": "error",
      "@typescript-eslint/no-unnecessary-type-assertion": "error",
      "@typescript-eslint/no-unused-vars": [
        "error",
        {
          args: "all",
          argsIgnorePattern: "^_",
          varsIgnorePattern: "^_",
          caughtErrorsIgnorePattern: "^_",
          destructuredArrayIgnorePattern: "^_",
          ignoreRestSiblings: true
        }
      ],
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }]
    }
  },
  {
    files: ["src/**/*.ts"],
    rules: {
      ...sourceRules,
      "project/import-direction": "error",
      "no-restricted-imports": [
        "error",
        {
          paths: [
            ...["effect", "@effect/platform", "@effect/platform-node"].map((name) => ({
              name,
              message: `Import the module, not the barrel: ${name}/…`
            })),
            { name: "undici", message: "Use @effect/platform-node/Undici." }
          ],
          patterns: [
            { group: ["effect-runpod", "effect-runpod/*"], message: "Import the module by its path." },
            { group: ["effect/Test*", "@effect/vitest"], message: "Only for tests." }
          ]
        }
      ],
      "no-restricted-syntax": ["error", ...forbiddenSyntax, ...behindOneModule]
    }
  },
  {
    files: ["packages/*/src/**/*.ts"],
    rules: {
      ...sourceRules,
      "no-restricted-imports": [
        "error",
        {
          paths: [
            ...[
              "effect",
              "@effect/platform",
              "@effect/platform-node",
              "@effect/ai",
              "@effect/ai-openai",
              "@effect/sql"
            ].map((name) => ({
              name,
              message: `Import the module, not the barrel: ${name}/…`
            })),
            ...["effect-runpod", "effect-runpod/Node"].map((name) => ({
              name,
              message: `Import the module: ${name}/…`
            }))
          ],
          patterns: [
            { group: ["node:*", "@effect/platform-node/*"], message: "A package does without Node." },
            { group: ["../../../*", "effect-runpod/internal/*"], message: "Only what effect-runpod exports." },
            { group: ["effect/Test*", "@effect/vitest"], message: "Only for tests." }
          ]
        }
      ],
      "no-restricted-syntax": ["error", ...forbiddenSyntax]
    }
  },
  {
    // An entry of its own, for Node.
    files: ["packages/*/src/Node*.ts"],
    rules: { "no-restricted-imports": "off" }
  },
  {
    // The page is a program of a browser, without Effect.
    files: ["packages/dashboard/src/page/**/*.ts"],
    rules: { "no-restricted-globals": "off", "no-restricted-imports": "off", "no-restricted-syntax": "off" }
  },
  {
    // A program for Node: what it is bundled from may be.
    files: ["packages/cli/src/**/*.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        {
          paths: ["effect", "@effect/cli", "@effect/platform", "@effect/platform-node", "effect-runpod"].map(
            (name) => ({
              name,
              message: `Import the module, not the barrel: ${name}/…`
            })
          ),
          patterns: [
            { group: ["../../../*", "effect-runpod/internal/*"], message: "Only what effect-runpod exports." },
            { group: ["effect/Test*", "@effect/vitest"], message: "Only for tests." }
          ]
        }
      ],
      "no-restricted-syntax": [
        "error",
        ...forbiddenSyntax,
        {
          selector: "MemberExpression[property.name='write'][object.property.name=/^std(?:out|err)$/]",
          message: "A terminal gets TerminalText: use shell/terminal.ts."
        }
      ]
    }
  },
  {
    files: ["src/internal/effect/*.ts", "src/internal/pace/monotonic.ts"],
    rules: { "no-restricted-syntax": ["error", ...forbiddenSyntax] }
  },
  {
    files: ["src/node/**/*.ts"],
    rules: { "no-restricted-globals": ["error", ...forbiddenEverywhere] }
  },
  {
    files: ["test/**/*.ts", "packages/*/test/**/*.ts", "bench/**/*.ts"],
    // A test that asserts too much fails with a TypeError, as it should.
    rules: { "@typescript-eslint/no-non-null-assertion": "off" }
  }
)
