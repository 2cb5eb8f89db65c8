import type { Component } from "../calibrate/component.ts";
import { openPipeline, type Pipeline, pipelineDenoiser } from "../calibrate/pipeline.ts";
import type { Model } from "../ir/graph.ts";
import { createRuntime, isGraphSet, modelFile, type Runtime, type SessionOptions } from "../runtime/index.ts";
import { type SeededInputs, seededInputs } from "./feeds.ts";
import { compareOnInputs } from "./inputs.ts";
import type { VerifyOptions, VerifySource } from "./options.ts";
import { verifyDenoiser } from "./pipeline.ts";
import { candidateSession, fixedDims, withSession } from "./sessions.ts";
import type { InputsResult, VerifyResult } from "./types.ts";

const DEFAULT_INPUT_SETS = 4;

function isPipeline(source: VerifySource): source is Pipeline {
  return typeof source === "object" && "components" in source;
}

function isFile(source: VerifySource): boolean {
  return typeof source === "string" && (/\.onnx$/i.test(source) || isGraphSet(source));
}

/** Model of a side that has the same layout as the reference pipeline. */
function modelOf(source: VerifySource, component: Component): string | Model {
  if (isPipeline(source)) return pipelineDenoiser(source).model;
  if (typeof source !== "string" || isFile(source)) return source;
  return modelFile(`${source.replace(/[\\/]+$/, "")}/${component.name}`);
}

/** Model of a side beside a single-model reference: a folder is a build of one model. */
function plainModel(source: VerifySource): string | Model {
  if (isPipeline(source)) return pipelineDenoiser(source).model;
  if (typeof source !== "string" || isFile(source)) return source;
  return modelFile(source.replace(/[\\/]+$/, ""));
}

/**
 * Compares a candidate with a reference. A reference that is a pipeline (folder or opened) is sampled and the
 * candidate's denoiser judged along its trajectories; anything else is compared on seeded inputs. Errors: those of
 * opening pipelines and sessions; INTERRUPTED.
 */
export async function verify(
  reference: VerifySource,
  candidate: VerifySource,
  options: VerifyOptions = {},
): Promise<VerifyResult> {
  const runtime = options.runtime ?? (await createRuntime({ workers: 0 }));
  try {
    if (isPipeline(reference)) return await verifyPipeline(reference, candidate, options, runtime);
    if (typeof reference === "string" && !isFile(reference))
      return await verifyPipeline(await openPipeline(reference), candidate, options, runtime);
    return await verifyModels(reference, plainModel(candidate), options, runtime);
  } finally {
    if (options.runtime === undefined) await runtime.close();
  }
}

/** Compares two models on the same seeded inputs: for components nobody samples, and for exact passes. */
async function verifyModels(
  reference: string | Model,
  candidate: string | Model,
  options: VerifyOptions,
  runtime: Runtime,
): Promise<InputsResult> {
  const session: SessionOptions = { threads: options.threads ?? 1 };
  return await withSession(runtime, reference, session, (before) =>
    withSession(runtime, candidate, candidateSession(options), (after) => {
      const how: SeededInputs = {
        seed: options.seed ?? 0,
        bindings: { ...options.bindings, ...fixedDims(before, after) },
        ...(options.below && { below: options.below }),
      };
      const count = options.inputSets ?? DEFAULT_INPUT_SETS;
      const sets = Array.from({ length: count }, (_, i) => seededInputs(before.inputs, how, i));
      return compareOnInputs(before, after, sets);
    }),
  );
}

function verifyPipeline(
  pipeline: Pipeline,
  candidate: VerifySource,
  options: VerifyOptions,
  runtime: Runtime,
): Promise<VerifyResult> {
  const rival = modelOf(candidate, pipelineDenoiser(pipeline));
  return verifyDenoiser(pipeline, rival, options, runtime);
}
