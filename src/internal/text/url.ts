/** Whether a text begins with a scheme: else it is a path, or an id. */
export const isAbsoluteUrl = (text: string): boolean => /^[a-z][a-z\d+.-]*:/i.test(text)
