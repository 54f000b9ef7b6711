/** A Worker that is given the descriptors of connections and sends back what comes, with a mark before it. */

declare const self: Worker;

self.onmessage = ({ data }: MessageEvent<{ fd: number; mark: string }>) => {
  const options = {
    fd: data.fd,
    socket: {
      data(socket: Bun.Socket, bytes: Buffer) {
        socket.write(`${data.mark}:${bytes.toString()}`);
      },
      end(socket: Bun.Socket) {
        socket.end();
      },
    },
  };
  // Bun's types leave out that connect takes a descriptor.
  void Bun.connect(options as Bun.FdSocketOptions as unknown as Bun.UnixSocketOptions);
};
