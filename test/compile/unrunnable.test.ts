import { describe, expect, it } from "vitest";
import { checkHere } from "../../src/compile/runnable.ts";
import { fail } from "../../src/diagnostics/index.ts";
import { target } from "../../src/targets/index.ts";

const refused = (): Promise<never> => fail("RUNTIME_REJECTED", { where: "model.onnx", reason: "no kernel" });

describe("a build that no kernel here runs", () => {
  it("is a note with the runtime's own words where it is for another device", async () => {
    const found = await checkHere(target("tensorrt"), refused);
    expect(found.value).toBeNull();
    expect(found.why).toMatch(/does not run on the CPU of this machine: .*no kernel/);
  });
  it("is a failure where it is for this one", async () => {
    await expect(checkHere(target("cpu-x64"), refused)).rejects.toMatchObject({ code: "RUNTIME_REJECTED" });
  });
  it("says nothing of other failures, which stay what they are", async () => {
    const broken = () => Promise.reject(new TypeError("a bug"));
    await expect(checkHere(target("tensorrt"), broken)).rejects.toThrow("a bug");
    expect(await checkHere(target("tensorrt"), () => Promise.resolve(7))).toEqual({ value: 7, why: null });
  });
});
