declare const PACKAGE_VERSION: string

/** Of this package: the build writes it in. */
export const version = PACKAGE_VERSION
