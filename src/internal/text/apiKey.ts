/** Why there is no key, for whoever runs a program for the first time. */
export const keyMissing = "RUNPOD_API_KEY is not set"

export const keyAdvice =
  "Make a key at https://console.runpod.io (Settings, API Keys), or work without one against the emulator (`effect-runpod/Emulator`)."
