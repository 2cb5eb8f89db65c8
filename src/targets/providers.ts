/** Names onnxruntime's Python and C++ interfaces have for the execution providers that Node knows by short names. */
const LONG_NAMES: Readonly<Record<string, string>> = {
  cpu: "CPUExecutionProvider",
  cuda: "CUDAExecutionProvider",
  tensorrt: "TensorrtExecutionProvider",
  NvTensorRtRtx: "NvTensorRTRTXExecutionProvider",
  dml: "DmlExecutionProvider",
  webgpu: "WebGpuExecutionProvider",
  migraphx: "MIGraphXExecutionProvider",
  qnn: "QNNExecutionProvider",
  openvino: "OpenVINOExecutionProvider",
  vitisai: "VitisAIExecutionProvider",
  coreml: "CoreMLExecutionProvider",
};

/** The long name of an execution provider; names not known here are long already. */
export function longProviderName(name: string): string {
  return LONG_NAMES[name] ?? name;
}
