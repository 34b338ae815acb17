// Renders a mustache-like template: {{name}}, {{{raw}}}, {{#section}}…{{/section}}, {{^inverted}}…{{/inverted}}.
'use strict';

const { createHmac } = require('crypto');
const { readFileSync, writeFileSync } = require('fs');
const { join } = require('path');

const parameters = JSON.parse(readFileSync(0, 'utf8')); // 0 is stdin

// A section | {{{raw}}} | {{name}} | anything else in braces, which is a mistake. A section's tag alone on its line
// takes the line's end with it. A section may not hold another one of the same name.
const TAG = /\{\{([#^])\s*([\w.]+)\s*\}\}\n?([^]*?)\{\{\/\s*\2\s*\}\}\n?|\{\{\{\s*([\w.]+)\s*\}\}\}|\{\{\s*([\w.]+)\s*\}\}|\{\{.*?\}\}/g;
const ENTITIES = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

const isObject = (value) => typeof value === 'object' && value !== null;

// The value of a dotted name: its first part is looked up from the innermost context outwards.
// Only own properties count, so that {{constructor}} is not found on every object.
function lookup(name, contexts) {
  if (name === '.') return contexts[0];
  const [first, ...rest] = name.split('.');
  const own = (object, key) => (isObject(object) && Object.prototype.hasOwnProperty.call(object, key) ? object[key] : undefined);
  const context = contexts.find((candidate) => own(candidate, first) !== undefined);
  return rest.reduce(own, own(context, first));
}

let replaced = 0;
function text(name, contexts) {
  const value = lookup(name, contexts);
  if (value === undefined && parameters.strict) throw new Error(`the template uses "${name}", which has no value`);
  replaced += 1;
  return isObject(value) ? JSON.stringify(value) : String(value ?? '');
}

// One pass: what a value contains is never taken for a tag.
function render(template, contexts) {
  return template.replace(TAG, (tag, kind, section, inner, raw, name) => {
    if (raw) return text(raw, contexts);
    if (name) return parameters.escape_html ? text(name, contexts).replace(/[&<>"']/g, (c) => ENTITIES[c]) : text(name, contexts);
    if (!section) throw new Error(`unknown or unclosed tag ${tag}`);
    const value = lookup(section, contexts);
    const elements = Array.isArray(value) ? value : value ? [value] : [];
    if (kind === '^') return elements.length ? '' : render(inner, contexts);
    return elements.map((element) => render(inner, [element, ...contexts])).join('');
  });
}

try {
  const rendered = render(parameters.template, [parameters.values]);
  const result = { text: rendered, characters: [...rendered].length };
  if (parameters.signing_key) {
    result.signature = `sha256=${createHmac('sha256', parameters.signing_key).update(rendered).digest('hex')}`;
  }
  // what lies in this folder at the end is kept as an artifact of the execution
  writeFileSync(join(process.env.ATTUNE_ARTIFACTS_DIR, parameters.file), rendered);
  console.error(`filled in ${replaced} values, ${result.characters} characters, ${result.signature ? 'signed' : 'not signed'}:`);
  console.error(rendered.trimEnd().replace(/^/gm, '  | '));
  console.log(JSON.stringify(result));
} catch (error) {
  console.error(`render_template: ${error.message}`);
  process.exitCode = 1; // not exit(): that may cut off what is still being written
}
