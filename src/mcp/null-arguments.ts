const MENTIONED = /"arguments"\s*:\s*null/u;

/**
 * Returns a message with `"arguments": null` left out, which means no arguments and is how Go writes a map without
 * entries; the SDK refuses it. Anything else is returned unchanged.
 */
export function withoutNullArguments(message: string): string {
  if (!MENTIONED.test(message)) return message;
  try {
    const parsed = JSON.parse(message) as unknown;
    for (const { params } of (Array.isArray(parsed) ? parsed : [parsed]) as { params?: { arguments?: unknown } }[]) {
      if (params?.arguments === null) delete params.arguments;
    }
    return JSON.stringify(parsed);
  } catch {
    // The reader of the message says what is wrong with it.
    return message;
  }
}
