import type { ErrorObject, ValidateFunction } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import { nearestName } from "../../calibrate/nearest.ts";
import { fail } from "../../diagnostics/index.ts";
import type { Json } from "../../ir/tensor.ts";
import type { JsonSchema, Pass } from "../../passes/pass.ts";
import { recipeSchema } from "./schema.ts";
import type { Recipe, StageOptions } from "./types.ts";

function isRegex(text: string): boolean {
  try {
    new RegExp(text, "u");
    return true;
  } catch {
    return false;
  }
}

function makeAjv(useDefaults: boolean): Ajv2020 {
  const ajv = new Ajv2020({
    strict: true,
    allErrors: true,
    verbose: true,
    allowUnionTypes: true,
    useDefaults,
  });
  ajv.addFormat("regex", isRegex);
  return ajv;
}

let recipeCheck: ValidateFunction | null = null;
const optionChecks = new Map<string, ValidateFunction>();

/** `/passes/2/quantize-weights` as people write it: `passes[2].quantize-weights`; the top is `the recipe`. */
function place(pointer: string): string {
  const parts = pointer.split("/").slice(1);
  if (parts.length === 0) return "the top level";
  return parts
    .map((p) => p.replaceAll("~1", "/").replaceAll("~0", "~"))
    .map((p, i) => (/^\d+$/.test(p) ? `[${p}]` : i === 0 ? p : `.${p}`))
    .join("");
}

function keysOf(schema: unknown): string[] {
  const properties = (schema as { properties?: object } | undefined)?.properties;
  return properties === undefined ? [] : Object.keys(properties);
}

/** A branch of an `anyOf` that is about another kind of value says nothing; keep what is wrong inside the fitting one. */
function relevant(errors: readonly ErrorObject[]): ErrorObject[] {
  return errors.filter((e) => {
    if (e.keyword === "anyOf") {
      const inside = errors.filter((x) => x !== e && x.schemaPath.startsWith(`${e.schemaPath}/`));
      return !inside.some((x) => !isBranchMismatch(x, e));
    }
    const parent = errors.find((p) => p.keyword === "anyOf" && e.schemaPath.startsWith(`${p.schemaPath}/`));
    return parent === undefined || !isBranchMismatch(e, parent);
  });
}

function isBranchMismatch(e: ErrorObject, anyOf: ErrorObject): boolean {
  if (e.instancePath !== anyOf.instancePath) return false;
  if (e.keyword === "type") return true;
  const wanted = (e.parentSchema as { type?: string } | undefined)?.type;
  return wanted === "string" && typeof e.data !== "string";
}

function describe(e: ErrorObject): string {
  if (e.keyword === "enum") {
    const allowed = (e.params as { allowedValues: Json[] }).allowedValues;
    const nearest = typeof e.data === "string" ? nearestName(e.data, allowed.map(String)) : null;
    const hint = nearest === null ? "" : `; did you mean "${nearest}"?`;
    return `is ${JSON.stringify(e.data)}, expected one of ${allowed.map((a) => JSON.stringify(a)).join(", ")}${hint}`;
  }
  if (e.keyword === "format") return `is ${JSON.stringify(e.data)}, expected a regular expression`;
  const found = typeof e.data === "object" ? "" : ` (found ${JSON.stringify(e.data)})`;
  return `${e.message ?? "is not valid"}${found}`;
}

function report(file: string, base: string, found: readonly ErrorObject[]): never {
  const errors = relevant(found);
  const unknown = errors.filter((e) => e.keyword === "additionalProperties");
  if (unknown.length > 0) {
    const keys = unknown.map((e) => {
      const key = (e.params as { additionalProperty: string }).additionalProperty;
      return { at: place(base + e.instancePath), key, nearest: nearestName(key, keysOf(e.parentSchema)) };
    });
    fail("RECIPE_UNKNOWN_KEY", { file, keys });
  }
  const problems = errors.map((e) => ({ at: place(base + e.instancePath), problem: describe(e) }));
  fail("RECIPE_INVALID", { file, problems });
}

/** Checks a parsed recipe. `file` names it in messages. Errors: RECIPE_UNKNOWN_KEY, RECIPE_INVALID. */
export function validateRecipe(value: unknown, file: string): Recipe {
  recipeCheck ??= makeAjv(false).compile(recipeSchema());
  if (!recipeCheck(value)) report(file, "", recipeCheck.errors ?? []);
  return value as Recipe;
}

/** Options of a pass with every default filled in. Errors as {@link validateRecipe}. */
export function completeOptions(pass: Pass, options: StageOptions, file: string): { [key: string]: Json } {
  let check = optionChecks.get(pass.name);
  if (check === undefined) {
    const schema: JsonSchema = {
      type: "object",
      additionalProperties: false,
      properties: {},
      ...pass.options,
    };
    check = makeAjv(true).compile(schema);
    optionChecks.set(pass.name, check);
  }
  const filled = structuredClone(options ?? {}) as { [key: string]: Json };
  if (!check(filled)) report(file, `/passes/${pass.name}`, check.errors ?? []);
  return filled;
}
