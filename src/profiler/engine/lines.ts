/** Text as it comes, cut into lines. */

/** The longest line that one of our processes writes to another. */
const longestLineChars = 1024 * 1024;

/** Each line without its end; text behind the last line end is dropped. Throws RangeError for a line of more than 1 MiB. */
export async function* readLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > longestLineChars) throw new RangeError("a line has no end");
    yield* lines;
  }
}
