/** Where it stands how the batch of a journal is run: beside the journal. */
export const recipeOf = (journal: string): string => `${journal}.batch.json`
