// Asks again and again, politely: slower for long jobs, not at all while nobody looks.

const FIRST_SECONDS = 0.5;
const LONGEST_SECONDS = 5;
const SHORTEST_TROUBLE_SECONDS = 1;
const LONGEST_TROUBLE_SECONDS = 30;

/**
 * `ask` answers a status document. `show(status)` says whether to go on, `wait(error, seconds)`
 * hears of what may pass (no answer, 429, 5xx), `giveUp(error)` of everything else.
 */
export async function poll({ signal, ask, show, wait, giveUp }) {
  let troubles = 0;
  while (!signal.aborted) {
    try {
      await untilSeen(signal);
      const status = await ask();
      if (signal.aborted || !show(status)) return;
      troubles = 0;
      await sleep(paceOf(status.progress), signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!mayPass(error)) {
        giveUp(error);
        return;
      }
      troubles += 1;
      const asked = error.retryAfterSeconds ?? Math.min(2 ** troubles, LONGEST_TROUBLE_SECONDS);
      const seconds = Math.max(SHORTEST_TROUBLE_SECONDS, asked); // a service may ask for 0
      wait(error, seconds);
      await sleep(seconds, signal);
    }
  }
}

const mayPass = ({ status }) => status === 0 || status === 429 || status >= 500;

/** A twentieth of the time left, so that a short job looks alive and a long one costs little. */
function paceOf({ eta_seconds: left }) {
  return Math.min(LONGEST_SECONDS, Math.max(FIRST_SECONDS, (left ?? 0) / 20));
}

function untilSeen(signal) {
  if (!document.hidden) return null;
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true, signal });
    signal.addEventListener("abort", resolve, { once: true });
  });
}

function sleep(seconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
