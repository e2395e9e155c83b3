// The service's HTTP API: JSON or an ApiError comes back, and an ended session asks for the key.

import { signIn } from "./session.js";

/** `retryAfterSeconds` is null where the service names no time; `status` 0: no answer at all. */
export class ApiError extends Error {
  constructor(status, body, retryAfter) {
    super(body?.error || (status ? `The service answered ${status}.` : "The service can't be reached."));
    this.status = status;
    this.body = body || {};
    this.retryAfterSeconds = /^\d+$/.test(retryAfter || "") ? Number(retryAfter) : null;
  }
}

/** A path of the API, also where a proxy serves the page below a folder. */
export const here = (path) => new URL(path.replace(/^\//, ""), document.baseURI).href;

export async function call(path, { method = "GET", signal } = {}) {
  for (;;) {
    const reply = await answer(fetch(here(path), { method, signal }));
    if (reply.status === 401) {
      await signIn();
      continue;
    }
    const body = reply.status === 204 ? null : await reply.json().catch(() => null);
    if (!reply.ok) throw new ApiError(reply.status, body, reply.headers.get("Retry-After"));
    return body;
  }
}

async function answer(fetching) {
  try {
    return await fetching;
  } catch (error) {
    throw error.name === "AbortError" ? error : new ApiError(0);
  }
}

/** POST /upload; `progress` hears the percentage sent, 0 to 100. fetch() can't tell it. */
export async function upload(form, { headers = {}, progress = () => {}, signal } = {}) {
  for (;;) {
    const reply = await send(form, headers, progress, signal);
    if (reply.status === 401) {
      await signIn();
      continue;
    }
    if (reply.status < 200 || reply.status > 299) {
      throw new ApiError(reply.status, reply.response, reply.getResponseHeader("Retry-After"));
    }
    return reply.response;
  }
}

function send(form, headers, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", here("upload"));
    request.responseType = "json";
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => progress((100 * event.loaded) / (event.total || 1));
    request.onload = () => resolve(request);
    request.onerror = () => reject(new ApiError(0));
    request.onabort = () => reject(new DOMException("given up", "AbortError"));
    signal?.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}
