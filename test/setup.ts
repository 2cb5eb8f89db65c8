/**
 * Property tests draw the same cases each time, so that a run of the tests says something about the change at hand.
 * `FAST_CHECK_SEED=<integer>` draws others; a failure prints its own counterexample either way.
 */
import fc from "fast-check";

const seed = Number(process.env["FAST_CHECK_SEED"] ?? 20_251_126);
if (!Number.isSafeInteger(seed)) throw new Error("FAST_CHECK_SEED must be an integer");
fc.configureGlobal({ seed });
