/**
 * @typedef {'stdout' | 'stderr'} Stream
 * @typedef {{ readonly stream: Stream, text: string, readonly note?: boolean }} OutputLine `note` is ours, not the process's
 */

/** Lines kept for reading; all bytes are kept for saving. */
const LINES_MAX = 100_000;

/** Output of a process, as bytes and as lines of both streams in order of arrival. */
export class OutputLog {
  /** @type {OutputLine[]} */
  lines = [];
  /** Number of lines dropped from the beginning. */
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
      // All but the last are complete lines.
      if (!last) state.open = undefined;
    }
    if (this.lines.length > LINES_MAX) this.dropped += this.lines.splice(0, this.lines.length - LINES_MAX * 0.9).length;
  }

  /**
   * Marks a gap, in the lines and in the saved bytes.
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
    /** The line that is not complete yet. */
    open: /** @type {OutputLine | undefined} */ (undefined),
  };
}

/**
 * Decodes bytes from their form in the API.
 * @param {{ value: string, encoding?: string }} repr
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function bytesOf({ value, encoding }) {
  return encoding === 'base64'
    ? Uint8Array.from(atob(value), (character) => character.charCodeAt(0))
    : new TextEncoder().encode(value);
}
