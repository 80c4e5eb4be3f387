// What axe calls serious on a page, by the rules of WCAG 2.2 AA.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Of the whole page, or of a part of it. */
export async function serious(page, part = "html") {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe);
  const found = await page.evaluate(async (part) => {
    const { violations } = await window.axe.run(part, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] });
    return violations.filter(({ impact }) => impact === "serious" || impact === "critical").map(({ id, nodes }) => ({ id, where: nodes.slice(0, 4).map((node) => `${node.target.join(" ")} ${node.failureSummary}`) }));
  }, part);
  return found.map(({ id, where }) => `${id}: ${where.join(" | ")}`);
}
