import { JobId } from "../schemas/JobId.js"

/** An id that RunPod gave, or that is checked where it is used. */
export const asJobId = (id: string): JobId => JobId.make(id, { disableValidation: true })
