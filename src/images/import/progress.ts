import type { ImportProgress } from '../../contract/image.ts';

const LINE_EVERY_MS = 1_000;

/**
 * Tells people how far an import is, one line at a time: at once whenever a layer is done, else once a second.
 * `nowMs` is a clock.
 */
export function progressLines(
  write: (line: string, progress: ImportProgress) => void,
  nowMs: () => number = () => performance.now(),
): (progress: ImportProgress) => void {
  let shownMs = Number.NEGATIVE_INFINITY;
  let layersShown = -1;
  return (progress) => {
    const { layers_done: layersDone, layers_total: layersTotal, done_bytes: done, total_bytes: total } = progress;
    if (layersDone === layersShown && nowMs() - shownMs < LINE_EVERY_MS) return;
    shownMs = nowMs();
    layersShown = layersDone;
    const bytes = total === 0 ? 'nothing to transfer' : `${megabytes(done)} of ${megabytes(total)} MB`;
    write(`layers ${layersDone}/${layersTotal}, ${bytes}`, progress);
  };
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
