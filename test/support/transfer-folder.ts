import { mkdirSync, mkdtempSync, realpathSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { DirectoryStateEntry } from '../../src/contract/file.ts';
import { LocalFolders, type LocalFoldersOptions } from '../../src/transfer/local-folders.ts';
import type { SyncReport, SyncRequest } from '../../src/transfer/local-files.ts';
import { ScriptedContree } from './scripted/contree.ts';

/** Long enough ago for the clock to have advanced since. */
const SETTLED = new Date('2024-05-01T12:00:00Z');

/** Records what was offered and sent. */
export class RecordingContree extends ScriptedContree {
  readonly offers: (readonly DirectoryStateEntry[])[] = [];
  sent = 0;

  constructor() {
    super();
    const { create, offerDirectory } = this.uploads;
    this.uploads.create = async (content) => {
      this.sent += 1;
      return create(content);
    };
    this.uploads.offerDirectory = async (request) => {
      this.offers.push(request.entries);
      return offerDirectory(request);
    };
  }

  /** Path → entry of the last offer. */
  get last(): Readonly<Record<string, DirectoryStateEntry>> {
    return Object.fromEntries((this.offers.at(-1) ?? []).map((entry) => [entry.path, entry]));
  }
}

/** A folder that tools may access (`root`), next to one that they may not (`outside`). */
export interface BenchFolder extends Disposable {
  readonly root: string;
  readonly outside: string;
  readonly cache: string;
  readonly contree: RecordingContree;
  /** Path as a model writes it. */
  readonly local: LocalFolders;
  localOf(options: Partial<LocalFoldersOptions> & Pick<LocalFoldersOptions, 'namedBy'>): LocalFolders;
  /** Writes a file below the root, with an old time. */
  write(path: string, content: string | Uint8Array, mode?: number): string;
  sync(exclude?: readonly string[], source?: string, more?: Partial<SyncRequest>): Promise<SyncReport>;
}

export function benchFolder(): BenchFolder {
  const top = realpathSync(mkdtempSync(join(tmpdir(), 'contree-transfer-')));
  const [root, outside, cache] = [join(top, 'root'), join(top, 'outside'), join(top, 'cache', 'hashes.db')];
  mkdirSync(root);
  mkdirSync(outside);
  const contree = new RecordingContree();
  const shared = { roots: [root], cache: { path: cache, keptDays: 60 } };
  const local = new LocalFolders({ ...shared, namedBy: 'model' });
  const { signal } = new AbortController();
  return {
    root,
    outside,
    cache,
    contree,
    local,
    localOf: (options) => new LocalFolders({ ...shared, ...options }),
    write: (path, content, mode = 0o644) => {
      const file = join(root, path);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, content, { mode });
      utimesSync(file, SETTLED, SETTLED);
      return file;
    },
    sync: (exclude = [], source = root, more = {}) =>
      local.sync(contree, { source, destination: '/work', exclude, ...more }, { signal }),
    [Symbol.dispose]: () => rmSync(top, { recursive: true, force: true }),
  };
}
