// node.mjs: the same with Node: its own fetch, or undici's request.
//
//   NODE_EXTRA_CA_CERTS=CA_FILE node bench/peers/node.mjs fetch|FOLDER_OF_UNDICI \
//     sequential|together BASE_URL CA_FILE SECONDS
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [, , library, how, base, caFile, seconds] = process.argv;
const headers = { authorization: 'DREAM apikey="abc"', accept: "application/json" };
const atOnce = how === "together" ? 32 : 1;

function withFetch() {
  return async (id) => {
    const answer = await fetch(`${base}/api/v9/invoices/${id}`, { headers });
    if (answer.status !== 200 || !(await answer.json()).id) throw new Error("no invoice");
  };
}

function withUndici() {
  const { Agent, request } = createRequire(library + "/")("undici");
  const dispatcher = new Agent({ connections: atOnce, pipelining: 1,
    connect: { ca: readFileSync(caFile) } });
  return async (id) => {
    const { statusCode, body } = await request(`${base}/api/v9/invoices/${id}`,
      { headers, dispatcher });
    if (statusCode !== 200 || !(await body.json()).id) throw new Error("no invoice");
  };
}

const get = library === "fetch" ? withFetch() : withUndici();

// until the time is over; how many were made
async function run(till) {
  let n = 0;
  async function one() {
    while (performance.now() < till) await get(++n);
  }
  await Promise.all(Array.from({ length: atOnce }, one));
  return n;
}

await run(performance.now() + 700); // until it is compiled
const cpu = process.cpuUsage();
const start = performance.now();
const n = await run(start + seconds * 1000);
const took = (performance.now() - start) / 1000;
const { user, system } = process.cpuUsage(cpu);
console.log(`${Math.round(n / took)} ${((user + system) / n).toFixed(2)}`);
process.exit(0);
