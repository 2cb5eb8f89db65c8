import type { Model, ValueId } from "../../ir/graph.ts";
import { inferShapes } from "../../ir/infer.ts";
import type { PortType } from "../../runtime/index.ts";
import { feedPieces } from "../denoiser.ts";
import type { Pipeline } from "../pipeline.ts";
import { type InputRoles, inputRoles } from "../roles.ts";
import type { Draw } from "./positions.ts";
import type { Teacher, TeacherRun } from "./teacher.ts";

/** Roles of a model's inputs, found as a session of it would. Fails with DENOISER_ROLE_UNKNOWN. */
function modelRoles(model: Model, pipeline: Pipeline): InputRoles {
  const { graph } = model;
  const shapes = inferShapes(model);
  const ports = (ids: readonly ValueId[]): PortType[] =>
    ids.flatMap((id) => {
      const type = graph.value(id).type ?? shapes.type(id);
      return type?.kind === "tensor"
        ? [{ name: graph.value(id).name, dtype: type.dtype, shape: type.shape ?? [] }]
        : [];
    });
  const fed = graph.inputs.filter((id) => graph.value(id).init === null);
  return inputRoles(ports(fed), ports(graph.outputs), pipeline.sampling.roles);
}

/** How a model takes the teacher's inputs: in its own dtypes, cut into pieces where it takes one batch size only. */
export interface Follower {
  /** Runs of the model per call, over groups and pieces. */
  readonly runs: number;
  /** Feeds of the runs at one place of the trajectory, and what their positions are drawn with. */
  at(run: TeacherRun): { readonly feeds: TeacherRun["feeds"]; readonly draw: Draw }[];
  /** Feeds of the first run of all. */
  readonly example: TeacherRun["feeds"];
}

/**
 * A follower of the teacher. A last piece that is not full repeats its last sample, which then counts more than once:
 * take a multiple of the model's batch.
 */
export function follow(model: Model, pipeline: Pipeline, teacher: Teacher): Follower {
  const roles = modelRoles(model, pipeline);
  const pieces = teacher.groups.map((n) => (roles.fixedBatch === null ? 1 : Math.ceil(n / roles.fixedBatch)));
  const first = pieces.map((_, g) => pieces.slice(0, g).reduce((a, b) => a + b, 0));
  return {
    runs: pieces.reduce((a, b) => a + b, 0),
    at: ({ call, group, feeds }) =>
      feedPieces(roles, feeds).map((piece, i) => ({
        feeds: piece.feeds,
        draw: { seed: teacher.seed, call, run: first[group]! + i },
      })),
    example: feedPieces(roles, teacher.example)[0]!.feeds,
  };
}
