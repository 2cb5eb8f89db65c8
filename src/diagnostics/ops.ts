import { error, warning } from "./define.ts";

/** Codes of this area; see `define.ts` for the order of a message. */
export const opsCodes = {
  SHAPE_INVALID: error<{ node: string; op: string; problem: string }>(
    (d) =>
      `node "${d.node}" (${d.op}): ${d.problem}. Expected operands that fit the operator's definition; the model is ` +
      `malformed, or it was specialised to shapes it cannot take.`,
  ),
  TYPE_CONFLICT: error<{ value: string; declared: string; inferred: string }>(
    (d) =>
      `value "${d.value}" is declared ${d.declared}, but the operators give ${d.inferred}. ` +
      `Expected both to agree; remove the stale value_info or re-export the model.`,
  ),
  OPSET_MISSING: error<{ node: string; op: string; domain: string }>(
    (d) =>
      `node "${d.node}" uses ${d.op} of domain "${d.domain}", which the model does not import. ` +
      `Expected an opset_import entry for the domain; re-export the model.`,
  ),
  OP_TOO_NEW: error<{ node: string; op: string; opset: number; since: number }>(
    (d) =>
      `node "${d.node}" uses ${d.op}, which opset ${d.since} introduced, in a model of opset ${d.opset}. ` +
      `Expected an operator of the imported opset; raise the opset.`,
  ),
  OP_ARITY: error<{
    node: string;
    op: string;
    what: "inputs" | "outputs";
    found: number;
    min: number;
    max: number;
  }>(
    (d) =>
      `node "${d.node}" (${d.op}) has ${d.found} ${d.what}, expected ${
        d.min === d.max
          ? d.min
          : d.max === Number.POSITIVE_INFINITY
            ? `at least ${d.min}`
            : `${d.min} to ${d.max}`
      }. The model is malformed; re-export it.`,
  ),
  INFERENCE_LIMIT: warning<{ where: string }>(
    (d) =>
      `shape inference stopped in ${d.where}: nested subgraphs or functions repeat too often. Expected at most a few ` +
      `million node visits; inline the functions or flatten the loops. Remaining types are unknown.`,
  ),
};
