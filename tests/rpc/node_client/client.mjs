// A client made from the .proto alone: adds, counts with a filter, searches, streams, and fails.
// Usage: node client.mjs ADDRESS PROTO; prints what it was answered, as JSON.

import { createRequire } from "node:module";

const require = createRequire(`${process.cwd()}/`);
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, proto] = process.argv.slice(2);
const definition = loader.loadSync(proto, { longs: Number, enums: String, oneofs: true });
const { FeatureDatabase } = grpc.loadPackageDefinition(definition).euclidesdb.v1;
const db = new FeatureDatabase(address, grpc.credentials.createInsecure());

const call = (method, request) =>
  new Promise((resolve, reject) =>
    db[method](request, { deadline: Date.now() + 60_000 }, (error, reply) =>
      error ? reject(error) : resolve(reply)));

const vector = (...numbers) => ({
  values: {
    dataType: "DATA_TYPE_FLOAT32",
    shape: [numbers.length],
    data: Buffer.from(Float32Array.from(numbers).buffer),
  },
});

const item = (id, numbers, attributes) => ({
  id, vectors: { given: vector(...numbers) }, attributesJson: JSON.stringify(attributes),
});

const below = (field, value) => ({
  comparison: { field: { name: field }, operator: "OPERATOR_LESS", value: { floatValue: value } },
});

const added = await call("AddItem", item("ünï", [1, 0, 0], { price: 5 }));
const many = await call("AddItems", {
  items: [item("b", [0.9, 0, 0], { price: 50 }), item("c", [0, 1, 0], { price: 7 }),
    item("", [1, 1, 1], {})],
});

const streamed = await new Promise((resolve, reject) => {
  const stream = db.AddItemStream();
  const outcomes = [];
  stream.on("data", (reply) => outcomes.push(...reply.outcomes.map((each) => each.outcome)));
  stream.on("error", reject);
  stream.on("end", () => resolve(outcomes));
  stream.write({ items: [item("d", [0, 0, 1], { price: 1 })] });
  stream.write({ items: [item("e", [0, 0], {})] });
  stream.end();
});

const counted = await call("CountItems", { filter: below("price", 10) });
const found = await call("FindSimilar", {
  query: { vector: vector(1, 0, 0) },
  models: ["given"],
  topK: 2,
  includeAttributes: true,
  options: { filter: below("price", 10) },
});
const listed = await call("ListItems", { order: { field: { name: "price" } }, pageSize: 2 });
const failed = await call("GetItem", { id: "missing" }).catch((error) => error);

console.log(JSON.stringify({
  added: added.embeddings.map((each) => each.model),
  refused: many.refused.map((each) => [each.position, each.reason]),
  streamed,
  counted: counted.count,
  found: found.answers[0].neighbors.map((each) => [each.id, each.distance ?? 0, each.attributesJson]),
  listed: listed.items.map((each) => each.id),
  failed: [failed.code, failed.metadata.get("euclidesdb-reason")[0]],
}));
db.close();
