import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"

const isConfig = <A>(option: A | Config.Config<A>): option is Config.Config<A> => Config.isConfig(option)

/** The value of an option that is given as a value or as a `Config` of one. */
export const read = <A>(option: A | Config.Config<A>): Effect.Effect<A, ConfigError.ConfigError> =>
  isConfig(option) ? option : Effect.succeed(option)
