// Reads a JSON array of LogQL queries and prints for each where Grafana's parser finds a mistake, or null.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { parser } = createRequire(process.argv[2])("@grafana/lezer-logql");
const fault = (query) => {
  let at = null;
  parser.parse(query).iterate({
    enter: (node) => {
      if (node.type.isError && at === null) at = node.from;
    },
  });
  return at;
};
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(fault)));
