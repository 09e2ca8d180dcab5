import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"

const isConfig = <A>(option: A | Config.Config<A>): option is Config.Config<A> => Config.isConfig(option)

/** The value of an option that is given as a value or as a `Config` of one. */
export const read = <A>(option: A | Config.Config<A>): Effect.Effect<A, ConfigError.ConfigError> =>
  isConfig(option) ? option : Effect.succeed(option)

/** A secret of the environment, and what to do without it. One that is empty is none: a deployment that forgot it should not start. */
export const secretOf = (name: string, advice: string): Effect.Effect<Redacted.Redacted, ConfigError.ConfigError> =>
  Config.redacted(name).pipe(
    Config.mapOrFail((secret) =>
      Redacted.value(secret).trim() === "" ? Either.left(ConfigError.MissingData([], "")) : Either.right(secret)
    ),
    // `Config.redacted` strikes out what its error says.
    Effect.mapError((error) =>
      ConfigError.isMissingDataOnly(error) ? ConfigError.MissingData([name], `${name} is not set. ${advice}`) : error
    )
  )
