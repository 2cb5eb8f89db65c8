/** Statistics of a model along the original's calibration trajectory, and the original itself as an oracle. */
export { readArtifact, type StatisticsArtifact, writeArtifact } from "./artifact.ts";
export { type CollectOptions, collectFrom, collectStatistics, type StatisticsOptions } from "./collect.ts";
export { type CrossGram, type CrossRequest, collectCross, crossFrom } from "./cross.ts";
export { openHeldOut } from "./held-out.ts";
export { type LayerOptions, layerRequest } from "./layers.ts";
export { judgingIn, type OracleOptions, openOracle, recordOracle } from "./oracle.ts";
export { collectReusing, witness } from "./reuse.ts";
export type * from "./summary.ts";
export { summarise } from "./summary.ts";
export { openTeacher, type Teacher, type TeacherOptions, type TeacherSettings } from "./teacher.ts";
export type * from "./types.ts";
