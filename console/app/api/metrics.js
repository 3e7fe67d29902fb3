/**
 * One sample of Prometheus's text format. @typedef {{ name: string, labels: Record<string, string>, value: number }}
 * Sample
 */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/u;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/gu;

/**
 * @param {string} text
 * @returns {Sample[]}
 */
export function parseMetrics(text) {
  return text.split('\n').flatMap((line) => {
    const [, name, labels = '', value] = line.startsWith('#') ? [] : (LINE.exec(line) ?? []);
    if (name === undefined) return [];
    const pairs = [...labels.matchAll(LABEL)].map(([, key = '', quoted = '']) => [
      key,
      quoted.replaceAll(/\\(.)/gu, '$1'),
    ]);
    return [{ name, labels: Object.fromEntries(pairs), value: Number(value) }];
  });
}

/**
 * Returns the number of requests and the mean duration of each route, busiest first.
 * @param {readonly Sample[]} samples
 * @returns {{ route: string, count: number, meanSeconds: number }[]}
 */
export function routesOf(samples) {
  /** @param {string} name */
  const byRoute = (name) =>
    new Map(
      samples.filter((sample) => sample.name === name).map(({ labels, value }) => [labels['route'] ?? '', value]),
    );
  const seconds = byRoute('contree_http_request_seconds_sum');
  return [...byRoute('contree_http_request_seconds_count')]
    .map(([route, count]) => ({ route, count, meanSeconds: (seconds.get(route) ?? 0) / Math.max(1, count) }))
    .toSorted((one, other) => other.count - one.count);
}
