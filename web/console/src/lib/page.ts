/** Which rows of a long table are shown. Pure. */

/** More rows than this are shown page by page: each row costs the browser a dozen elements. */
export const ROWS = 100;

export interface Shown {
  at: number;
  count: number;
  from: number;
  to: number;
}

/** The page that is wanted, or the last where there are fewer by now. */
export function pageOf(rows: number, wanted: number): Shown {
  const count = Math.max(1, Math.ceil(rows / ROWS));
  const at = Math.min(Math.max(wanted, 0), count - 1);
  return { at, count, from: at * ROWS, to: Math.min(rows, (at + 1) * ROWS) };
}
