/** Numbers and times as people read them. */

const UNITS_PER_POINT = 2_880;

/**
 * Units as points, rounded towards zero to hundredths, so that nobody sees a point too early.
 * @param {number} units
 */
export function formatPoints(units) {
  const hundredths = Math.trunc((units / UNITS_PER_POINT) * 100 + Math.sign(units) * 1e-6);
  const fractions = hundredths % 100 === 0 ? 0 : 2;
  return (hundredths / 100).toLocaleString("en", {
    minimumFractionDigits: fractions,
    maximumFractionDigits: 2,
  });
}

/** @param {number} count @param {string} noun in the singular */
export function formatCount(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** A length of time: "6 h 12 min", "3 min 5 s", "8 s". */
export function formatSeconds(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (hours) return minutes ? `${hours} h ${minutes} min` : `${hours} h`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

/** What is left, to the second: "5:07:12"; from two days on by hours: "3 d 4 h". */
export function formatCountdown(ms) {
  const whole = Math.max(0, Math.ceil(ms / 1000));
  const two = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  if (hours >= 48) return `${Math.floor(hours / 24)} d ${hours % 24} h`;
  return `${hours}:${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)}`;
}

/** A time of this machine's day: "01:00". */
export function formatClock(ms) {
  return new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
}

/** A day and time of this machine: "27 Nov, 01:00". */
export function formatMoment(ms) {
  const date = new Date(ms).toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  return `${date}, ${formatClock(ms)}`;
}

/** How long ago: "8 s ago". */
export function formatAgo(ms) {
  return ms < 1000 ? "just now" : `${formatSeconds(ms / 1000)} ago`;
}

/** Tenths of a degree as a place: "52.5° N, 13.4° E". */
export function formatPosition([latitude, longitude]) {
  const part = (tenths, positive, negative) =>
    `${(Math.abs(tenths) / 10).toFixed(1)}° ${tenths < 0 ? negative : positive}`;
  return `${part(latitude, "N", "S")}, ${part(longitude, "E", "W")}`;
}
