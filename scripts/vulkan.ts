/**
 * Unpacks a Vulkan driver that runs on the processor and prints the variables that make programs find it:
 *
 *     npm run vulkan
 *
 * Exit code 77: not possible on this machine, with the reason on stderr.
 */
import { fileURLToPath } from "node:url";
import { skipUnavailable } from "./software/unpack.ts";
import { softwareVulkan } from "./software/vulkan.ts";

const project = fileURLToPath(new URL("..", import.meta.url));
const { mesa, environment } = skipUnavailable("software Vulkan", () => softwareVulkan(project));
process.stderr.write(`Mesa ${mesa}, lavapipe. Start programs with these variables:\n`);
for (const [name, value] of Object.entries(environment)) process.stdout.write(`export ${name}='${value}'\n`);
