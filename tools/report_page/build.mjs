// Writes reports/page/assets.html: the style and the script of the HTML report, uPlot included, ready to be pasted into
// the head and the end of a page. Run after any change to what it reads (npm ci && npm run build); a test compares the
// hashes that it leaves in the first lines.
import {createHash} from "node:crypto";
import {readFileSync, writeFileSync} from "node:fs";
import {dirname, join} from "node:path";
import {fileURLToPath} from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const read = (path) => readFileSync(join(here, path), "utf8");
const inputs = ["build.mjs", "package.json", "package-lock.json", "src/page.css", "src/page.js"];
const hashes = inputs.map((path) => `${createHash("sha256").update(read(path)).digest("hex")}  ${path}`);

const uplot = "node_modules/uplot/";
const version = JSON.parse(read(uplot + "package.json")).version;
const script = read(uplot + "dist/uPlot.iife.min.js").trim();
const style = read(uplot + "dist/uPlot.min.css").trim();
const own = {style: read("src/page.css").trim(), script: read("src/page.js").trim()};
for (const text of [script, style, own.style, own.script])
  if (/<\/(style|script)/i.test(text)) throw new Error("an end tag inside a style or script would end it");

writeFileSync(join(here, "../../reports/page/assets.html"), `<!-- Made by tools/report_page/build.mjs from
${hashes.join("\n")}
-->
<!-- style -->
<style>
/* uPlot ${version}
${read(uplot + "LICENSE").trim()}
*/
${style}
${own.style}
</style>
<!-- script -->
<script>
/* uPlot ${version}, MIT licence: see the style */
${script}
${own.script}
</script>
`);
