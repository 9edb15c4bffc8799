// Loaded by NODE_OPTIONS="--import …" and BUN_OPTIONS="--preload …": TLS connections to fal's hosts go to the local
// platform, whoever opens them: fetch, WebSocket, node:https, undici, and all that is built on these. Everything else
// goes where it always went.
import { syncBuiltinESMExports } from "node:module";
import tls from "node:tls";

const gateway = process.env.LOCALFAL_GATEWAY; // host:port of its TLS side
const hosts = new Set((process.env.LOCALFAL_HOSTS ?? "").split(","));
const fals = /(^|\.)(fal\.(run|ai|media)|falrun\.com)$/;

if (gateway) {
  const [localHost, localPort] = gateway.split(":");
  const connect = tls.connect;

  tls.connect = function (...given) {
    const { options, callback } = understood(given);
    // With a socket, somebody has already connected: a proxy's tunnel.
    if (!options?.host || options.socket || options.path) {
      return connect.apply(this, given);
    }
    const host = String(options.host).toLowerCase();
    if (!hosts.has(host)) {
      if (fals.test(host)) {
        throw new Error(`${host} is a host of fal's that localfal does not answer for; nothing was sent`);
      }
      return connect.apply(this, given);
    }
    const local = { ...options, host: localHost, port: localPort, servername: options.servername || host };
    delete local.lookup;
    return connect.call(this, local, callback);
  };
  syncBuiltinESMExports();
  if (process.versions.bun) {
    leadWebSocket();
  }
}

// tls.connect(options[, callback]) or tls.connect(port[, host][, options][, callback])
function understood(given) {
  const callback = given.find((argument) => typeof argument === "function");
  let options = given.find((argument) => argument !== null && typeof argument === "object");
  if (typeof given[0] === "number") {
    options = { ...options, port: given[0] };
    if (typeof given[1] === "string") {
      options.host = given[1];
    }
  }
  return { options, callback };
}

// Bun's own fetch reads the proxy variables, its own WebSocket does not.
function leadWebSocket() {
  const Direct = globalThis.WebSocket;
  globalThis.WebSocket = class WebSocket extends Direct {
    constructor(url, options) {
      const { protocol, hostname } = new URL(url);
      if (protocol !== "wss:" || !(hosts.has(hostname) || fals.test(hostname))) {
        super(url, options);
        return;
      }
      const given = typeof options === "string" || Array.isArray(options) ? { protocols: options } : options;
      super(url, { ...given, proxy: process.env.HTTPS_PROXY });
    }
  };
}
