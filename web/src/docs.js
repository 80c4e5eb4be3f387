// The page at /api/docs: shows openapi.json, grouped and searchable.
const make = (name, text, ...children) => {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
};
const resolve = (document, schema, depth = 0) => {
  if (!schema || depth > 6) return {};
  if (schema.$ref) return resolve(document, document.components.schemas[schema.$ref.split("/").pop()], depth + 1);
  const either = schema.oneOf || schema.anyOf || schema.allOf;
  if (either) return either.map(each => resolve(document, each, depth + 1)).find(each => each !== null) ?? null;
  const type = [].concat(schema.type || [])[0];
  if (schema.enum) return schema.enum.join("|");
  if (schema.properties) return Object.fromEntries(Object.entries(schema.properties).map(([name, each]) => [name, resolve(document, each, depth + 1)]));
  if (type === "array") return [resolve(document, schema.items, depth + 1)];
  if (type === "object" && schema.additionalProperties) return { "…": resolve(document, schema.additionalProperties, depth + 1) };
  return type === "null" ? null : type || "any";
};
const parameters = list => make("table", "", ...list.map(each => make("tr", "",
  make("td", "", make("code", each.name)), make("td", each.in + (each.required ? ", required" : "")), make("td", each.description || ""))));
const shape = (document, content) => Object.entries(content || {}).map(([type, each]) =>
  make("section", type, make("pre", JSON.stringify(resolve(document, each.schema), null, 2))));
const operation = (document, path, method, each) => {
  const head = make("summary", "", make("b", method), make("code", path), make("span", each.summary || ""));
  const body = make("section", each.description && each.description !== each.summary ? each.description : "");
  if (each.parameters?.length) body.append(make("h4", "Parameters"), parameters(each.parameters));
  if (each.requestBody) body.append(make("h4", "Body"), ...shape(document, each.requestBody.content));
  for (const sample of each["x-codeSamples"] || []) body.append(make("h4", "Example"), make("pre", sample.source));
  for (const [status, answer] of Object.entries(each.responses))
    body.append(make("details", "", make("summary", "", make("b", status), make("span", answer.description)), ...shape(document, answer.content)));
  const details = make("details", "", head, body);
  details.dataset.words = `${method} ${path} ${each.summary || ""} ${each.description || ""}`.toLowerCase();
  return details;
};
const show = document => {
  const groups = {};
  for (const [path, item] of Object.entries(document.paths))
    for (const [method, each] of Object.entries(item))
      (groups[each.tags?.[0] || "other"] ??= []).push(operation(document, path, method, each));
  const all = window.document.getElementById("all");
  for (const name of Object.keys(groups).sort()) all.append(make("div", "", make("h2", name), ...groups[name]));
  window.document.getElementById("find").addEventListener("input", event => {
    const wanted = event.target.value.toLowerCase();
    for (const each of all.querySelectorAll("[data-words]")) each.hidden = !each.dataset.words.includes(wanted);
    for (const group of all.children) group.hidden = !group.querySelector("[data-words]:not([hidden])");
  });
};
fetch("/api/v1/openapi.json").then(answer => answer.json()).then(show)
  .catch(error => window.document.getElementById("all").append(make("p", `The document cannot be read: ${error}`)));
