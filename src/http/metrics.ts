/** Upper bounds of the duration histogram, seconds. */
const BUCKETS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30];

/** Sample contributed by another part of the product, its name without the `contree_` prefix. */
export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly samples: readonly { readonly labels?: Readonly<Record<string, string>>; readonly value: number }[];
}

interface RouteUse {
  readonly byStatus: Map<number, number>;
  readonly buckets: number[];
  seconds: number;
  count: number;
}

/**
 * Counts the server's requests and renders the metrics in Prometheus's text format. Memory grows with routes, not with
 * requests.
 */
export class HttpMetrics {
  readonly #routes = new Map<string, RouteUse>();

  /** `route` is the pattern, never a path with ids. */
  observe(route: string, status: number, seconds: number): void {
    const use = this.#routes.get(route) ?? { byStatus: new Map(), buckets: BUCKETS.map(() => 0), seconds: 0, count: 0 };
    this.#routes.set(route, use);
    use.byStatus.set(status, (use.byStatus.get(status) ?? 0) + 1);
    use.seconds += seconds;
    use.count += 1;
    const bucket = BUCKETS.findIndex((bound) => seconds <= bound);
    if (bucket !== -1) use.buckets[bucket] = (use.buckets[bucket] ?? 0) + 1;
  }

  render(inFlight: number, others: readonly Metric[]): string {
    const memory = process.memoryUsage.rss();
    const own: Metric[] = [
      {
        name: 'http_requests_in_flight',
        help: 'Requests being answered.',
        type: 'gauge',
        samples: [{ value: inFlight }],
      },
      { name: 'process_resident_bytes', help: 'Resident memory.', type: 'gauge', samples: [{ value: memory }] },
      {
        name: 'process_uptime_seconds',
        help: 'Age of the process.',
        type: 'gauge',
        samples: [{ value: process.uptime() }],
      },
      { name: 'http_requests_total', help: 'Requests answered.', type: 'counter', samples: this.#requests() },
    ];
    return [...[...own, ...others].map(render), ...this.#durations(), ''].join('\n');
  }

  #requests(): Metric['samples'] {
    return [...this.#routes].flatMap(([route, { byStatus }]) =>
      [...byStatus].map(([status, value]) => ({ labels: { route, status: String(status) }, value })),
    );
  }

  #durations(): string[] {
    const name = 'contree_http_request_seconds';
    const lines = [`# HELP ${name} Time to the end of the answer's headers.`, `# TYPE ${name} histogram`];
    for (const [route, { buckets, seconds, count }] of this.#routes) {
      let below = 0;
      for (const [index, bound] of BUCKETS.entries()) {
        below += buckets[index] ?? 0;
        lines.push(`${name}_bucket${labels({ route, le: String(bound) })} ${below}`);
      }
      lines.push(`${name}_bucket${labels({ route, le: '+Inf' })} ${count}`);
      lines.push(`${name}_sum${labels({ route })} ${seconds}`, `${name}_count${labels({ route })} ${count}`);
    }
    return lines;
  }
}

function render({ name, help, type, samples }: Metric): string {
  const lines = samples.map((sample) => `contree_${name}${labels(sample.labels ?? {})} ${sample.value}`);
  return [`# HELP contree_${name} ${help}`, `# TYPE contree_${name} ${type}`, ...lines].join('\n');
}

function labels(values: Readonly<Record<string, string>>): string {
  const entries = Object.entries(values).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return entries.length === 0 ? '' : `{${entries.join(',')}}`;
}
