import type { ByteString } from '../std/bytes.ts';
import { pathFromText } from '../std/path-text.ts';
import type { Folder } from './folder.ts';
import { OpenFile } from './open-file.ts';

/** Cursor that reopens files below a folder, in the order of a walk: neighbouring files share open folders. */
export class Cursor implements Disposable {
  readonly #top: Folder;
  readonly #open: { readonly name: ByteString; readonly folder: Folder }[] = [];

  /** Creates a cursor; the caller keeps ownership of `top`. */
  constructor(top: Folder) {
    this.#top = top;
  }

  /** Opens the file at `path`, a text (std/path-text.ts). Throws errors of the system, or NotRegular. */
  file(path: string): OpenFile {
    const folders = path.split('/').map(pathFromText);
    const file = folders.pop() ?? '';
    let common = 0;
    while (common < folders.length && this.#open[common]?.name === folders[common]) common += 1;
    this.#closeTo(common);
    for (const name of folders.slice(common)) {
      this.#open.push({ name, folder: this.#innermost().folder(name) });
    }
    return new OpenFile(this.#innermost().openToRead(file));
  }

  [Symbol.dispose](): void {
    this.#closeTo(0);
  }

  #innermost(): Folder {
    return this.#open.at(-1)?.folder ?? this.#top;
  }

  #closeTo(depth: number): void {
    for (const { folder } of this.#open.splice(depth).toReversed()) folder[Symbol.dispose]();
  }
}
