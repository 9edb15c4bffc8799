// Loaded by NODE_OPTIONS="--import …": leads Node's fetch and WebSocket from fal's hosts to the local platform, nothing
// else.
const gateway = process.env.LOCALFAL_GATEWAY;
const prefixes = {
  "fal.run": "",
  "queue.fal.run": "/queue",
  "rest.fal.ai": "",
  "v3.fal.media": "",
};

if (gateway) {
  const fetch = globalThis.fetch;
  globalThis.fetch = function (input, init) {
    const url = new URL(input instanceof Request ? input.url : String(input));
    const prefix = url.protocol === "https:" ? prefixes[url.host] : undefined;
    if (prefix === undefined) {
      return fetch.call(this, input, init);
    }
    const local = gateway + prefix + url.pathname + url.search;
    return fetch.call(this, input instanceof Request ? new Request(local, input) : local, init);
  };

  const WebSocket = globalThis.WebSocket; // from Node 22 on
  if (WebSocket) {
    globalThis.WebSocket = class extends WebSocket {
      constructor(url, protocols) {
        const { protocol, host, pathname, search } = new URL(url);
        const led = protocol === "wss:" && prefixes[host] !== undefined;
        super(led ? gateway.replace("http", "ws") + prefixes[host] + pathname + search : url, protocols);
      }
    };
  }
}
