// Colours for code: a text cut into `[class, text]`, which the page shows as text nodes.

const STRING = `"(?:[^"\\\\\\n]|\\\\.)*"`;
const NUMBER = String.raw`-?\b\d+(?:\.\d+)?(?:e[+-]?\d+)?\b`;
const rule = (parts) => new RegExp(Object.entries(parts).map(([name, source]) => `(?<${name}>${source})`).join("|"), "gm");

const RULES = {
  json: rule({ key: `${STRING}(?=\\s*:)`, string: STRING, number: NUMBER, word: "\\b(?:true|false|null)\\b" }),
  python: rule({
    comment: "#.*$", key: `${STRING}(?=: )`, string: STRING, number: NUMBER,
    word: "\\b(?:import|from|def|for|in|if|print|isinstance|True|False|None)\\b",
  }),
  javascript: rule({
    comment: "//.*$", string: STRING, number: NUMBER,
    word: "\\b(?:import|from|const|await|async|new|for|of|if|true|false|null)\\b", key: "[A-Za-z_$][\\w$]*(?=: )",
  }),
  shell: rule({
    key: `${STRING}(?=: )`, word: "\\b(?:curl|echo|sed|upload)\\b(?!_)|--[a-z-]+", string: `${STRING}|'https:[^']*'`, number: `(?<=: )${NUMBER}`,
  }),
};
const MAX_COLOURED = 60_000;

export function highlight(text, language) {
  const pattern = RULES[language];
  if (!pattern || text.length > MAX_COLOURED) return [["", text]];
  const out = [];
  let at = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > at) out.push(["", text.slice(at, match.index)]);
    out.push([Object.keys(match.groups).find((name) => match.groups[name] !== undefined), match[0]]);
    at = match.index + match[0].length;
  }
  if (at < text.length) out.push(["", text.slice(at)]);
  return out;
}
