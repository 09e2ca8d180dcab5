/** What Bun has in place of undici: classes and functions of its names, which can do nothing. */
export class Agent {}
export class EnvHttpProxyAgent {}
export class Pool {}
export default { Agent, EnvHttpProxyAgent, Pool }
