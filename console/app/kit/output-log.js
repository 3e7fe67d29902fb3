/**
 * @typedef {'stdout' | 'stderr'} Stream
 * @typedef {{ readonly stream: Stream, text: string, readonly note?: boolean }} OutputLine `note` is ours, not the process's
 */

/** Lines that are kept to be read; the bytes are all kept, to be saved. */
const LINES_MAX = 100_000;

/** What a process has put out, as bytes and as lines of both streams in the order in which they came. */
export class OutputLog {
  /** @type {OutputLine[]} */
  lines = [];
  /** Lines at the beginning that are not kept any more. */
  dropped = 0;
  #streams = { stdout: newStream(), stderr: newStream() };

  /**
   * @param {Stream} stream
   * @param {Uint8Array<ArrayBuffer>} bytes
   */
  add(stream, bytes) {
    const state = this.#streams[stream];
    state.chunks.push(bytes);
    state.bytes += bytes.length;
    const texts = state.decoder.decode(bytes, { stream: true }).split('\n');
    for (const [index, text] of texts.entries()) {
      const last = index === texts.length - 1;
      if (state.open) state.open.text += text;
      else if (text !== '' || !last) this.lines.push((state.open = { stream, text }));
      // All but the last have had their newline.
      if (!last) state.open = undefined;
    }
    if (this.lines.length > LINES_MAX) this.dropped += this.lines.splice(0, this.lines.length - LINES_MAX * 0.9).length;
  }

  /**
   * Says where something is missing, in what is read and in what is saved.
   * @param {Stream} stream
   * @param {string} text
   */
  gap(stream, text) {
    const state = this.#streams[stream];
    state.open = undefined;
    this.lines.push({ stream, text, note: true });
    state.chunks.push(new TextEncoder().encode(`\n[${text}]\n`));
  }

  /** @param {Stream} stream */
  size(stream) {
    return this.#streams[stream].bytes;
  }

  /** @param {Stream} stream */
  blob(stream) {
    return new Blob(this.#streams[stream].chunks, { type: 'application/octet-stream' });
  }
}

function newStream() {
  return {
    chunks: /** @type {Uint8Array<ArrayBuffer>[]} */ ([]),
    bytes: 0,
    decoder: new TextDecoder(),
    /** The line that has not ended. */
    open: /** @type {OutputLine | undefined} */ (undefined),
  };
}

/**
 * Bytes as the API writes them.
 * @param {{ value: string, encoding?: string }} repr
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function bytesOf({ value, encoding }) {
  return encoding === 'base64'
    ? Uint8Array.from(atob(value), (character) => character.charCodeAt(0))
    : new TextEncoder().encode(value);
}
