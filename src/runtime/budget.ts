/** Admits work as long as the bytes it declares fit together; first come, first served. */
export interface ByteBudget {
  readonly limit: number;
  /** Most bytes that were admitted at once so far. */
  readonly peak: number;
  /** Waits until `bytes` fit (they must not exceed the limit), runs the work, and frees them. */
  run<T>(bytes: number, work: () => Promise<T>): Promise<T>;
}

/** A budget of `limit` bytes. */
export function byteBudget(limit: number): ByteBudget {
  let used = 0;
  let peak = 0;
  const waiting: { bytes: number; start: () => void }[] = [];

  function admit(): void {
    while (waiting.length > 0 && used + waiting[0]!.bytes <= limit) {
      const next = waiting.shift()!;
      used += next.bytes;
      peak = Math.max(peak, used);
      next.start();
    }
  }

  return {
    limit,
    get peak() {
      return peak;
    },
    async run(bytes, work) {
      if (bytes > limit) throw new Error(`${bytes} bytes can never fit into ${limit}`);
      await new Promise<void>((start) => {
        waiting.push({ bytes, start });
        admit();
      });
      try {
        return await work();
      } finally {
        used -= bytes;
        admit();
      }
    },
  };
}
