// Numbers, sizes and times as people read them.

const whole = new Intl.NumberFormat("en");
const SPACE = "\u00a0"; // that does not break

export const count = (number) => whole.format(number);

export const plural = (number, one, many = `${one}s`) =>
  `${count(number)} ${number === 1 ? one : many}`;

/** 1,000 bytes are a kB, as on a bill. */
export function bytes(number) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let size = number || 0;
  let unit = 0;
  for (; Math.abs(size) >= 999.5 && unit < units.length - 1; unit += 1) size /= 1000;
  const digits = unit && Math.abs(size) < 99.95 ? (Math.abs(size) < 9.995 ? 2 : 1) : 0;
  return size.toFixed(digits) + SPACE + units[unit];
}

/** How much of `before` is gone, in whole percents; never 100 while a byte is left. */
export function savedPercent(before, after) {
  if (!before) return 0;
  return Math.min(after ? 99 : 100, Math.max(0, Math.round((100 * (before - after)) / before)));
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.ceil(seconds)}${SPACE}s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes}${SPACE}min`;
  return `${Math.floor(minutes / 60)}${SPACE}h ${minutes % 60}${SPACE}min`;
}

/** Messages of the service begin small, as they follow a name elsewhere. */
export const sentence = (message) => message.charAt(0).toUpperCase() + message.slice(1);

/** The page speaks English; which one decides how its dates look. */
const english = navigator.languages.find((language) => language.startsWith("en")) || "en-GB";

export const moment = (iso) =>
  new Intl.DateTimeFormat(english, { dateStyle: "medium", timeStyle: "short" }).format(new Date(iso));

/** The last part of a URL's path, as written; what people call the picture. */
export function nameOf(url) {
  const path = url.split(/[?#]/)[0].replace(/\/+$/, "");
  const name = path.slice(path.lastIndexOf("/") + 1) || url;
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
