// Browsers start no worker from a folder on disk. There the search's worker runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(source) {
      super();
      this.waiting = [];
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      this.inside = frame.contentWindow;
      window.addEventListener("message", (event) => {
        if (event.source !== this.inside) return;
        this.dispatchEvent(new MessageEvent("message", { data: event.data }));
      });
      const root = new URL(source, location).href;
      this.inside.postMessage = ((data) => this.deliver(data));
      const load = (address) => new Promise((done, failed) => {
        const script = frame.contentDocument.createElement("script");
        Object.assign(script, { src: new URL(address, root).href, onload: done, onerror: failed });
        frame.contentDocument.head.appendChild(script);
      });
      this.inside.importScripts = (...addresses) =>
        addresses.reduce((before, next) => before.then(() => load(next)), Promise.resolve());
      this.inside.eval(`var postMessage = (data) => parent.dispatchEvent(
        new MessageEvent("message", { data, source: window }))`);
      load(root).then(() => {
        const waiting = this.waiting;
        this.waiting = null;
        waiting.forEach((data) => this.deliver(data));
      });
    }
    deliver(data) {
      this.inside.dispatchEvent(new MessageEvent("message", { data, source: window }));
    }
    postMessage(data) {
      if (this.waiting) this.waiting.push(data);
      else this.deliver(data);
    }
    terminate() {}
  };
}
