import { interleaveAll, type TimeInput } from "../lib/interleave.ts";

/** Child process: runs models in turn, A B B A, and prints the seconds of every run. */
console.log(JSON.stringify(await interleaveAll(JSON.parse(process.argv[2] ?? "{}") as TimeInput)));
