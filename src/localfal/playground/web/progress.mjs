// How far a request is, read off a line of its log or an event of its stream.

const FRACTION = /(?:^|[^\d.\/])(\d{1,7})\s*(?:\/|\bof\b)\s*(\d{1,7})(?![\d\/.])/i;
const PERCENT = /(?:^|\D)(\d{1,3}(?:\.\d+)?)\s?%/;

/** `{done, total}` of "step 3/20", "3 of 20", "15%" and tqdm's bars; undefined for other lines. */
export function ofLine(line) {
  const fraction = FRACTION.exec(line);
  if (fraction) {
    const [done, total] = [Number(fraction[1]), Number(fraction[2])];
    if (total > 1 && done <= total) return { done, total };
  }
  const percent = PERCENT.exec(line);
  if (percent && Number(percent[1]) <= 100) return { done: Number(percent[1]), total: 100 };
  return undefined;
}

/** The same of a streamed event's own fields. */
export function ofEvent(event) {
  if (!event || typeof event !== "object") return undefined;
  const inner = typeof event.progress === "object" && event.progress ? event.progress : event;
  const total = [inner.steps, inner.total_steps, inner.num_steps, inner.num_inference_steps, inner.total].find(Number.isFinite);
  const done = [inner.step, inner.done, inner.completed, inner.current].find(Number.isFinite);
  if (total > 0 && done >= 0) return { done: Math.min(done, total), total };
  const share = event.progress;
  if (Number.isFinite(share)) return share <= 1 ? { done: share, total: 1 } : { done: Math.min(share, 100), total: 100 };
  return undefined;
}
